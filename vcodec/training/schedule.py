"""How far a run is, as a function of the step alone, so that a run killed anywhere goes on exactly as it would have.

A run measured in steps is one straight line.  A run measured in minutes is planned in segments: at the end of each, the
pace measured so far says how much of the run a step is worth until the next end.  The plan stands in the state on
disk, so the steps of a segment that was cut off are done again just as they were.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Schedule"]


@dataclass
class Schedule:
    """The current segment: from a step and the share (0..1) reached there, by so much a step, until a step."""

    minutes: float
    steps: int
    segment_seconds: float
    step: int = 0
    share_there: float = 0.0
    by_step: float = 0.0
    end: int = 0
    began: float = 0.0

    def __post_init__(self) -> None:
        if not self.end:
            self.end = self.steps or 2
            self.by_step = 1.0 / self.steps if self.steps else 0.0

    def share(self, step: int) -> float:
        """Share of the run that has passed before a step, 0..1."""
        if self.steps:
            return min(1.0, step / self.steps)
        return min(1.0, self.share_there + (step - self.step) * self.by_step)

    def plan(self, step: int, seconds: float) -> None:
        """At a segment's end, after so many seconds of training in all: the next segment."""
        share = self.share(step)
        left = 60.0 * self.minutes - seconds
        pace = max(1e-6, (seconds - self.began) / max(1, step - self.step))
        count = max(1, math.ceil(left / pace))
        self.step, self.share_there, self.began = step, 1.0 if left <= 0 else share, seconds
        self.by_step = (1.0 - self.share_there) / count
        # the pace changes with the frames of a crop: the nearer the end, the more often it is looked at
        self.end = step + max(1, min(count if count <= 4 else (count + 1) // 2, int(self.segment_seconds / pace)))
        if self.end - step == count:  # the last: rounding shall not leave a step behind
            self.by_step *= 1 + 1e-9

    def facts(self) -> dict[str, Any]:
        """As the state on disk keeps it."""
        return asdict(self)
