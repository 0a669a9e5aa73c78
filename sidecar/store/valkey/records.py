"""Records and leases in Valkey.

A record is a hash of its value and its version, which ends by itself; a lease is a string that names its holder. What
passes between two of these questions may pass between pods, so each that decides is a script.
"""

from sidecar.store.base import Record
from sidecar.store.valkey.client import Script, ValkeyClient

_GET = Script(
    """local found = redis.call('HMGET', KEYS[1], 'value', 'version')
if not found[1] then return false end
return {found[1], found[2], redis.call('PTTL', KEYS[1])}"""
)
# A version is the server's time in microseconds, or one more than the last: it does not begin anew after a delete.
_PUT = Script(
    """local last = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= last then return false end
local time = redis.call('TIME')
local version = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'version', version)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return version"""
)
_DELETE = Script(
    """local last = redis.call('HGET', KEYS[1], 'version')
if not last or (ARGV[1] ~= '' and tonumber(ARGV[1]) ~= tonumber(last)) then return 0 end
return redis.call('DEL', KEYS[1])"""
)
_TAKE = Script(
    """local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return math.max(redis.call('PTTL', KEYS[1]), 1) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0"""
)
_GIVE_BACK = Script("""if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 0""")


class ValkeyRecords:
    """Values under keys, each its own."""

    def __init__(self, client: ValkeyClient) -> None:
        self._client = client

    async def get(self, key: str) -> Record | None:
        """Give what is there."""
        found = await self._client.ask(_GET, [self._key(key)])
        return None if found is None else Record(found[0], int(found[1]), found[2] / 1000)

    async def put(self, key: str, value: bytes, life: float, *, over: int | None = None) -> int | None:
        """Write, where `over` is what is there."""
        wanted = "" if over is None else over
        version = await self._client.ask(_PUT, [self._key(key)], value, milliseconds(life), wanted)
        return None if version is None else int(version)

    async def delete(self, key: str, *, version: int | None = None) -> bool:
        """Take away what is there."""
        wanted = "" if version is None else version
        return bool(await self._client.ask(_DELETE, [self._key(key)], wanted))

    def _key(self, key: str) -> str:
        return self._client.key(tag=f"r:{key}")


class ValkeyLeases:
    """Leases that the server ends when their holder does not keep them."""

    def __init__(self, client: ValkeyClient) -> None:
        self._client = client

    async def take(self, name: str, holder: str, seconds: float) -> float:
        """Take a free lease, or keep one's own for longer; give 0.0, or the seconds until the other's ends."""
        left = await self._client.ask(_TAKE, [self._key(name)], holder, milliseconds(seconds))
        return float(left) / 1000

    async def give_back(self, name: str, holder: str) -> None:
        """Let go of one's own."""
        await self._client.ask(_GIVE_BACK, [self._key(name)], holder)

    def _key(self, name: str) -> str:
        return self._client.key(tag=f"l:{name}")


def milliseconds(seconds: float) -> int:
    """Give a length as the server takes it: whole, and at least one."""
    return max(1, round(seconds * 1000))
