"""What is wrong in `gather`, in sentences."""

from typing import Any

import pytest

from sidecar.core.units import Duration
from tests.layers.gathering.readers import config_for

POST = {"request": "POST /read", "body": '{"inputs":[{ids}]}', "item": '{"id":{id}}'}


@pytest.mark.parametrize(
    "right",
    [
        {},
        POST,
        {**POST, "item": "{number}"},
        {"request": "GET /c/{ids}"},
        {"request": "GET /c?ids={ids}&full=1", "separator": "&ids="},
        {"answer_items": "@", "wrap": "contact", "missing": "ask", "headers": ("Accept-Language",)},
    ],
)
def test_these_are_right(right: dict[str, Any]) -> None:
    """In the target, several times or once, or in a JSON body."""
    assert config_for(**right).problems() == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"request": "/c?ids={ids}"}, "request"),
        ({"request": "PUT /c?ids={ids}"}, "request"),
        ({"request": "GET /c?ids={ids}#x"}, "request"),
        ({"request": "GET /c d?ids={ids}"}, "request"),
        ({"request": "GET /c"}, "request"),
        ({"request": "GET /{ids}?ids={ids}"}, "request"),
        ({"body": "[{ids}]"}, "request"),
        ({"request": "POST /c"}, "request"),
        ({**POST, "request": "POST /c?x={ids}"}, "request"),
        ({**POST, "body": "[{ids}"}, "body"),
        ({**POST, "body": "[]"}, "body"),
        ({**POST, "body": "[[{ids}],[{ids}]]"}, "body"),
        ({**POST, "item": "{}"}, "item"),
        ({**POST, "item": "[{id},{number}]"}, "item"),
        ({"separator": ""}, "separator"),
        ({"separator": " "}, "separator"),
        ({"answer_items": "a[]"}, "answer_items"),
        ({"id": "("}, "id"),
        ({"within": Duration(2)}, "within"),
        ({"wrap": ""}, "wrap"),
        ({"headers": ("a b",)}, "headers"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(wrong: dict[str, Any], field: str) -> None:
    """One sentence each."""
    assert [name for name, _ in config_for(**wrong).problems()] == [field]
