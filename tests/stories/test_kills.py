"""Killed again and again while jobs and events are taken and worked off: short forms of tests/simulations."""

from pathlib import Path

from tests.simulations.deferring import Deferring
from tests.simulations.sending import Sending
from tests.simulations.stores import over_sqlite

KILLS = 6


async def test_what_was_acknowledged_is_done_once_over_many_kills(tmp_path: Path) -> None:
    """Each kill comes right after something happened: a job was accepted, or the vendor was asked, or it answered."""
    story = Deferring(20, early=0.0, late=0.0)
    await over_sqlite(tmp_path, KILLS, story)
    assert story.problems == []
    assert story.counts["kills"] == KILLS
    assert story.counts["repeats that a key caught"] > 0, "what was under way was made again"
    assert len(story.jobs) > KILLS


async def test_what_was_acknowledged_is_delivered_and_nothing_comes_twice_without_a_mark(tmp_path: Path) -> None:
    """Each kill comes right after an event was acknowledged, or the app was asked to take one, or took it."""
    story = Sending(20, early=0.0, late=0.0)
    await over_sqlite(tmp_path, KILLS, story)
    assert story.problems == []
    assert story.counts["kills"] == KILLS
    assert story.counts["attempts after the first"] > 0, "what was under way was delivered again"
    assert len(story.acknowledged) > KILLS
