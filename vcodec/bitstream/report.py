"""Reports on a file: `info` from its header and end, `verify` from every byte. Neither needs the codec."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from vcodec.bitstream.header import FORMAT_VERSION, AudioStream, Header
from vcodec.bitstream.index import Footer
from vcodec.bitstream.playback import Playback
from vcodec.bitstream.reader import Reader
from vcodec.bitstream.records import Damage, End
from vcodec.errors import InputError

__all__ = ["info", "verify"]

Source = str | Path | BinaryIO


def info(source: Source) -> dict[str, Any]:
    """What a file is, with the keys of the JSON contract. Fast unless the end of the file is missing.

    `source` is a path or a binary stream that stands at offset 0. Raises InputError, UnsupportedError,
    DamagedError as Reader does. `complete` is false if index or end record are missing and the numbers come
    from a scan.
    """
    with _opened(source) as (inp, name):
        reader = Reader(inp, name)
        if reader.seekable():
            base = inp.tell() - reader.header_bytes
            footer = reader.footer()
            file_bytes = inp.seek(0, io.SEEK_END) - base
        else:
            complete = any(isinstance(record, End) for record in reader)
            footer = Footer(reader.tally.index(), reader.tally.end(0), rebuilt=not complete)
            file_bytes = reader.offset
    return _describe(reader.header, footer, file_bytes)


def verify(source: Source) -> dict[str, Any]:
    """Check every record of a file: `{ok, chunks, damaged, frames, lost, ...}` as in the JSON contract.

    `frames` is the total, `chunks` the intact video chunks, `lost` the frame ranges that cannot be decoded. A
    broken header raises as Reader does.
    """
    with _opened(source) as (inp, name):
        reader = Reader(inp, name)
        base = inp.tell() - reader.header_bytes if reader.seekable() else 0
        play = Playback(reader, max_gap=2**32)
        for _ in play:
            pass
        damages = list(play.damages)
        after = inp.seek(0, io.SEEK_END) - base - reader.offset if reader.seekable() else 0
        if after > 0:
            damages.append(
                Damage(
                    offset=reader.offset,
                    size=after,
                    reason="bytes follow the end record",
                    first_frame=reader.next_frame,
                    gop=reader.gop,
                )
            )
    return {
        "ok": not damages and not play.lost,
        "chunks": reader.tally.chunks,
        "damaged": [asdict(damage) for damage in damages],
        "frames": reader.tally.frames if play.total is None else play.total,
        "lost": [list(span) for span in play.lost],
    }


def _describe(header: Header, footer: Footer, file_bytes: int) -> dict[str, Any]:
    end = footer.end
    samples = end.frames * header.width * header.height * header.depth
    return {
        "format_version": FORMAT_VERSION,
        "codec": header.codec,
        "k": header.k,
        "fine": header.fine,
        "width": header.width,
        "height": header.height,
        "depth": header.depth,
        "frames": end.frames,
        "fps": _number(header.fps),
        "fps_exact": str(header.fps),
        "duration_s": _number(end.duration * header.time_base),
        "constant_rate": header.constant_rate,
        "audio": [_describe_audio(stream) for stream in header.audio],
        "file_bytes": file_bytes,
        "payload_bytes": end.payload_bytes,
        "audio_bytes": end.audio_bytes,
        "weights_bytes": header.weights_bytes,
        "bpp": 8 * file_bytes / samples if samples else None,
        "gop": header.gop,
        "chunks": end.chunks,
        "keyframes": list(footer.index.first_frames),
        "weights_sha256": header.weights_sha256.hex(),
        "settings": dict(header.settings),
        "pixel_format": header.pixel_format,
        "color": {
            "range": header.color_range,
            "primaries": header.color_primaries,
            "trc": header.color_trc,
            "space": header.color_space,
            "chroma_location": header.chroma_location,
        },
        "sar": str(header.sar),
        "rotation": header.rotation,
        "time_base": str(header.time_base),
        "source_format": header.source_format,
        "notes": header.notes.splitlines(),
        "constriction": header.constriction,
        "complete": not footer.rebuilt,
    }


def _describe_audio(stream: AudioStream) -> dict[str, Any]:
    return {
        "codec": stream.codec,
        "sample_rate": stream.sample_rate,
        "layout": stream.layout,
        "bit_rate": stream.bit_rate,
        "language": stream.language,
    }


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """The source as a stream, with its name for messages."""
    if not isinstance(source, (str, Path)):
        yield source, str(getattr(source, "name", "the stream"))
        return
    try:
        inp = Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from None
    with inp:
        yield inp, str(source)
