"""Gather: reads of single things that arrive within a few milliseconds become one call for all of them.

It stands outside of `retry`: one permit, one slot, one verdict for all. Who waited alone is sent as the plain read.
"""

import asyncio
from functools import partial

import msgspec

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.core.tasks import Tasks
from sidecar.layers.gathering.basket import Basket
from sidecar.layers.gathering.config import GatherConfig
from sidecar.layers.gathering.gathering import Gathering, Told, Waiter, not_in_answer
from sidecar.layers.gathering.question import Question
from sidecar.layers.pieces import Misfit, Pieces, id_text, path_of, read
from sidecar.layers.whole import NotWhole, answer_json, remade
from sidecar.telemetry.metrics import Counter
from sidecar.upstream.hints.expression import Expression

_STEP = "waiting for the answer to a call for several ids"
# By these the vendor speaks of the caller or of itself, not of an id among many that it does not like.
_OF_ALL = frozenset({401, 403, 408, 429, *range(500, 600)})
_OF_MANY = frozenset({b"link", b"location", b"content-location"})


class GatherRules:
    """What the layer needs of `gather`'s section; compiled at load."""

    __slots__ = ("_closing", "_opening", "answer_path", "body_max", "id", "ids_max", "is_told", "waiting_max", "within")

    def __init__(self, config: GatherConfig) -> None:
        self.within = float(config.within)
        self.ids_max = config.ids_max
        self.waiting_max = config.waiting_max
        self.body_max = int(config.body_max)
        self.answer_path = path_of(config.answer_items)
        self.id: Expression = Expression(config.id)
        self.is_told = config.missing == "not_found"
        self._opening, self._closing = b"", b""
        if config.wrap is not None:
            self._opening, self._closing = b"{" + msgspec.json.encode(config.wrap) + b":", b"}"

    def found(self, content: bytes) -> dict[str, bytes | None]:
        """Give the things in an answer by their ids; None for an id that is there twice. Raises Misfit."""
        things: dict[str, bytes | None] = {}
        for item in Pieces(content, self.answer_path).items:
            try:
                key = id_text(self.id.search(read(item)))
            except Misfit:
                raise
            except ValueError as error:
                raise Misfit(str(error)) from None
            things[key] = None if key in things else self._opening + item + self._closing
        return things


class GatherLayer:
    """Knows who waits. There are no more of them than calls in this pod, which admission bounds."""

    __slots__ = ("_clock", "_counter", "_inner", "_open", "_question", "_rules", "_tasks")

    def __init__(
        self, rules: GatherRules, question: Question, clock: Clock, tasks: Tasks, counter: Counter, inner: Handler
    ) -> None:
        self._rules = rules
        self._question = question
        self._clock = clock
        self._tasks = tasks
        self._counter = counter
        self._inner = inner
        self._open: dict[tuple[object, ...], Gathering] = {}  # Those that may be joined.

    async def __call__(self, call: Call) -> Reply:
        """Wait for others who ask for a thing of the same kind; then be answered from the call for all."""
        asked = self._question.asked(call)
        if asked is None or call.deadline_at - self._clock.now() <= self._rules.within:
            return await self._inner(call)
        gathering = self._open.get(asked.key)
        if gathering is not None and not gathering.basket.fits(asked.id):
            self._close(gathering)
            gathering = None
        if gathering is None:
            gathering = self._begin(asked.key)
        waiter = gathering.join(call, asked.id)
        if gathering.basket.is_full:
            self._close(gathering)
        told = await self._wait(gathering, call, waiter)
        if isinstance(told, Exception):
            raise told
        return await self._inner(call) if told is None else told

    def _begin(self, key: tuple[object, ...]) -> Gathering:
        gathering = self._open[key] = Gathering(key, Basket(self._rules.ids_max, self._rules.waiting_max))
        gathering.task = self._tasks.spawn(self._fly(gathering), "gathered call")
        gathering.task.add_done_callback(partial(self._ended, gathering))
        return gathering

    def _close(self, gathering: Gathering) -> None:
        self._forget(gathering)
        gathering.close()

    def _forget(self, gathering: Gathering) -> None:
        """Let nobody join any more."""
        if self._open.get(gathering.key) is gathering:
            del self._open[gathering.key]

    async def _wait(self, gathering: Gathering, call: Call, waiter: Waiter) -> Told:
        call.step = _STEP
        try:
            try:
                async with self._clock.timeout_at(call.deadline_at):
                    await asyncio.wait([waiter])
            except TimeoutError:
                # The vendor call would be cancelled with the last who leaves, and its failure would count nowhere.
                if not gathering.is_longest(call):
                    sentence = f"the call's time is used up; the step was: {_STEP}"
                    raise DeadlineExceeded(sentence, is_ours=True) from None
            return await waiter
        finally:
            if gathering.leave(call):
                await self._abandon(gathering)

    async def _abandon(self, gathering: Gathering) -> None:
        """Cancel what nobody waits for, and wait until it is gone."""
        self._forget(gathering)
        assert gathering.task is not None
        gathering.task.cancel()
        await asyncio.wait([gathering.task])

    async def _fly(self, gathering: Gathering) -> None:
        """Wait for others, make the call, and tell those who wait."""
        timer = self._clock.call_at(self._clock.now() + self._rules.within, gathering.close)
        try:
            await gathering.closed
        finally:
            timer.cancel()
            self._forget(gathering)
        if len(gathering.basket) < 2:
            gathering.release()
            return
        child = gathering.go()
        try:
            self._question.put(child, gathering.basket.ids)
            reply = await self._inner(child)
            await self._land(gathering, child, reply)
        except SidecarError as error:
            gathering.fail(error)
        except (NotWhole, Misfit) as reason:
            gathering.release(f"each asked for itself: {reason}")
        except Exception as fault:  # The exchange of the call that takes it writes the line about it.
            if not gathering.break_off(fault):
                raise

    async def _land(self, gathering: Gathering, child: Call, reply: Reply) -> None:
        """Share the answer. Raises NotWhole, Misfit for one of which nothing can be shared."""
        rules = self._rules
        if reply.status in _OF_ALL:
            content = await self._start_of(reply, child.deadline_at)
            gathering.share_whole(remade(reply, b"") if content is None else reply, content or b"")
            return
        if not 200 <= reply.status < 300:
            raise Misfit(f"the vendor answered {reply.status} to all of it")
        content = await answer_json(reply, rules.body_max, child.deadline_at, self._clock, "gather.body_max")
        things = rules.found(content)
        count = gathering.note.items

        def answer(asked: str) -> Told:
            if asked not in things:
                return not_in_answer(count) if rules.is_told else None
            thing = things[asked]
            return None if thing is None else _single(reply, thing)

        gathering.share(answer)

    async def _start_of(self, reply: Reply, deadline_at: float) -> bytes | None:
        """Give the whole body of a failure, or None when it is too long or does not end."""
        body = reply.body
        try:
            async with self._clock.timeout_at(deadline_at):
                content = await body.ahead(self._rules.body_max + 1)
        except TimeoutError:
            return None
        return content if body.is_complete and body.received_bytes <= self._rules.body_max else None

    def _ended(self, gathering: Gathering, task: "asyncio.Task[None]") -> None:  # noqa: ARG002 - what a task calls back with
        """End what is left, also if the task was cancelled before its first step."""
        self._forget(gathering)
        gathering.give_up()
        self._counter.value += gathering.shared


def _single(reply: Reply, thing: bytes) -> Reply:
    """Make the answer that the read of one thing would have had."""
    single = remade(reply, thing)
    single.status, single.reason = 200, b"OK"
    single.headers = [field for field in single.headers if field[0].lower() not in _OF_MANY]
    single.has_urls = False
    return single


def gather(config: GatherConfig, prefix: bytes, clock: Clock, tasks: Tasks, counter: Counter) -> Layer:
    """Gather reads of single things; `prefix` is the path in front of all others."""
    rules, question = GatherRules(config), Question(config, prefix)
    return lambda inner: GatherLayer(rules, question, clock, tasks, counter, inner)
