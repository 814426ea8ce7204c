"""Time stamps: from what a container says to strictly rising pts."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["Clock"]

_COARSE = Fraction(1, 1000)


class Clock:
    """Turns a stream's time stamps into strictly rising pts in units of `time_base`.

    A stream without times (timed=False) is counted: time_base is 1/fps. Milliseconds (Matroska) cannot say
    1/24 s; there a finer time base is used, and a time within a millisecond of the grid of the frame rate is
    put on it: a constant rate stays constant, a variable one moves by less than 1 ms. A frame without a time
    follows the one before by 1/fps.
    """

    def __init__(self, time_base: Fraction, fps: Fraction, *, timed: bool = True) -> None:
        self._timed = timed
        self._scale = 1
        self._grid = 0
        if not timed:
            time_base = 1 / fps
        elif time_base == _COARSE and fps.denominator in (1, 1001) and 1 <= fps < 500:
            fine = math.lcm(1000, fps.numerator)
            if fine <= 10_000_000:
                self._scale = fine // 1000
                time_base = Fraction(1, fine)
                self._grid = fine // fps.numerator * fps.denominator if self._scale > 1 else 0
        self.time_base = time_base
        self.step = max(1, round(1 / (fps * time_base)))
        self._origin: int | None = None
        self._last: int | None = None

    def convert(self, raw: int) -> int:
        """A time stamp of the stream in units of `time_base`, not yet put on the grid."""
        return raw * self._scale

    def next(self, raw: int | None) -> int:
        """The pts of the next frame shown, given its time stamp in the stream (None: it has none)."""
        if raw is None or not self._timed:
            pts = 0 if self._last is None else self._last + self.step
        else:
            pts = raw * self._scale
            if self._origin is None:
                self._origin = pts
            if self._grid:
                ideal = self._origin + round((pts - self._origin) / self._grid) * self._grid
                if abs(ideal - pts) < self._scale:
                    pts = ideal
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
        self._last = pts
        return pts
