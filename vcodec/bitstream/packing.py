"""Bodies of records: dataclasses to bytes and back. `parse_*` raise ParseError, `join_*` ValueError."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from vcodec.bitstream.fields import Varint, read_row, write_row
from vcodec.bitstream.header import MAX_FRAMES, Header
from vcodec.bitstream.records import (
    KEYFRAME,
    MAX_GOPS,
    MAX_STAMPS,
    MIN_RECORD,
    OWN_FRAMES,
    OWN_SYMBOLS,
    SHIFT,
    TIME,
    TYPE_BITS,
    AudioGroup,
    AudioPacket,
    End,
    Index,
    PacketFields,
    StampGroup,
    Timestamps,
    Type,
    UnknownRecord,
    VideoChunk,
    WeightsPart,
)
from vcodec.bitstream.varint import Cursor, ParseError, varint

__all__ = [
    "join_audio",
    "join_end",
    "join_index",
    "join_timestamps",
    "join_video",
    "join_weights",
    "parse_body",
]

PACKET_KEYFRAME, PTS_JUMP, DTS_LAG, OWN_DURATION = 0x01, 0x02, 0x04, 0x08
OFFSET = Varint(0, 2**62)
Body = VideoChunk | Timestamps | WeightsPart | UnknownRecord | Index | End | tuple[AudioPacket, ...]


def parse_body(head: int, body: bytes, header: Header) -> Body:
    """The content of an intact record; an audio record gives its packets."""
    kind, flags, cursor = head & TYPE_BITS, head & ~TYPE_BITS, Cursor(body)
    content: Body
    match kind:
        case Type.VIDEO:
            return _parse_video(flags, cursor, header)
        case Type.AUDIO:
            content = _parse_audio(cursor, header)
        case Type.TIMESTAMPS:
            content = _parse_timestamps(cursor, header)
        case Type.WEIGHTS:
            content = _parse_weights(cursor)
        case Type.INDEX:
            content = _parse_index(cursor)
        case Type.END:
            content = End(**read_row(End, cursor))
        case 0:
            raise ParseError("type 0 is never used")
        case _:
            return UnknownRecord(type=kind, flags=flags, body=body)
    if flags or cursor.left:
        raise ParseError("a record of known type has unknown flags or bytes at its end")
    return content


def join_video(chunk: VideoChunk, header: Header) -> tuple[int, bytes]:
    """Head byte and body of a video record."""
    head = int(Type.VIDEO)
    head |= KEYFRAME if chunk.keyframe else 0
    usual_frames, usual_symbols = _usual(header, chunk.keyframe)
    head |= OWN_FRAMES if chunk.frames != usual_frames else 0
    head |= OWN_SYMBOLS if chunk.symbols != usual_symbols else 0
    return head, write_row(chunk, head)


def _parse_video(flags: int, cursor: Cursor, header: Header) -> VideoChunk:
    keyframe = bool(flags & KEYFRAME)
    frames, symbols = _usual(header, keyframe)
    values = {"frames": frames, "symbols": symbols, "keyframe": keyframe}
    chunk = VideoChunk(**(values | read_row(VideoChunk, cursor, flags)))
    if chunk.end_frame > MAX_FRAMES:
        raise ParseError(f"frame numbers beyond {MAX_FRAMES}")
    return chunk


def _usual(header: Header, keyframe: bool) -> tuple[int, int]:
    """Frame and symbol count that a chunk has unless it says otherwise."""
    if keyframe:
        return header.key_frames, header.key_symbols
    return header.inter_frames, header.inter_symbols


def join_audio(packets: Sequence[AudioPacket]) -> bytes:
    """Body of an audio record: packets of one stream, each expected where the one before it ends."""
    out = []
    expected = duration = 0
    for packet in packets:
        fields = PacketFields(
            pts_jump=TIME.bounded(packet.pts) - expected,
            dts_lag=packet.pts - TIME.bounded(packet.dts),
            duration=packet.duration,
            data=packet.data,
        )
        flags = PACKET_KEYFRAME if packet.keyframe else 0
        flags |= PTS_JUMP if fields.pts_jump else 0
        flags |= DTS_LAG if fields.dts_lag else 0
        flags |= OWN_DURATION if fields.duration != duration else 0
        out.append(bytes([flags]) + write_row(fields, flags))
        expected, duration = packet.pts + packet.duration, packet.duration
    return write_row(AudioGroup(stream=packets[0].stream, packets=len(packets), data=b"".join(out)))


def _parse_audio(cursor: Cursor, header: Header) -> tuple[AudioPacket, ...]:
    group = AudioGroup(**read_row(AudioGroup, cursor))
    if group.stream >= len(header.audio):
        raise ParseError(f"stream: {group.stream} of {len(header.audio)}")
    packets = []
    expected = duration = 0
    inner = Cursor(group.data)
    for _ in range(group.packets):
        flags = inner.take(1)[0]
        if flags > 0x0F:
            raise ParseError("an audio packet has unknown flags")
        fields = PacketFields(**({"duration": duration} | read_row(PacketFields, inner, flags)))
        pts, duration = TIME.bounded(expected + fields.pts_jump), fields.duration
        packets.append(
            AudioPacket(
                stream=group.stream,
                pts=pts,
                dts=TIME.bounded(pts - fields.dts_lag),
                duration=duration,
                keyframe=bool(flags & PACKET_KEYFRAME),
                data=fields.data,
            )
        )
        expected = pts + duration
    if inner.left:
        raise ParseError("bytes follow the last audio packet")
    return tuple(packets)


def join_timestamps(stamps: Timestamps, header: Header) -> bytes:
    """Body of a timestamps record: each number is the pts minus the expected one."""
    if not 1 <= len(stamps.pts) <= MAX_STAMPS:
        raise ValueError(f"{len(stamps.pts)} time stamps in a record; 1..{MAX_STAMPS} fit")
    expected = header.pts(stamps.first_frame)
    out = bytearray()
    for pts in stamps.pts:
        out += SHIFT.write(TIME.bounded(pts) - expected)
        expected = pts + header.pts_step
    return write_row(StampGroup(first_frame=stamps.first_frame, data=bytes(out)))


def _parse_timestamps(cursor: Cursor, header: Header) -> Timestamps:
    group = StampGroup(**read_row(StampGroup, cursor))
    expected = header.pts(group.first_frame)
    inner = Cursor(group.data)
    stamps: list[int] = []
    while inner.left:
        if len(stamps) == MAX_STAMPS:
            raise ParseError(f"more than {MAX_STAMPS} time stamps")
        stamps.append(TIME.bounded(expected + SHIFT.read(inner)))
        expected = stamps[-1] + header.pts_step
    if not stamps:
        raise ParseError("a record without time stamps")
    return Timestamps(first_frame=group.first_frame, pts=tuple(stamps))


def join_weights(part: WeightsPart) -> bytes:
    """Body of a weights record."""
    return write_row(part)


def _parse_weights(cursor: Cursor) -> WeightsPart:
    part = WeightsPart(**read_row(WeightsPart, cursor))
    if part.part >= part.parts:
        raise ParseError(f"part {part.part} of {part.parts}")
    return part


def join_index(index: Index) -> bytes:
    """Body of the index record: for each GOP, frames and bytes since the GOP before it (at first since 0)."""
    out = bytearray()
    frame = offset = 0
    for next_frame, next_offset in zip(index.first_frames, index.offsets):
        out += varint(next_frame - frame) + varint(next_offset - offset)
        frame, offset = next_frame, next_offset
    return bytes(out)


def _parse_index(cursor: Cursor) -> Index:
    frames, offsets = array("Q"), array("Q")
    frame = offset = 0
    while cursor.left:
        if len(frames) == MAX_GOPS:
            raise ParseError(f"more than {MAX_GOPS} GOPs in the index")
        step, distance = cursor.varint(), cursor.varint()
        if len(frames) and not (step and distance):
            raise ParseError("two GOPs at one place")
        frame, offset = frame + step, offset + distance
        if frame > MAX_FRAMES or offset > OFFSET.high:
            raise ParseError("a GOP beyond the largest file")
        frames.append(frame)
        offsets.append(offset)
    return Index(first_frames=frames, offsets=offsets)


def join_end(end: End) -> bytes:
    """Body of the end record, its last byte set to the size of the whole record."""
    body = write_row(end)
    return write_row(replace(end, size=MIN_RECORD + len(body)))
