"""The scripts of the backlog in Valkey: each is one question, and one step of the server.

Of a line, behind one hash tag:

    :tally          a hash: `seq`, the last number given; `n:<state>` and `b:<state>`, entries and bytes in each state
    :e:<id>         a hash for each entry
    :due            what may be claimed: by its time, then by arrival
    :running        what is claimed: by the end of its lease
    :d:<state>      what has ended in a state: by when
    :k:<key>        the unfinished ones of a key: by arrival
    :s:<state>      those in a state: by arrival
    :also           a hash: how many have a second id

Sorted sets and leases, and not a stream with a consumer group: a stream has no entry that is due later, no order per
key, no way to find, move or take away one by its state, and an acknowledged entry stays in it until it is trimmed.

A script that works off begins by taking away: a server that has reached its maxmemory refuses the first write that
adds, and lets those go through that come after one that took away. So a full server refuses appends, and gets emptier.
"""

from sidecar.store.valkey.client import Script

_COMMON = """
local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tally, due, running, also = base .. ':tally', base .. ':due', base .. ':running', base .. ':also'
local function whole(number) return string.format('%.0f', number + 0) end -- Minus zero is no integer to the server.
local function entry(id) return base .. ':e:' .. id end
local function in_state(state) return base .. ':s:' .. state end
local function ended(state) return base .. ':d:' .. state end
local function of_key(key) return base .. ':k:' .. key end
local function place(e, id) return string.format('%016.0f', e.seq) .. id end
local function read(id)
  local f = redis.call('HMGET', entry(id), 'seq', 'key', 'state', 'wanted', 'settled', 'ahead', 'holder')
  if not f[1] then return nil end
  local size = redis.call('HSTRLEN', entry(id), 'head') + redis.call('HSTRLEN', entry(id), 'body')
  return {seq = f[1], key = f[2], state = f[3], wanted = f[4], settled = f[5], ahead = f[6], holder = f[7], size = size}
end
local function count(state, entries, size)
  redis.call('HINCRBY', tally, 'n:' .. state, whole(entries))
  redis.call('HINCRBY', tally, 'b:' .. state, whole(size))
end
local function change(e, id, state)
  redis.call('ZREM', in_state(e.state), id)
  redis.call('ZADD', in_state(state), e.seq, id)
  redis.call('HSET', entry(id), 'state', state)
  count(e.state, -1, -e.size)
  count(state, 1, e.size)
  e.state = state
end
local function wait(e, id, at)
  redis.call('HSET', entry(id), 'wanted', whole(at))
  if e.state ~= 'waiting' then change(e, id, 'waiting') end
  if e.key == '' or e.ahead or redis.call('ZRANGE', of_key(e.key), 0, 0)[1] == id then
    redis.call('ZADD', due, whole(at), place(e, id))
  end
end
local function let_next(e, id)
  if e.key == '' or redis.call('ZREM', of_key(e.key), id) == 0 then return end
  local first = redis.call('ZRANGE', of_key(e.key), 0, 0)[1]
  if not first then return end
  local f = redis.call('HMGET', entry(first), 'seq', 'state', 'wanted')
  if f[2] == 'waiting' then redis.call('ZADD', due, 'NX', f[3], place({seq = f[1]}, first)) end
end
local function finish(e, id, state)
  redis.call('ZREM', due, place(e, id))
  redis.call('ZREM', ended(e.state), id)
  change(e, id, state)
  redis.call('HDEL', entry(id), 'ahead')
  redis.call('ZADD', ended(state), e.settled or whole(now), id)
  if e.settled then return end
  redis.call('HSET', entry(id), 'settled', whole(now))
  let_next(e, id)
end
local function take_away(e, id)
  redis.call('ZREM', due, place(e, id))
  redis.call('ZREM', ended(e.state), id)
  redis.call('ZREM', in_state(e.state), id)
  local other = redis.call('HGET', entry(id), 'also')
  if other and redis.call('HINCRBY', also, other, -1) <= 0 then redis.call('HDEL', also, other) end
  redis.call('UNLINK', entry(id))
  count(e.state, -1, -e.size)
  let_next(e, id)
end
local function release(e, id)
  redis.call('ZREM', running, id)
  redis.call('HDEL', entry(id), 'holder')
  wait(e, id, e.wanted)
end
local function held(id, holder)
  local e = read(id)
  if e and e.state == 'running' and e.holder == holder then return e end
end
-- One in a state that was named, and whose claim has ended if it had one.
local function movable(id, first)
  local e = read(id)
  if not e then return nil end
  if e.state == 'running' and tonumber(redis.call('ZSCORE', running, id)) <= now then release(e, id) end
  if e.state == 'running' then return nil end
  for n = first, #ARGV do
    if ARGV[n] == e.state then return e end
  end
end
local function show(id, is_whole)
  local f = redis.call('HMGET', entry(id), 'seq', 'key', 'state', 'head', 'attempts', 'created', 'settled')
  if not f[1] then return false end
  local parts = is_whole and redis.call('HMGET', entry(id), 'body', 'result') or {}
  local at = redis.call('ZSCORE', due, place({seq = f[1]}, id))
  return {
    id, f[2], f[3], f[4], parts[1] or '', parts[2] or '', f[5] or '0', f[6], at or '', f[7] or ''
  }
end
"""


def script(text: str) -> Script:
    """Make a script of the backlog: what all of them share goes in front."""
    return Script(_COMMON + text)


# ARGV: holder, count, milliseconds, how many ended leases are looked at.
CLAIM = script("""
for _, id in ipairs(redis.call('ZRANGEBYSCORE', running, '-inf', whole(now), 'LIMIT', 0, ARGV[4])) do
  release(read(id), id)
end
local claimed = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', whole(now), 'LIMIT', 0, ARGV[2])) do
  redis.call('ZREM', due, member)
  local id = string.sub(member, 17)
  change(read(id), id, 'running')
  redis.call('HSET', entry(id), 'holder', ARGV[1])
  redis.call('HINCRBY', entry(id), 'attempts', 1)
  redis.call('ZADD', running, whole(now + ARGV[3]), id)
  claimed[#claimed + 1] = show(id, true)
end
return claimed
""")

# ARGV: holder, milliseconds, ids.
KEEP = script("""
local kept = {}
for n = 3, #ARGV do
  if held(ARGV[n], ARGV[1]) then
    redis.call('ZREM', running, ARGV[n])
    redis.call('ZADD', running, whole(now + ARGV[2]), ARGV[n])
    kept[#kept + 1] = ARGV[n]
  end
end
return kept
""")

# ARGV: id, holder, state, delay, whether the body is freed, whether there is a head, it, whether there is a result, it.
SETTLE = script("""
local id, state = ARGV[1], ARGV[3]
local e = held(id, ARGV[2])
if not e then return 0 end
redis.call('ZREM', running, id)
redis.call('HDEL', entry(id), 'holder')
if ARGV[5] == '1' then redis.call('HDEL', entry(id), 'body') end
if ARGV[6] == '1' then redis.call('HSET', entry(id), 'head', ARGV[7]) end
if ARGV[8] == '1' then redis.call('HSET', entry(id), 'result', ARGV[9]) end
local size = redis.call('HSTRLEN', entry(id), 'head') + redis.call('HSTRLEN', entry(id), 'body')
count('running', 0, size - e.size)
e.size = size
if state == 'waiting' then wait(e, id, now + ARGV[4]) else finish(e, id, state) end
return 1
""")

# ARGV: id.
GET = script("""return show(ARGV[1], true)""")

# ARGV: ids.
STATES = script("""
local states = {}
for n = 1, #ARGV do states[n] = redis.call('HGET', entry(ARGV[n]), 'state') or '' end
return states
""")

# ARGV: state or '', id or '', count.
FIND = script("""
local below = '+inf'
if ARGV[2] ~= '' then
  local seq = redis.call('HGET', entry(ARGV[2]), 'seq')
  if not seq then return {} end
  below = '(' .. seq
end
local states = {}
if ARGV[1] ~= '' then
  states[1] = ARGV[1]
else
  for _, field in ipairs(redis.call('HKEYS', tally)) do
    if string.sub(field, 1, 2) == 'n:' then states[#states + 1] = string.sub(field, 3) end
  end
end
local found = {}
for _, state in ipairs(states) do
  local page = redis.call('ZREVRANGEBYSCORE', in_state(state), below, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
  for n = 1, #page, 2 do found[#found + 1] = {id = page[n], seq = tonumber(page[n + 1])} end
end
table.sort(found, function(a, b) return a.seq > b.seq end)
local shown = {}
for n = 1, math.min(#found, tonumber(ARGV[3])) do shown[n] = show(found[n].id, false) end
return shown
""")

# ARGV: id, the state to, states from.
MOVE = script("""
local id, to = ARGV[1], ARGV[2]
local e = movable(id, 3)
if not e then return 0 end
if to ~= 'waiting' then
  finish(e, id, to)
  return 1
end
redis.call('ZREM', ended(e.state), id)
redis.call('HDEL', entry(id), 'settled')
if e.settled and e.key ~= '' then
  local first = redis.call('ZRANGE', of_key(e.key), 0, 0, 'WITHSCORES')
  if first[1] and tonumber(first[2]) > tonumber(e.seq) and redis.call('HEXISTS', entry(first[1]), 'ahead') == 0 then
    redis.call('ZREM', due, place({seq = first[2]}, first[1]))
  end
  redis.call('ZADD', of_key(e.key), e.seq, id)
end
redis.call('HSET', entry(id), 'ahead', '1')
e.ahead = '1'
wait(e, id, now)
return 1
""")

# ARGV: id, states.
DISCARD = script("""
local e = movable(ARGV[1], 2)
if not e then return 0 end
take_away(e, ARGV[1])
return 1
""")

NEXT_DUE = script("""
local soonest = -1
for _, row in ipairs({due, running}) do
  local first = redis.call('ZRANGE', row, 0, 0, 'WITHSCORES')
  local left = first[2] and math.max(0, first[2] - now)
  if left and (soonest < 0 or left < soonest) then soonest = left end
end
return soonest
""")

TALLY = script("""
local oldest = false
for _, state in ipairs({'waiting', 'running'}) do
  local id = redis.call('ZRANGE', in_state(state), 0, 0)[1]
  local created = id and redis.call('HGET', entry(id), 'created')
  if created and (not oldest or tonumber(created) < tonumber(oldest)) then oldest = created end
end
return {oldest, redis.call('HGETALL', tally)}
""")

# ARGV: state, milliseconds, count.
PURGE = script("""
local ids = redis.call('ZRANGEBYSCORE', ended(ARGV[1]), '-inf', whole(now - ARGV[2]), 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do take_away(read(id), id) end
return #ids
""")
