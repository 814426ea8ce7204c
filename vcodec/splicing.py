"""Cutting and joining .vae files: chunks are copied, not coded again; frames and times are renumbered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from vcodec import bitstream
from vcodec.decoding import AUDIO_SLACK_S, Span, Trim, find_span
from vcodec.errors import InputError
from vcodec.output import Target, check_target, open_output
from vcodec.vaefile import Source, open_source

__all__ = ["cat", "cut"]

_SAME = (
    "codec",
    "weights_sha256",
    "k",
    "fine",
    "width",
    "height",
    "depth",
    "pixel_format",
    "color_range",
    "color_primaries",
    "color_trc",
    "color_space",
    "chroma_location",
    "sar",
    "rotation",
    "time_base",
    "fps",
    "pts_step",
    "audio",
)


@dataclass
class _Splice:
    """Copies chunks and packets into a writer; what is copied next begins at `time`, in ticks."""

    writer: bitstream.Writer
    time: int

    def copy(self, reader: bitstream.Reader, first: int, stop: int | None, end: int | None) -> None:
        """Copy from the keyframe `first` on, up to the chunk that holds frame `stop` - 1, sound up to tick
        `end`.

        Raises DamagedError where the source is damaged.
        """
        header = reader.header
        slack = round(AUDIO_SLACK_S * header.fps) if header.audio else 0
        if first:
            reader.seek(max(0, first - slack))
        playback = bitstream.Playback(reader, strict=True)
        begin: int | None = None
        waiting: list[bitstream.AudioPacket] = []
        for item in playback:
            if isinstance(item, bitstream.AudioPacket):
                waiting.append(item)
                continue
            assert isinstance(item, bitstream.VideoChunk)
            if item.first_frame < first:
                continue
            if stop is not None and item.first_frame >= stop:
                if item.first_frame < stop + slack:
                    continue
                break
            pts = [playback.pts(item.first_frame + place) for place in range(item.frames)]
            begin = pts[0] if begin is None else begin
            self._sound(header, waiting, begin, end, whole=not first)
            waiting = []
            self._video(item, [self.time + one - begin for one in pts])
            last = pts[-1]
        if begin is None:
            raise InputError(f"{reader.name} holds no frame in the stretch asked for")
        self._sound(header, waiting, begin, end, whole=not first)
        self.time += last + header.pts_step - begin

    def _video(self, chunk: bitstream.VideoChunk, pts: list[int]) -> None:
        first = self.writer.frames
        if not self.writer.header.constant_rate:
            self.writer.write(bitstream.Timestamps(first_frame=first, pts=tuple(pts)))
        self.writer.write(dataclasses.replace(chunk, first_frame=first))

    def _sound(
        self,
        header: bitstream.Header,
        packets: list[bitstream.AudioPacket],
        begin: int,
        end: int | None,
        *,
        whole: bool,
    ) -> None:
        for packet in packets:
            tick = header.audio[packet.stream].time_base / header.time_base
            if (not whole and packet.pts * tick < begin) or (end is not None and packet.pts * tick >= end):
                continue
            shift = round((self.time - begin) / tick)
            self.writer.write(dataclasses.replace(packet, pts=packet.pts + shift, dts=packet.dts + shift))


def cut(
    source: Source,
    target: Target,
    *,
    start: float = 0.0,
    duration: float | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Copy a stretch of a file: from the last keyframe at or before `start`, to the chunk that reaches its
    end.

    Returns {first, last, frames}, the frames of the source that were copied. Raises InputError, OutputError,
    DamagedError.
    """
    check_target(target, source, overwrite=overwrite)
    with open_source(source) as (file, name):
        reader = bitstream.Reader(file, name)
        weights = reader.weights() or b""
        span = find_span(reader, Trim(start, duration))
        first = reader.seek(span.first) if span.first else 0
        begin = _first_pts(reader, span, first)
        header = dataclasses.replace(reader.header, first_pts=begin)
        with open_output(target, overwrite=overwrite) as out:
            writer = bitstream.Writer(out, header)
            if weights:
                writer.write_weights(weights)
            _Splice(writer, begin).copy(reader, first, span.stop, span.end)
            frames = writer.finish().frames
    return {"first": first, "last": first + frames - 1, "frames": frames}


def _first_pts(reader: bitstream.Reader, span: Span, first: int) -> int:
    """Time of the first frame of the cut: its own where nothing is cut off before it, else zero."""
    return 0 if first or span.first else reader.header.first_pts


def cat(sources: Sequence[Source], target: Target, *, overwrite: bool = False) -> dict[str, Any]:
    """Join files of one codec, K, size, rate and sound, in order; returns {frames, files}.

    Raises InputError for files that do not fit together, OutputError, DamagedError.
    """
    if not sources:
        raise InputError("there is nothing to join")
    for source in sources:
        check_target(target, source, overwrite=overwrite)
    with ExitStack() as stack:
        readers = [bitstream.Reader(*stack.enter_context(open_source(source))) for source in sources]
        weights = [reader.weights() or b"" for reader in readers]
        header = _common_header(readers)
        header = dataclasses.replace(header, weights_bytes=len(weights[0]))
        with open_output(target, overwrite=overwrite) as out:
            writer = bitstream.Writer(out, header)
            if weights[0]:
                writer.write_weights(weights[0])
            splice = _Splice(writer, header.first_pts)
            for reader in readers:
                splice.copy(reader, 0, None, None)
            frames = writer.finish().frames
    return {"frames": frames, "files": len(readers)}


def _common_header(readers: list[bitstream.Reader]) -> bitstream.Header:
    """The header of the joined file. Raises InputError naming the first field that differs."""
    first = readers[0]
    for other in readers[1:]:
        for name in _SAME:
            one, two = getattr(first.header, name), getattr(other.header, name)
            if one != two:
                raise InputError(
                    f"{other.name} cannot follow {first.name}: {name} is {_text(two)}, not {_text(one)}; "
                    "encode both with the same settings"
                )
    headers = [reader.header for reader in readers]
    return dataclasses.replace(
        first.header,
        constant_rate=all(header.constant_rate for header in headers),
        gop=max(header.gop for header in headers),
    )


def _text(value: object) -> str:
    return value.hex()[:12] if isinstance(value, bytes) else str(value)
