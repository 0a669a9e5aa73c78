"""Gather's settings: how this vendor is asked for many ids at once, and where each one is in its answer."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from sidecar.core.section import Section
from sidecar.core.units import Duration, Size
from sidecar.layers.coalesce.config import CoalesceConfig
from sidecar.layers.pieces import SAY_PATH, is_path
from sidecar.upstream.hints.expression import Expression

IDS, ID, NUMBER = "{ids}", "{id}", "{number}"
REQUEST = re.compile(r"(GET|POST) /[!-~]*")
SEPARATOR = re.compile(r"[!-~]{1,32}")
_WITHIN_MAX = 1.0


class GatherConfig(Section, kw_only=True):
    """`gather`, in a route such as `GET /contacts/{id}`: off unless it stands there."""

    request: str  # "GET /contacts?ids={ids}", or "POST /contacts/batch/read" with a body.
    body: str | None = None  # JSON with {ids}: '{"inputs":[{ids}]}'. The things asked for stand there, with commas.
    item: str = ID  # One of them: '{"id":{id}}'. {id} is written as text, {number} as a number.
    separator: str = ","  # Between ids in the request's target; "&ids=" where the parameter is repeated.
    within: Duration = Duration(0.005)  # So long the first one waits for others.
    ids_max: int = 100  # Of one call. Full: it goes at once.
    answer_items: str  # The list in the answer's body: "results", "data.items", or "@" for the body itself.
    id: str  # JMESPath over an item of the answer: the id that was asked for.
    wrap: str | None = None  # The member in which a single answer has the thing: {"contact": {...}}. Absent: none.
    missing: Literal["not_found", "ask"] = "not_found"  # An id that is not in the answer: 404, or asked for by itself.
    headers: tuple[str, ...] | None = None  # Which request headers tell calls apart, as in `coalesce`. Absent: all.
    body_max: Size = Size(2**20)  # Of a longer answer nothing is used: each asks for itself.
    waiting_max: int = 1000  # Calls that wait for one. Full: it goes at once.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = [*self._of_request(), *CoalesceConfig(headers=self.headers).problems()]
        if not is_path(self.answer_items):
            found.append(("answer_items", SAY_PATH))
        try:
            Expression(self.id)
        except ValueError as error:
            found.append(("id", str(error)))
        if self.within > _WITHIN_MAX:
            found.append(("within", 'no call should wait that long for others; write a time up to "1s"'))
        if self.wrap == "":
            found.append(("wrap", 'a member has a name; write one such as "contact", or leave it out'))
        return found

    def _of_request(self) -> Iterator[tuple[str, str]]:
        if not REQUEST.fullmatch(self.request) or "#" in self.request:
            yield "request", 'write a method and a target, such as "GET /contacts?ids={ids}"'
        elif self.request.startswith("GET") and (self.request.count(IDS) != 1 or self.body is not None):
            yield "request", 'a GET has {ids} in its target, once, and no body: "GET /contacts?ids={ids}"'
        elif self.request.startswith("POST") and (IDS in self.request or self.body is None):
            yield "request", "a POST has {ids} in its body, not in its target"
        if not SEPARATOR.fullmatch(self.separator) or "#" in self.separator:
            yield "separator", 'write what stands between two ids, such as ","'
        if (ID in self.item) + (NUMBER in self.item) != 1:
            yield "item", "write {id} or {number} in it, where the id stands"
        elif self.body is not None:
            one = self.item.replace(ID, '"7"').replace(NUMBER, "7")
            try:
                msgspec.json.decode(self.body.replace(IDS, f"{one},{one}"))
            except (msgspec.DecodeError, RecursionError):
                yield "body", "with two ids in it, this is no JSON; write one such as '{\"inputs\":[{ids}]}'"
            else:
                if self.body.count(IDS) != 1:
                    yield "body", "write {ids} in it, once, where the list stands"
