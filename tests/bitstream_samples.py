"""Small .vae files for the tests of the bitstream; payloads, packets and weights are made up."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, settings

from vcodec.bitstream import (
    AudioPacket,
    AudioStream,
    Header,
    Timestamps,
    UnknownRecord,
    VideoChunk,
    Writer,
)

# The machine may be busy with other things: no test fails for its time.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Item = VideoChunk | AudioPacket | Timestamps | UnknownRecord


def header(**changes: Any) -> Header:
    """A plain header: 64x48, 25 fps, chunks of 4 frames with 90 symbols."""
    values: dict[str, Any] = {
        "codec": "qae",
        "weights_sha256": bytes(range(32)),
        "k": 32,
        "width": 64,
        "height": 48,
        "time_base": Fraction(1, 25),
        "fps": Fraction(25),
        "gop": 100,
        "key_frames": 4,
        "key_symbols": 90,
        "inter_frames": 4,
        "inter_symbols": 90,
    }
    return Header(**(values | changes))


def chunk(number: int, *, gop: int = 3, payload: bytes | None = None) -> VideoChunk:
    """Chunk `number` of 4 frames; each `gop`-th is a keyframe."""
    data = bytes((7 * number + 3 * i) % 256 for i in range(5 + number % 4)) if payload is None else payload
    return VideoChunk(first_frame=4 * number, frames=4, symbols=90, keyframe=number % gop == 0, payload=data)


def written(head: Header, items: Iterable[Item], weights: bytes = b"", *, finish: bool = True) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    writer = Writer(out, head)
    if weights:
        writer.write_weights(weights)
    for item in items:
        writer.write(item)
    if finish:
        writer.finish()
    return out.getvalue()


def plain(chunks: int = 9, **changes: Any) -> bytes:
    """A plain file of some chunks, a GOP for every 3 of them."""
    return written(header(**changes), (chunk(i) for i in range(chunks)))


def golden() -> bytes:
    """The golden file: something of everything the format has."""
    stream = AudioStream(
        codec="aac",
        time_base=Fraction(1, 48000),
        sample_rate=48000,
        layout="stereo",
        bit_rate=128000,
        language="eng",
        extradata=b"\x11\x90",
    )
    head = header(
        codec="qae:golden",
        fine=-2,
        weights_bytes=6,
        width=65,
        height=33,
        color_range=1,
        color_primaries=1,
        color_trc=1,
        color_space=1,
        chroma_location=1,
        sar=Fraction(16, 15),
        rotation=90,
        time_base=Fraction(1, 90000),
        fps=Fraction(30000, 1001),
        constant_rate=False,
        first_pts=-3003,
        pts_step=3003,
        gop=8,
        settings={"effort": 2, "k": 32},
        constriction="0.5.0",
        source_format="yuv420p10le",
        notes="10 bits a sample made 8",
        audio=(stream,),
    )
    first = Timestamps(first_frame=0, pts=(-3003, 0, 3003, 6007, 9009, 12012))
    second = Timestamps(first_frame=6, pts=(15015, 18018, 21021, 30030))
    sound = [
        AudioPacket(stream=0, pts=-1024, dts=-1024, duration=1024, data=b"\xde\xad"),
        AudioPacket(stream=0, pts=0, dts=0, duration=1024, data=b"\xbe\xef\x01"),
        AudioPacket(stream=0, pts=2000, dts=1990, duration=960, keyframe=False, data=b""),
    ]
    payload = b"\x01\x02\xf6\x93\x03"  # a false sync mark inside
    return written(
        head,
        [
            first,
            *sound[:2],
            VideoChunk(first_frame=0, frames=4, symbols=90, keyframe=True, payload=payload),
            VideoChunk(first_frame=4, frames=2, symbols=77, payload=b"\xaa"),
            UnknownRecord(type=9, flags=0x40, body=b"new"),
            second,
            sound[2],
            VideoChunk(first_frame=6, frames=4, symbols=90, keyframe=True, payload=b""),
        ],
        weights=b"weight",
    )
