"""Playback: the records of a reader as a decoder wants them, without a hole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from vcodec.bitstream.header import Header
from vcodec.bitstream.reader import Reader
from vcodec.bitstream.records import AudioPacket, Damage, End, Lost, Timestamps, VideoChunk
from vcodec.errors import DamagedError

__all__ = ["Playback"]

DAMAGES_KEPT = 1000
STAMPS_KEPT = 256


class Playback:
    """Gives each frame from the reader's next one on once: in a chunk that can be decoded, or as Lost.

    A chunk can be decoded if it is a keyframe or follows, without a hole, on one that was decoded. With
    `strict`, DamagedError is raised at the first damage; without, only for a hole of more than `max_gap`
    frames, which no one wants concealed.
    """

    def __init__(self, reader: Reader, *, strict: bool = False, max_gap: int = 1_000_000) -> None:
        self.lost: list[tuple[int, int]] = []  # first and last frame of each lost range
        self.damages: list[Damage] = []
        self.total: int | None = None  # frames of the file, once its end record was read
        self._reader = reader
        self._strict = strict
        self._max_gap = max_gap
        self._clock = _Clock(reader.header)
        self._next = reader.next_frame  # first frame not yet given
        self._decoding = False  # whether the decoder's state stands at `_next`

    def __iter__(self) -> Iterator[VideoChunk | AudioPacket | Lost]:
        seen = self._next
        for record in self._reader:
            match record:
                case AudioPacket():
                    yield record
                case Timestamps():
                    self._clock.add(record)
                case Damage():
                    self._note(record)
                case End():
                    self.total = record.frames
                case VideoChunk():
                    seen = max(seen, record.end_frame)
                    if not self._decodable(record):
                        continue
                    yield from self._hole(record.first_frame)
                    self._next, self._decoding = record.end_frame, True
                    yield record
        yield from self._hole(max(seen, self.total or 0))

    def drop(self, chunk: VideoChunk) -> None:
        """Say that the chunk just given did not decode: its frames, up to the next keyframe, are lost."""
        if self._strict:
            raise DamagedError(self._say(f"frame {chunk.first_frame} and on do not decode"))
        self._next, self._decoding = chunk.first_frame, False

    def pts(self, frame: int) -> int:
        """Time stamp of a frame given last, in ticks of the header's `time_base`; estimated if it is lost."""
        return self._clock.pts(frame)

    def _decodable(self, chunk: VideoChunk) -> bool:
        if chunk.first_frame < self._next:
            return False  # a second time, or the wrong way round
        self._decoding = chunk.keyframe or (self._decoding and chunk.first_frame == self._next)
        return self._decoding

    def _hole(self, end: int) -> Iterator[Lost]:
        """The frames that are missing before frame `end`."""
        count = end - self._next
        if count <= 0:
            return
        if self._strict or count > self._max_gap:
            raise DamagedError(self._say(f"{count} frames from frame {self._next} on are lost"))
        lost = Lost(first_frame=self._next, frames=count)
        self.lost.append((lost.first_frame, lost.last_frame))
        self._next = end
        yield lost

    def _note(self, damage: Damage) -> None:
        if self._strict:
            raise DamagedError(self._say(f"byte {damage.offset}: {damage.reason}"))
        if len(self.damages) < DAMAGES_KEPT:
            self.damages.append(damage)

    def _say(self, what: str) -> str:
        return f"{self._reader.name} is damaged: {what}"


class _Clock:
    """Time stamps of frames: by the header's rate, or from the timestamps records met last."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._known: deque[Timestamps] = deque(maxlen=STAMPS_KEPT)

    def add(self, stamps: Timestamps) -> None:
        self._known.append(stamps)

    def pts(self, frame: int) -> int:
        before: tuple[int, int] | None = None  # nearest known frame and its pts, on both sides
        after: tuple[int, int] | None = None
        for stamps in self._known:
            place = frame - stamps.first_frame
            if 0 <= place < len(stamps.pts):
                return stamps.pts[place]
            if place < 0 and (after is None or stamps.first_frame < after[0]):
                after = stamps.first_frame, stamps.pts[0]
            last = stamps.first_frame + len(stamps.pts) - 1
            if place >= 0 and (before is None or last > before[0]):
                before = last, stamps.pts[-1]
        if before is None:
            return self._header.pts(frame)
        if after is None:
            return before[1] + (frame - before[0]) * self._header.pts_step
        return before[1] + (after[1] - before[1]) * (frame - before[0]) // (after[0] - before[0])
