"""Choosing k and fine for a target, by trial encodes.

Rate and PSNR rise with k, and between k and k + 1 with `fine`. The search brackets the target on k, closes
in by interpolation, then does the same on `fine`; trials stop early within TOLERANCE of the target on its
good side:

- bitrate, size: never above, and at most 3 % below where the codec's range allows it;
- psnr (mean luma PSNR over frames): never below, at most 0.1 dB above where the codec's range allows it.

Up to WHOLE_FRAMES frames each trial codes the whole source and what it measures is exact. Longer sources are
tried on excerpts, evenly spread; the whole encode then says how far off that was, and `Search.refine`
corrects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from vcodec.encoding import Coded, Coding, Footage
from vcodec.errors import InputError, UsageError
from vcodec.gops import code_frames
from vcodec.metrics import Meter
from vcodec.pipeline import Progress

if TYPE_CHECKING:
    from vcodec.codec import State

__all__ = ["Goal", "PsnrMeter", "Search"]

WHOLE_FRAMES = 300
EXCERPTS = 8
EXCERPT_FRAMES = 48
RATE_TOLERANCE = 0.03
PSNR_TOLERANCE = 0.1
_NEAR_RATE, _NEAR_PSNR = 0.02, 0.05  # a trial this near ends the search
_K = (2, 256)
_FINE = (-128, 127)
_START_K = 32
_CHUNK_OVERHEAD = 12
_FILE_OVERHEAD = 300

Place: TypeAlias = tuple[int, int]  # k, fine
CodeWhole: TypeAlias = "Callable[[Coding, PsnrMeter | None, str], int]"  # the last: what progress calls it


@dataclass(frozen=True)
class Goal:
    """What is wanted of the whole file: bitrate (bits a second), size (bytes), or psnr (dB); one of them."""

    bitrate: float | None = None
    size: int | None = None
    psnr: float | None = None


class PsnrMeter:
    """Decodes chunks as they are coded and measures their luma PSNR."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._state: State | None = None
        self._meter = Meter(ssim=False)

    def __call__(self, coded: Coded) -> None:
        from vcodec.codec import Grid

        codec, record = self._coding.codec, coded.record
        height, width = coded.frames[0].planes[0].shape
        grid = Grid(record.frames, height, width)
        state = None if record.keyframe else self._state
        clip, self._state = codec.decompress(record.payload, record.symbols, grid, state, coded.settings)
        for frame, planes in zip(coded.frames, codec.to_frames(clip, grid, coded.settings)):
            self._meter.add(frame.planes[:1], planes[:1])

    @property
    def mean(self) -> float:
        """Mean luma PSNR so far, dB."""
        return self._meter.result()["psnr_y"] or 0.0


class Search:
    """The search for one goal. `choose` gives the coding to try; `refine` corrects it by what came of it."""

    def __init__(
        self,
        footage: Footage,
        coding: Coding,
        goal: Goal,
        code_whole: CodeWhole,
        *,
        extra_bytes: int = 0,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """code_whole: codes all of the footage, and gives the bytes of the file.

        extra_bytes: what the file holds beside video and sound. Raises UsageError for a pipe.
        """
        if footage.path is None:
            raise UsageError("a target needs trial encodes: the input must be a file, not a pipe")
        self._footage = footage
        self._coding = coding
        self._code_whole = code_whole
        self._progress = progress
        self.goal = goal
        self.trials = 0
        self._seen: dict[Place, float] = {}
        self._correction = 0.0
        with footage.open(coding.codec.pixel_format) as reader:
            info = reader.info
        survey = footage.survey(info)
        self._frames = survey.frames if survey else info.frames or 0
        self.exact = self._frames <= WHOLE_FRAMES
        self._fps = float(info.fps)
        self._other = extra_bytes + _FILE_OVERHEAD + (survey.audio_bytes if survey else 0)

    def choose(self) -> Coding:
        """The coding that should meet the goal. Raises InputError where none does."""
        return self._with(self._solve())

    def refine(self, coding: Coding, value: float) -> Coding | None:
        """A better coding, given that `coding` came to `value` (bytes or dB) in full; None: good enough."""
        if self._is_met(value):
            return None
        place = (coding.settings.k, coding.settings.fine)
        error = self._scale(value) - self._seen[place]
        self._seen = {key: seen + error for key, seen in self._seen.items()}
        self._correction += error
        better = self._solve()
        return None if better == place else self._with(better)

    def miss(self, value: float) -> str:
        """A line on how `value`, bytes or dB of the whole file, is on the wrong side of the goal; "" if it is not."""
        if self._is_rate and value > self._target:
            return f"the target of {self._target:.0f} bytes was missed: {value:.0f} bytes"
        if not self._is_rate and value < self._target:
            return f"the target of {self._target:g} dB was missed: {value:.2f} dB"
        return ""

    # ------------------------------------------------------------------ solving

    @property
    def _is_rate(self) -> bool:
        return self.goal.psnr is None

    @property
    def _target(self) -> float:
        """The goal as bytes of the file, or dB."""
        if self.goal.psnr is not None:
            return self.goal.psnr
        if self.goal.size is not None:
            return self.goal.size
        return (self.goal.bitrate or 0.0) * self._frames / self._fps / 8

    def _is_met(self, value: float) -> bool:
        if self._is_rate:
            return (1 - RATE_TOLERANCE) * self._target <= value <= self._target
        return self._target <= value <= self._target + PSNR_TOLERANCE

    def _scale(self, value: float) -> float:
        """What the search compares and interpolates: log of bytes, or dB."""
        return math.log(value) if self._is_rate else value

    def _is_below(self, score: float) -> bool:
        return score <= self._scale(self._target) if self._is_rate else score < self._target

    def _is_near(self, score: float) -> bool:
        """Whether a score is so near to the target, on its good side, that the search can stop."""
        distance = score - self._scale(self._target)
        return -_NEAR_RATE <= distance <= 0 if self._is_rate else 0 <= distance <= _NEAR_PSNR

    def _solve(self) -> Place:
        low, high = self._boundary(lambda k: (k, 0), *_K, math.log2, _START_K)
        for k in (low, high):
            if k is not None and self._is_near(self._score((k, 0))):
                return k, 0
        if high is None and self._is_rate:
            return _K[1], 0
        if low is None:
            k, ends = _K[0], (_FINE[0], 0)
        elif high is None:
            k, ends = _K[1], (0, _FINE[1])
        else:
            k, ends = low, (0, min(_FINE[1], math.ceil(32 * math.log2(high / low))))
        below, above = self._boundary(lambda fine: (k, fine), *ends, float, sum(ends) // 2)
        if self._is_rate:
            if below is None:
                least = math.exp(self._score((k, ends[0])))
                raise InputError(f"{self._target:.0f} bytes cannot be met: the smallest file takes {least:.0f}")
            return k, below
        if above is None and high is None:
            best = self._score((k, ends[1]))
            raise InputError(f"{self._target:g} dB cannot be reached: the best is {best:.2f} dB")
        return (k, above) if above is not None else (high or k, 0)

    def _boundary(
        self,
        place: Callable[[int], Place],
        least: int,
        most: int,
        axis: Callable[[float], float],
        first: int,
    ) -> tuple[int | None, int | None]:
        """The last number whose score is below the target and the first whose score is not, of least..most.

        Neighbours, but for a score near the target, where the search stops. None: there is no such number.
        """
        low, high, at = least - 1, most + 1, first
        while True:
            score = self._score(place(at))
            if self._is_below(score):
                low = at
            else:
                high = at
            if high - low == 1 or self._is_near(score):
                return low if low >= least else None, high if high <= most else None
            if low >= least and high <= most:
                left, right = self._score(place(low)), self._score(place(high))
                share = (self._scale(self._target) - left) / max(right - left, 1e-9)
                share = min(0.95, max(0.05, share))
            else:
                share = 0.5
            edges = axis(max(low, least)), axis(min(high, most))
            guess = edges[0] + share * (edges[1] - edges[0])
            at = min(high - 1, max(low + 1, round(2**guess if axis is math.log2 else guess)))

    # ------------------------------------------------------------------ trials

    def _score(self, place: Place) -> float:
        """The score of the whole file at (k, fine), by a trial unless it is known."""
        if place not in self._seen:
            self._seen[place] = self._scale(self._trial(self._with(place))) + self._correction
        return self._seen[place]

    def _with(self, place: Place) -> Coding:
        return replace(self._coding, settings=replace(self._coding.settings, k=place[0], fine=place[1]))

    def _trial(self, coding: Coding) -> float:
        self.trials += 1
        meter = PsnrMeter(coding) if self.goal.psnr is not None else None
        if self.exact:
            size: float = self._code_whole(coding, meter, f"try {self.trials}")
        else:
            size = self._code_excerpts(coding, meter)
        return meter.mean if meter else size

    def _code_excerpts(self, coding: Coding, meter: PsnrMeter | None) -> float:
        """Bytes of the whole file, estimated."""
        size, done = float(self._other), 0
        for footage, weight in self._excerpts(coding):
            with footage.open(coding.codec.pixel_format) as reader:
                pixels = reader.info.width * reader.info.height
                for item in code_frames(reader.frames(), coding):
                    assert isinstance(item, Coded)
                    size += weight(item) * (len(item.record.payload) + _CHUNK_OVERHEAD)
                    done += item.record.frames
                    if meter:
                        meter(item)
                    if self._progress:
                        total = EXCERPTS * min(EXCERPT_FRAMES, coding.gop)
                        self._progress(Progress(f"try {self.trials}", done, total, 0, 0.0, pixels))
        return size

    def _excerpts(self, coding: Coding) -> Iterator[tuple[Footage, Callable[[Coded], float]]]:
        """What to code in a trial, and how often each chunk of it stands for one of the whole file."""
        length = min(EXCERPT_FRAMES, coding.gop)
        share = self._frames / EXCERPTS  # frames of the source that one excerpt stands for
        gops = share / coding.gop

        def weight(item: Coded) -> float:
            if item.record.first_frame == 0:
                return gops
            return (share - gops * coding.codec.chunk_frames) / max(1, length - coding.codec.chunk_frames)

        for number in range(EXCERPTS):
            first = round((number + 0.5) * share - length / 2)
            start = self._footage.start + first / self._fps
            yield replace(self._footage, start=start, duration=length / self._fps, audio=False), weight
