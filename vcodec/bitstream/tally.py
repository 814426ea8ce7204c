"""What a file holds so far: totals and the place of each GOP, counted alike by writer and readers."""

from __future__ import annotations

from array import array

from vcodec.bitstream.header import Header
from vcodec.bitstream.packing import Body
from vcodec.bitstream.records import MAX_GOPS, AudioPacket, End, Index, Timestamps, VideoChunk

__all__ = ["Tally"]


class Tally:
    """Counts records in file order.

    A GOP begins at the first audio or timestamps record after the last video chunk before it, so a reader
    that goes there meets all that belongs to the GOP. GOPs beyond MAX_GOPS are not indexed.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self.frames = 0
        self.chunks = 0
        self.payload_bytes = 0
        self.audio_bytes = 0
        self._first_pts: int | None = None
        self._last_pts = 0
        self._group: int | None = None  # offset of the first audio or timestamps record since the last chunk
        self._keyframes = array("Q")
        self._offsets = array("Q")

    def record(self, offset: int, body: Body) -> None:
        """Count the content of a record that begins at `offset`."""
        match body:
            case VideoChunk():
                self.video(offset, body)
            case Timestamps():
                self.timestamps(offset, body)
            case tuple():
                self.audio(offset, body)

    def video(self, offset: int, chunk: VideoChunk) -> None:
        """Count a video record that begins at `offset`."""
        known = self._keyframes[-1] if self._keyframes else -1
        if chunk.keyframe and chunk.first_frame > known and len(self._keyframes) < MAX_GOPS:
            self._keyframes.append(chunk.first_frame)
            self._offsets.append(offset if self._group is None else self._group)
        self._group = None
        self.frames = max(self.frames, chunk.end_frame)
        self.chunks += 1
        self.payload_bytes += len(chunk.payload)

    def audio(self, offset: int, packets: tuple[AudioPacket, ...]) -> None:
        """Count an audio record."""
        self._open(offset)
        self.audio_bytes += sum(len(packet.data) for packet in packets)

    def timestamps(self, offset: int, stamps: Timestamps) -> None:
        """Count a timestamps record."""
        self._open(offset)
        if self._first_pts is None:
            self._first_pts = self._last_pts = stamps.pts[0]
        self._first_pts = min(self._first_pts, min(stamps.pts))
        self._last_pts = max(self._last_pts, max(stamps.pts))

    def index(self) -> Index:
        """Where each GOP begins."""
        return Index(first_frames=self._keyframes, offsets=self._offsets)

    def end(self, index_offset: int) -> End:
        """The totals."""
        return End(
            frames=self.frames,
            chunks=self.chunks,
            payload_bytes=self.payload_bytes,
            audio_bytes=self.audio_bytes,
            duration=self._duration(),
            index_offset=index_offset,
        )

    def _duration(self) -> int:
        """Ticks from the first frame's time stamp to the end of the last frame."""
        if self._header.constant_rate or self._first_pts is None:
            return self.frames * self._header.pts_step
        return self._last_pts - self._first_pts + self._header.pts_step

    def _open(self, offset: int) -> None:
        if self._group is None:
            self._group = offset
