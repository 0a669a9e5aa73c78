"""Rewriting JSON: however the bytes are cut on their way, the result is that of the whole."""

import asyncio
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import Body
from sidecar.layers.rewrite import Rewriter, RewrittenBody

HERE = b"http://localhost:4000/crm"
CASES = [
    (Rewriter(b"https://api.crm.example", b"/v2", 443), "https://api.crm.example", "/v2", ":443"),
    (Rewriter(b"http://localhost:8080", b"", 80), "http://localhost:8080", "", ""),
]

PIECES = [
    "https://",
    "api.crm.example",
    "localhost:8080",
    ":443",
    "/v2",
    "/",
    "\\",
    '"',
    "v2",
    "?x",
    " ",
    "http://",
    "é",
]


def texts(root: str, base_path: str, port: str) -> st.SearchStrategy[str]:
    """Give strings that are near the base URL, or it."""
    near = st.lists(st.sampled_from([*PIECES, root, root + base_path, root + port + base_path]), max_size=6)
    return st.one_of(near.map("".join), st.text(max_size=20))


def documents(leaf: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    """Give JSON of any shape."""
    scalars = st.one_of(leaf, st.integers(), st.none(), st.booleans())
    return st.recursive(
        scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(leaf, inner, max_size=3))
    )


async def in_pieces(rewriter: Rewriter, pieces: list[bytes]) -> bytes:
    """Feed a body piece by piece, and read it as it comes."""
    inner = Body()
    body = RewrittenBody(inner, rewriter, HERE)
    reading = asyncio.create_task(read(body))
    for piece in pieces:
        inner.feed(piece)
        await asyncio.wait([reading], timeout=0)
    inner.finish()
    return await reading


async def read(body: Body) -> bytes:
    """Read to the end."""
    found = []
    while piece := await body.read():
        found.append(piece)
    return b"".join(found)


@given(st.data())
def test_any_chunking_gives_what_rewriting_the_whole_gives(data: st.DataObject) -> None:
    """No URL is missed because it was cut in two, and none is moved twice."""
    rewriter, root, base_path, port = data.draw(st.sampled_from(CASES))
    document = data.draw(documents(texts(root, base_path, port)))
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        text = text.replace(b"/", b"\\/")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    whole = rewriter.json(text, HERE, is_end=True)[0]
    assert asyncio.run(in_pieces(rewriter, pieces)) == whole


@given(st.data())
def test_every_byte_alone_gives_the_same_too(data: st.DataObject) -> None:
    """The hardest chunking of all."""
    rewriter, root, base_path, port = data.draw(st.sampled_from(CASES))
    text = json.dumps(data.draw(st.lists(texts(root, base_path, port), max_size=3))).encode()
    whole = rewriter.json(text, HERE, is_end=True)[0]
    assert asyncio.run(in_pieces(rewriter, [text[at : at + 1] for at in range(len(text))])) == whole


@given(st.data())
def test_the_result_is_the_document_with_its_urls_moved(data: st.DataObject) -> None:
    """It is JSON as before; strings that begin with the base URL begin with ours, all others are what they were."""
    rewriter, root, base_path, port = CASES[0]
    document = data.draw(st.lists(texts(root, base_path, port), max_size=5))
    text = json.dumps(document).encode()
    if data.draw(st.booleans()):
        text = text.replace(b"/", b"\\/")
    moved = json.loads(rewriter.json(text, HERE, is_end=True)[0])
    assert moved == [expected(item, root, base_path, port) for item in document]


def expected(item: str, root: str, base_path: str, port: str) -> str:
    """Say what becomes of one string."""
    match = re.match(re.escape(root) + f"({port})?" + re.escape(base_path) + r"(?=[/?#]|\Z)", item)
    return HERE.decode() + item[match.end() :] if match else item
