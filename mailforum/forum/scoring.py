"""How many failures are too many: points for days on which mail came back, forgotten with time.

A day on which mail failed for good is two points, one on which it failed for now is one. For every whole
week (`bounce_decay`) without failure a point is forgotten. At six (`bounce_limit`) something has to
happen; for a full mailbox not before five days and three days with failures have passed. All of it is
computed when something fails: nothing has to be done for members whose mail arrives.
"""

from __future__ import annotations

from dataclasses import replace

from mailforum.model import Failing
from mailforum.settings import ListSettings

DAY = 20 * 3600.0  # a list's mail goes out at about the same time each day
POINTS = {"hard": 2, "soft": 1}
SOFT_SECONDS, SOFT_DAYS = 5 * 86400.0, 3


def step(before: Failing, kind: str, now: float, settings: ListSettings) -> Failing:
    """Return the state after one more failure; `kind` is hard or soft. Only one counts in a day."""
    if before.step in POINTS and max(0.0, now - before.step_at) < DAY:
        return _worse(before) if kind == "hard" and before.step == "soft" else before
    kept = points(before, now, settings)
    if kept == 0:
        before = replace(before, hard=0, soft=0, first_at=now)
    return replace(
        before,
        points=kept + POINTS[kind],
        hard=before.hard + (kind == "hard"),
        soft=before.soft + (kind == "soft"),
        step_at=now,
        step=kind,
    )


def _worse(before: Failing) -> Failing:
    """The same day has turned out to be worse."""
    more = POINTS["hard"] - POINTS["soft"]
    return replace(before, points=before.points + more, hard=before.hard + 1, soft=before.soft - 1, step="hard")


def points(failing: Failing, now: float, settings: ListSettings) -> int:
    """Return the points that are not forgotten yet."""
    forgotten = int(max(0.0, now - failing.step_at) // (settings.bounce_decay * 86400))
    return max(0, failing.points - forgotten)


def too_many(failing: Failing, now: float, settings: ListSettings) -> bool:
    """Say whether something has to happen."""
    limit = settings.bounce_limit
    if not limit or points(failing, now, settings) < limit:
        return False
    long_enough = failing.step_at - failing.first_at >= SOFT_SECONDS and failing.hard + failing.soft >= SOFT_DAYS
    return failing.hard * POINTS["hard"] >= limit or long_enough
