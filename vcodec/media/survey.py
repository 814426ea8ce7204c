"""A look over a whole source without decoding it: how many frames, how evenly spaced, how much sound."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.format
from av.stream import Disposition

from vcodec.media import source as sources
from vcodec.media.clock import Clock
from vcodec.media.frame import RawFormat, VideoInfo

__all__ = ["Survey", "survey_source"]

_NO_TIMES = int(av.format.Flags.no_timestamps.value)  # type: ignore[call-overload]
_REORDER = 64  # frames that may be stored before one that is shown earlier


@dataclass(frozen=True)
class Survey:
    """What a stretch of a source holds.

    frames: near enough to show progress. constant_rate: each frame follows the one before by the same time.
    audio_bytes: of coded sound.
    """

    frames: int
    constant_rate: bool
    audio_bytes: int


def survey_source(
    source: Path,
    info: VideoInfo,
    *,
    raw: RawFormat | None = None,
    start: float = 0.0,
    duration: float | None = None,
) -> Survey | None:
    """Read the packets of a file, constant memory; `info` is what `open_video` said of the same stretch.

    None where FFmpeg cannot say, and for sources other than files that it reads.
    """
    if not source.is_file() or source.suffix.lower() in (".npy", ".npz"):
        return None
    try:
        with sources.open_container(source, str(source), raw) as container:
            video = next(s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
            timed = not container.format.flags & _NO_TIMES and raw is None
            clock = Clock(video.time_base or Fraction(1, 90000), info.fps, timed=timed)
            times = _Times(clock, start, duration)
            sound = 0
            for packet in container.demux(video, *(container.streams.audio if info.audio else ())):
                if packet.stream_index == video.index:
                    if packet.size and not packet.is_discard:
                        times.add(packet.pts)
                elif packet.size and packet.pts is not None:
                    second = float(packet.pts * packet.time_base)
                    sound += packet.size if start <= second < start + (duration or float("inf")) else 0
            times.finish()
    except (av.FFmpegError, StopIteration, OSError):
        return None
    return Survey(times.frames, times.even, sound)


class _Times:
    """Puts the times of packets into the order they are shown in, and watches their spacing."""

    def __init__(self, clock: Clock, start: float, duration: float | None) -> None:
        self.frames = 0
        self.even = True
        self._clock = clock
        self._start = start / float(clock.time_base) - 1e-3
        self._end = float("inf") if duration is None else self._start + duration / float(clock.time_base)
        self._waiting: list[int] = []
        self._first: int | None = None
        self._last: int | None = None

    def add(self, raw: int | None) -> None:
        if raw is None:
            self._show(None)
        else:
            heapq.heappush(self._waiting, raw)
            if len(self._waiting) > _REORDER:
                self._show(heapq.heappop(self._waiting))

    def finish(self) -> None:
        while self._waiting:
            self._show(heapq.heappop(self._waiting))

    def _show(self, raw: int | None) -> None:
        pts = self._clock.next(raw)
        if self._first is None:
            self._first = pts
        if self._last is not None and pts - self._last != self._clock.step:
            self.even = False
        self._last = pts
        if self._start <= pts - self._first < self._end:
            self.frames += 1
