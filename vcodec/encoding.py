"""What is to be coded and how, and coded chunks to a file; gops.py codes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vcodec import bitstream, media
from vcodec.errors import InputError
from vcodec.media.survey import Survey, survey_source

if TYPE_CHECKING:
    from vcodec.codec import Codec, Settings

__all__ = [
    "DEFAULT_GOP",
    "Coded",
    "Coding",
    "Footage",
    "RateChangedError",
    "RecordWriter",
    "file_header",
]

DEFAULT_GOP = 128


@dataclass(frozen=True)
class Footage:
    """A source of frames and what is wanted of it, so that it can be opened more than once."""

    source: str | Path | BinaryIO
    start: float = 0.0
    duration: float | None = None
    audio: bool = True
    raw: media.RawFormat | None = None
    fps: Fraction | None = None

    @property
    def path(self) -> Path | None:
        """The path of a source that can be read again; None for a pipe."""
        return Path(self.source) if isinstance(self.source, (str, Path)) and str(self.source) != "-" else None

    def open(self, pixel_format: str) -> media.VideoReader:
        """Open it from the beginning. Raises MediaError."""
        return media.open_video(
            self.source,
            pixel_format=pixel_format,
            start=self.start,
            duration=self.duration,
            audio=self.audio,
            raw=self.raw,
            fps=self.fps,
        )

    def survey(self, info: media.VideoInfo) -> Survey | None:
        """Its frames, evenness and sound, without decoding; None for what is no file that FFmpeg reads."""
        if self.path is None:
            return None
        return survey_source(self.path, info, raw=self.raw, start=self.start, duration=self.duration)


@dataclass(frozen=True)
class Coding:
    """How frames become chunks.

    gop: most frames from one keyframe to the next. scene_cuts: begin a GOP at each cut of the footage. abreast: GOPs
    that may be coded beside each other, which changes no byte.
    """

    codec: Codec
    settings: Settings
    gop: int = DEFAULT_GOP
    scene_cuts: bool = True
    abreast: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.gop <= 65535:
            raise InputError(f"a GOP of {self.gop} frames is not possible: choose 1 to 65535")

    @property
    def gop_frames(self) -> int:
        """Most frames of a GOP: `gop`, less what would leave a step of the codec half empty."""
        lead, step = self.codec.lead_frames, self.codec.step_frames
        return lead + (self.gop - lead) // step * step if lead else self.gop

    def for_video(self, info: media.VideoInfo) -> Coding:
        """The same with the colour tags of a video."""
        tags = {"color_space": info.color_space, "color_range": info.color_range}
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **tags))


@dataclass(frozen=True)
class Coded:
    """One coded chunk with the frames it was made from."""

    record: bitstream.VideoChunk
    frames: tuple[media.Frame, ...]
    settings: Settings


def file_header(
    info: media.VideoInfo, coding: Coding, *, constant_rate: bool, first_pts: int, weights_bytes: int = 0
) -> bitstream.Header:
    """The header of a file of this video, coded so."""
    return bitstream.Header(
        codec=coding.codec.name,
        weights_sha256=coding.codec.weights_sha256,
        weights_bytes=weights_bytes,
        k=coding.settings.k,
        fine=coding.settings.fine,
        width=info.width,
        height=info.height,
        pixel_format=info.pixel_format,
        color_range=info.color_range,
        color_primaries=info.color_primaries,
        color_trc=info.color_trc,
        color_space=info.color_space,
        chroma_location=info.chroma_location,
        sar=info.sar,
        rotation=info.rotation,
        time_base=info.time_base,
        fps=info.fps,
        constant_rate=constant_rate,
        first_pts=first_pts,
        pts_step=frame_step(info),
        gop=coding.gop,
        settings={"gop": coding.gop, "scene_cuts": coding.scene_cuts},
        constriction=version("constriction"),
        source_format=info.source_format,
        notes="\n".join(info.notes),
        audio=tuple(
            bitstream.AudioStream(
                codec=stream.codec,
                time_base=stream.time_base,
                sample_rate=stream.sample_rate,
                layout=stream.layout,
                bit_rate=stream.bit_rate,
                language=stream.language,
                extradata=stream.extradata,
            )
            for stream in info.audio
        ),
    )


def frame_step(info: media.VideoInfo) -> int:
    """Ticks of the time base from frame to frame at the nominal rate, at least 1."""
    return max(1, round(1 / (info.fps * info.time_base)))


class RateChangedError(Exception):
    """A frame of a video announced as constant in rate does not follow the one before it in time."""


class RecordWriter:
    """Writes a whole file, item by item as `code_frames` gives them.

    `make_header(first_pts)` is called once the first frame is known. The header is written with the second
    chunk: it names the usual symbol counts of both kinds of chunk, so that the chunks need not.
    """

    def __init__(self, out: BinaryIO, make_header: Callable[[int], bitstream.Header], weights: bytes = b"") -> None:
        self._out = out
        self._make_header = make_header
        self._weights = weights
        self._held: list[Coded | media.AudioPacket] = []
        self._writer: bitstream.Writer | None = None

    @property
    def bytes_written(self) -> int:
        """Bytes written so far."""
        return self._writer.bytes_written if self._writer else 0

    def put(self, item: Coded | media.AudioPacket) -> None:
        """Write one item. Raises RateChangedError, InputError, and what writing to the output raises."""
        if self._writer is not None:
            _write(self._writer, item)
            return
        self._held.append(item)
        if isinstance(item, Coded) and sum(isinstance(held, Coded) for held in self._held) == 2:
            self._start()

    def finish(self) -> tuple[bitstream.Header, bitstream.End]:
        """End the file, and give what its header and its end say. Raises InputError without a frame."""
        if self._writer is None:
            self._start()
        assert self._writer is not None
        return self._writer.header, self._writer.finish()

    def _start(self) -> None:
        chunks = [item for item in self._held if isinstance(item, Coded)]
        if not chunks:
            raise InputError("the source holds no frames")
        usual: dict[str, Any] = {}
        for chunk in reversed(chunks):
            kind = "key" if chunk.record.keyframe else "inter"
            usual |= {f"{kind}_frames": chunk.record.frames, f"{kind}_symbols": chunk.record.symbols}
        header = dataclasses.replace(self._make_header(chunks[0].frames[0].pts), **usual)
        self._writer = bitstream.Writer(self._out, header)
        if self._weights:
            self._writer.write_weights(self._weights)
        held, self._held = self._held, []
        for item in held:
            _write(self._writer, item)


def _write(writer: bitstream.Writer, item: Coded | media.AudioPacket) -> None:
    if isinstance(item, media.AudioPacket):
        writer.write(
            bitstream.AudioPacket(
                stream=item.stream,
                pts=item.pts,
                dts=item.dts,
                duration=item.duration,
                keyframe=item.keyframe,
                data=item.data,
            )
        )
        return
    first = item.record.first_frame
    pts = tuple(frame.pts for frame in item.frames)
    if not writer.header.constant_rate:
        writer.write(bitstream.Timestamps(first_frame=first, pts=pts))
    elif pts != tuple(writer.header.pts(first + place) for place in range(len(pts))):
        raise RateChangedError
    writer.write(item.record)
