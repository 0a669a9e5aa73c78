"""A browser, and somebody who fills in whatever form comes, until there is none."""

import re
from collections.abc import Mapping
from urllib.parse import urljoin

import aiohttp
from yarl import URL

STEPS_MAX = 20

_FORM = re.compile(r"<form(?P<head>[^>]*)>(?P<inner>.*?)</form>", re.DOTALL)
_INPUT = re.compile(r"<input(?P<attributes>[^>]*)>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


async def go(url: str, typed: Mapping[str, str]) -> str:
    """Open a page, submit its form and those of the pages that follow, and give the text of the last page.

    `typed` is what goes into the inputs of these names; others are sent as they are. Cookies live until the end.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        answer = await session.get(url)
        for _ in range(STEPS_MAX):
            page = await answer.text()
            form = _FORM.search(page)
            if form is None:
                return page
            action = urljoin(str(answer.url), dict(_ATTRIBUTE.findall(form["head"]))["action"])
            answer = await session.post(action, data=_fields(form["inner"], typed))
        raise AssertionError(f"after {STEPS_MAX} forms there is one more at {answer.url}")


async def go_until(url: str, typed: Mapping[str, str], end: str) -> str:
    """Go on as `go` does, and give the first address that begins with `end`; it is not asked for."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        answer = await session.get(url, allow_redirects=False)
        for _ in range(STEPS_MAX):
            if answer.status in {302, 303}:
                to = urljoin(str(answer.url), answer.headers["Location"])
                if to.startswith(end):
                    return to
                answer = await session.get(URL(to, encoded=True), allow_redirects=False)
                continue
            form = _FORM.search(await answer.text())
            assert form is not None, f"no form and no redirect at {answer.url}"
            action = urljoin(str(answer.url), dict(_ATTRIBUTE.findall(form["head"]))["action"])
            answer = await session.post(action, data=_fields(form["inner"], typed), allow_redirects=False)
        raise AssertionError(f"after {STEPS_MAX} steps it is still at {answer.url}")


def _fields(inner: str, typed: Mapping[str, str]) -> dict[str, str]:
    fields = {}
    for match in _INPUT.finditer(inner):
        attributes = dict(_ATTRIBUTE.findall(match["attributes"]))
        name = attributes.get("name", "")
        fields[name] = typed.get(name, attributes.get("value", ""))
    return fields
