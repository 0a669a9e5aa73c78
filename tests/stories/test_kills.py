"""Killed again and again while jobs are accepted and run: the short form of tests/simulations/kills.py."""

from pathlib import Path

from tests.simulations.killing import Story
from tests.simulations.kills import over_sqlite

KILLS = 6


async def test_what_was_acknowledged_is_done_once_over_many_kills(tmp_path: Path) -> None:
    """Each kill comes right after something happened: a job was accepted, or the vendor was asked, or it answered."""
    story = Story(20, early=0.0, late=0.0)
    await over_sqlite(tmp_path, KILLS, story)
    assert story.problems == []
    assert story.counts["kills"] == KILLS
    assert story.counts["repeats that a key caught"] > 0, "what was under way was made again"
    assert len(story.jobs) > KILLS
