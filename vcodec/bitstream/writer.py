"""Writer: appends records to a stream, never seeks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from vcodec.bitstream.header import PREFIX, Header, emit_header
from vcodec.bitstream.packing import (
    join_audio,
    join_end,
    join_index,
    join_timestamps,
    join_video,
    join_weights,
)
from vcodec.bitstream.records import (
    MAX_PACKETS,
    TYPE_BITS,
    AudioPacket,
    End,
    Timestamps,
    Type,
    UnknownRecord,
    VideoChunk,
    WeightsPart,
    emit_record,
)
from vcodec.bitstream.tally import Tally
from vcodec.errors import InputError

__all__ = ["Writer"]

WEIGHTS_PART = 2**22
HELD_AUDIO = 2**18  # bytes of audio held back at most


class Writer:
    """Writes one .vae file to `out`, which may be a pipe; `out` stays open.

    The header is written at once. Audio packets are held until the next video chunk, so that those of a
    stream share one record. Without `finish` the file is one that was cut off: readable, and reported as
    damaged. Raises InputError for values that the format cannot hold, and what `out.write` raises.
    """

    def __init__(self, out: BinaryIO, header: Header) -> None:
        self.header = header
        self.bytes_written = 0
        self._out = out
        self._live = not out.seekable()
        self._tally = Tally(header)
        self._gop_start = 0
        self._stamped = 0
        self._held: list[list[AudioPacket]] = [[] for _ in header.audio]
        self._held_bytes = 0
        self._finished = False
        start = emit_header(header)
        self._seed = PREFIX.unpack_from(start)[3]
        self._put(start)

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._tally.frames

    @property
    def chunks(self) -> int:
        """Video chunks written so far."""
        return self._tally.chunks

    @property
    def payload_bytes(self) -> int:
        """Bytes of video payload written so far."""
        return self._tally.payload_bytes

    @property
    def audio_bytes(self) -> int:
        """Bytes of audio packets written so far; those held back are not counted."""
        return self._tally.audio_bytes

    def write_weights(self, data: bytes) -> None:
        """Embed the weights: directly after the constructor, as many bytes as the header says."""
        if len(data) != self.header.weights_bytes or not data:
            raise InputError(f"{len(data)} bytes of weights; the header announces {self.header.weights_bytes}")
        if self._tally.chunks or self._stamped or any(self._held):
            raise InputError("embedded weights come first in the file")
        parts = -(-len(data) // WEIGHTS_PART)
        for part in range(parts):
            piece = data[part * WEIGHTS_PART : (part + 1) * WEIGHTS_PART]
            self._append(Type.WEIGHTS, join_weights(WeightsPart(part=part, parts=parts, data=piece)))

    def write(self, record: VideoChunk | AudioPacket | Timestamps | UnknownRecord) -> None:
        """Append a record. Frames must follow each other without a hole, time stamps precede their frames."""
        if self._finished:
            raise InputError("the file is finished; nothing can follow")
        match record:
            case VideoChunk():
                self._write_video(record)
            case AudioPacket():
                self._hold(record)
            case Timestamps():
                self._write_timestamps(record)
            case UnknownRecord():
                if record.type in {0, *Type} or record.flags & TYPE_BITS or record.type > TYPE_BITS:
                    raise InputError(f"type {record.type} is not one to copy unread")
                self._flush_audio()
                with _fits():
                    self._append(record.type | record.flags, record.body)

    def finish(self) -> End:
        """Write what is held, the index and the end record; returns the totals."""
        if self._finished:
            raise InputError("the file is finished already")
        self._flush_audio()
        end = self._tally.end(self._append(Type.INDEX, join_index(self._tally.index())))
        with _fits():
            self._append(Type.END, join_end(end))
        self._finished = True
        self._out.flush()
        return end

    def _write_video(self, chunk: VideoChunk) -> None:
        if chunk.first_frame != self.frames:
            raise InputError(f"a chunk begins at frame {chunk.first_frame}, {self.frames} is next")
        if not (chunk.keyframe or self.chunks):
            raise InputError("the first chunk is not a keyframe")
        if chunk.keyframe:
            self._gop_start = chunk.first_frame
        if chunk.end_frame - self._gop_start > self.header.gop:
            raise InputError(f"a GOP longer than the {self.header.gop} frames of the header")
        if not self.header.constant_rate and chunk.end_frame > self._stamped:
            raise InputError(f"frames {self._stamped} to {chunk.end_frame - 1} have no time stamps")
        self._flush_audio()
        with _fits():
            offset = self._append(*join_video(chunk, self.header))
        self._tally.video(offset, chunk)
        if self._live:
            self._out.flush()

    def _write_timestamps(self, stamps: Timestamps) -> None:
        if self.header.constant_rate:
            raise InputError("time stamps in a file of constant rate")
        if stamps.first_frame != self._stamped:
            raise InputError(f"time stamps from frame {stamps.first_frame}, {self._stamped} is next")
        with _fits():
            offset = self._append(Type.TIMESTAMPS, join_timestamps(stamps, self.header))
        self._tally.timestamps(offset, stamps)
        self._stamped += len(stamps.pts)

    def _hold(self, packet: AudioPacket) -> None:
        if not 0 <= packet.stream < len(self._held):
            raise InputError(f"an audio packet of stream {packet.stream}, the header has {len(self._held)}")
        held = self._held[packet.stream]
        held.append(packet)
        self._held_bytes += len(packet.data)
        if len(held) == MAX_PACKETS or self._held_bytes > HELD_AUDIO:
            self._flush_audio()

    def _flush_audio(self) -> None:
        """Write the packets held, one record a stream."""
        groups = [tuple(held) for held in self._held if held]
        self._held = [[] for _ in self._held]
        self._held_bytes = 0
        for packets in groups:
            with _fits():
                offset = self._append(Type.AUDIO, join_audio(packets))
            self._tally.audio(offset, packets)

    def _append(self, head: int, body: bytes) -> int:
        """Append a record and return its offset."""
        offset = self.bytes_written
        self._put(emit_record(self._seed, head, body))
        return offset

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = self._out.write(view)
            view = view[len(view) if count is None else count :]
        self.bytes_written += len(data)


@contextmanager
def _fits() -> Iterator[None]:
    """Values that the format cannot hold are the caller's error."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"a .vae file cannot hold {error}") from None
