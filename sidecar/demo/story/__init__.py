"""Story: what the tour tells, chapter by chapter: a further policy shows itself with a step in one of them."""

from sidecar.demo.story.bad_days import BAD_DAYS
from sidecar.demo.story.good_days import GOOD_DAYS
from sidecar.demo.story.kept import KEPT
from sidecar.demo.story.limits import LIMITS
from sidecar.demo.story.outages import OUTAGES
from sidecar.demo.story.refusals import AFTERWARDS, REFUSALS

STORY = (GOOD_DAYS, BAD_DAYS, LIMITS, OUTAGES, KEPT, REFUSALS, AFTERWARDS)
