"""Records: what follows the header, one after the other.

    sync 2 bytes | head u8 | size varint | crc32 u32 | body (size bytes)

The head byte holds the type in its low 5 bits and three flags above. The CRC-32 covers head, size and body
and starts from the header's CRC, so a record of another file never passes. Frame numbers are absolute and a
GOP is named by the number of its first frame: a reader that lost records still knows what it has.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from vcodec.bitstream.fields import Bytes, Flagged, Rest, Signed, Varint
from vcodec.bitstream.header import MAX_CHUNK_FRAMES, MAX_FRAMES, MAX_SYMBOLS
from vcodec.bitstream.varint import varint

__all__ = [
    "MAX_BODY",
    "MIN_RECORD",
    "SYNC",
    "AudioPacket",
    "Damage",
    "End",
    "Index",
    "Lost",
    "Record",
    "Timestamps",
    "Type",
    "UnknownRecord",
    "VideoChunk",
    "WeightsPart",
    "emit_record",
    "record_crc",
]

SYNC = b"\xf6\x93"
CRC = struct.Struct("<I")
MIN_RECORD = 8  # sync, head, a size of one byte, CRC-32
MAX_BODY = 2**26
MAX_PACKETS = 4096
MAX_STAMPS = 65536
MAX_GOPS = 2**20
TIME = Signed(-(2**61), 2**61)  # a time stamp
SHIFT = Signed(-(2**63), 2**63 - 1)  # from one time stamp to another

TYPE_BITS = 0x1F
KEYFRAME = 0x20
OWN_FRAMES = 0x40
OWN_SYMBOLS = 0x80


class Type(IntEnum):
    """Record types. 0 is never used; others are skipped by readers that do not know them."""

    VIDEO = 1
    AUDIO = 2
    TIMESTAMPS = 3
    WEIGHTS = 4
    INDEX = 5
    END = 6


@dataclass(frozen=True, kw_only=True)
class VideoChunk:
    """Some frames. A keyframe chunk starts a GOP; any other continues where the chunk before it ended."""

    first_frame: Annotated[int, Varint(0, MAX_FRAMES), "number of its first frame, from 0"]
    frames: Annotated[int, Varint(1, MAX_CHUNK_FRAMES), Flagged(OWN_FRAMES), "frames it holds; else as the header says"]
    symbols: Annotated[
        int, Varint(0, MAX_SYMBOLS), Flagged(OWN_SYMBOLS), "symbols coded in it; else as the header says"
    ] = 0
    keyframe: bool = False
    payload: Annotated[bytes, Rest(), "what the codec wrote"]

    @property
    def end_frame(self) -> int:
        """The number after its last frame."""
        return self.first_frame + self.frames


@dataclass(frozen=True, kw_only=True)
class AudioPacket:
    """One packet of an audio stream; times in ticks of the stream's time base."""

    stream: int
    pts: int
    dts: int
    duration: int = 0
    keyframe: bool = True
    data: bytes


@dataclass(frozen=True, kw_only=True)
class AudioGroup:
    """Body of an audio record: packets of one stream that were written together."""

    stream: Annotated[int, Varint(0, 15), "audio stream, by its place in the header"]
    packets: Annotated[int, Varint(1, MAX_PACKETS), "packets that follow"]
    data: Annotated[bytes, Rest(), "the packets, as below"]


@dataclass(frozen=True, kw_only=True)
class PacketFields:
    """What stands before the data of one packet in an audio record."""

    pts_jump: Annotated[int, SHIFT, Flagged(0x02), "pts minus the expected pts; else 0"] = 0
    dts_lag: Annotated[int, SHIFT, Flagged(0x04), "pts minus dts; else 0"] = 0
    duration: Annotated[int, Varint(0, 2**40), Flagged(0x08), "ticks; else as the packet before it, at first 0"] = 0
    data: Annotated[bytes, Bytes(MAX_BODY), "the packet, untouched"]


@dataclass(frozen=True, kw_only=True)
class Timestamps:
    """Presentation times of frames, in ticks of the video's time base; comes before their chunks."""

    first_frame: int
    pts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StampGroup:
    """Body of a timestamps record."""

    first_frame: Annotated[int, Varint(0, MAX_FRAMES), "frame of the first time stamp"]
    data: Annotated[bytes, Rest(), "signed numbers, one a frame, as below"]


@dataclass(frozen=True, kw_only=True)
class WeightsPart:
    """A part of the embedded weights; the parts come first in the file, in order."""

    part: Annotated[int, Varint(0, 65535), "number of this part, from 0"]
    parts: Annotated[int, Varint(1, 65536), "parts in all"]
    data: Annotated[bytes, Rest(), "bytes of the weights file"]


@dataclass(frozen=True, kw_only=True)
class UnknownRecord:
    """An intact record of a type this vcodec does not know; to be skipped, or copied as it is."""

    type: int
    flags: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Index:
    """Where each GOP begins: first frame and byte offset, one of each a GOP."""

    first_frames: Sequence[int]
    offsets: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class End:
    """The last record: totals and where the index is. Its last byte is its size, to find it from the end."""

    frames: Annotated[int, Varint(0, MAX_FRAMES), "frames in all"]
    chunks: Annotated[int, Varint(0, MAX_FRAMES), "video records"]
    payload_bytes: Annotated[int, Varint(0, 2**62), "bytes of all video payloads"]
    audio_bytes: Annotated[int, Varint(0, 2**62), "bytes of all audio packets"]
    duration: Annotated[int, Varint(0, 2**63), "length of the video in ticks"]
    index_offset: Annotated[int, Varint(0, 2**62), "offset of the index record's sync mark in the file"]
    size: Annotated[int, Varint(0, 127), "size of this whole record: the last byte of the file"] = 0


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes that could not be read. Frames from `first_frame` on may be missing; `gop` was in progress."""

    offset: int
    size: int
    reason: str
    first_frame: int
    gop: int | None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Frames that cannot be decoded."""

    first_frame: int
    frames: int

    @property
    def last_frame(self) -> int:
        """The number of the last of them."""
        return self.first_frame + self.frames - 1


Record = VideoChunk | AudioPacket | Timestamps | WeightsPart | UnknownRecord | Index | End | Damage


def emit_record(seed: int, head: int, body: bytes) -> bytes:
    """A record from its head byte and body; `seed` is the header's CRC. ValueError: the body is too long."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a record of {len(body)} bytes exceeds {MAX_BODY}")
    front = bytes([head]) + varint(len(body))
    return SYNC + front + CRC.pack(record_crc(seed, front, body)) + body


def record_crc(seed: int, front: bytes | memoryview, body: bytes | memoryview) -> int:
    """CRC-32 of a record: over head and size, then the body, starting from the header's CRC."""
    return zlib.crc32(body, zlib.crc32(front, seed))
