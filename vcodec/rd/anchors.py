"""Anchors: x264, x265, SVT-AV1 and VP9 through PyAV, at settings a user would choose.

An anchor is named `encoder:preset` or `encoder:preset:tune`, as `x264:veryfast:zerolatency` or `svtav1:8`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import VideoFrame

from vcodec import media
from vcodec.errors import InputError, UnknownNameError

__all__ = ["ANCHORS", "Anchor", "encode_anchor", "parse_anchor"]

_X26X = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"]


@dataclass(frozen=True)
class _Encoder:
    """library: FFmpeg's name; presets: the names allowed; crf: the usual sweep, and the most that is allowed."""

    library: str
    presets: tuple[str, ...]
    default: str
    tunes: tuple[str, ...]
    crf: tuple[int, ...]
    most_crf: int
    options: Callable[[str, str, int], dict[str, str]]


def _x264(preset: str, tune: str, gop: int) -> dict[str, str]:
    return {"preset": preset, "g": str(gop)} | ({"tune": tune} if tune else {})


def _x265(preset: str, tune: str, gop: int) -> dict[str, str]:
    # info=0: without the text of its settings in the stream
    return _x264(preset, tune, gop) | {"x265-params": f"keyint={gop}:info=0:log-level=none"}


def _svtav1(preset: str, tune: str, gop: int) -> dict[str, str]:
    return {"preset": preset, "g": str(gop)} | ({"svtav1-params": f"tune={tune}"} if tune else {})


def _vp9(preset: str, tune: str, gop: int) -> dict[str, str]:
    tuned = {"tune-content": tune} if tune else {}
    return {"cpu-used": preset, "deadline": "good", "b": "0", "row-mt": "1", "g": str(gop)} | tuned


ANCHORS = {
    "x264": _Encoder(
        "libx264",
        tuple(_X26X),
        "medium",
        ("film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"),
        (17, 21, 25, 29, 33, 38, 43),
        51,
        _x264,
    ),
    "x265": _Encoder(
        "libx265",
        tuple(_X26X),
        "medium",
        ("psnr", "ssim", "grain", "fastdecode", "zerolatency", "animation"),
        (17, 21, 25, 29, 33, 38, 43),
        51,
        _x265,
    ),
    "svtav1": _Encoder(
        "libsvtav1",
        tuple(str(i) for i in range(14)),
        "8",
        ("0", "1", "2"),
        (14, 22, 30, 38, 46, 54, 62),
        63,
        _svtav1,
    ),
    "vp9": _Encoder(
        "libvpx-vp9",
        tuple(str(i) for i in range(9)),
        "4",
        ("default", "screen", "film"),
        (12, 20, 28, 36, 44, 52, 60),
        63,
        _vp9,
    ),
}


@dataclass(frozen=True)
class Anchor:
    """One encoder at one setting. name: as the user wrote it, its preset filled in."""

    name: str
    encoder: str
    preset: str
    tune: str

    @property
    def crf(self) -> tuple[int, ...]:
        """The usual sweep."""
        return ANCHORS[self.encoder].crf

    def options(self, gop: int) -> dict[str, str]:
        """FFmpeg's options, but for crf."""
        return ANCHORS[self.encoder].options(self.preset, self.tune, gop)

    def command(self, gop: int, crf: int | str = "CRF") -> str:
        """The command line of FFmpeg that does the same."""
        encoder = ANCHORS[self.encoder]
        words = " ".join(f"-{name} {value}" for name, value in self.options(gop).items())
        cleaned = " -bsf:v filter_units=remove_types=6" if self.encoder == "x264" else ""
        return f"ffmpeg -i INPUT -an -pix_fmt yuv420p -c:v {encoder.library} -crf {crf} {words}{cleaned} OUTPUT.mp4"

    def check_crf(self, crf: int) -> None:
        """Raises InputError for a crf that the encoder does not have."""
        if not 0 <= crf <= (most := ANCHORS[self.encoder].most_crf):
            raise InputError(f"crf {crf} is not possible for {self.name}: choose 0 to {most}")


def parse_anchor(text: str) -> Anchor:
    """The anchor of a name. Raises UnknownNameError; InputError where this FFmpeg lacks the encoder."""
    encoder, _, rest = text.partition(":")
    preset, _, tune = rest.partition(":")
    if encoder not in ANCHORS:
        raise UnknownNameError(_unknown("anchor", encoder, tuple(ANCHORS)))
    entry = ANCHORS[encoder]
    preset = preset or entry.default
    if preset not in entry.presets:
        raise UnknownNameError(_unknown(f"preset of {encoder}", preset, entry.presets))
    if tune and tune not in entry.tunes:
        raise UnknownNameError(_unknown(f"tune of {encoder}", tune, entry.tunes))
    try:
        av.codec.Codec(entry.library, "w")
    except av.codec.codec.UnknownCodecError:
        raise InputError(
            f"anchor {text}: the FFmpeg of this PyAV {av.__version__} has no encoder {entry.library}; "
            "leave this anchor out, or install a PyAV built with it"
        ) from None
    return Anchor(":".join(part for part in (encoder, preset, tune) if part), encoder, preset, tune)


def _unknown(what: str, name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return f"no {what} '{name}'{hint} There are: {', '.join(names)}"


def encode_anchor(source: Path, target: Path, anchor: Anchor, *, crf: int, gop: int, threads: int | None) -> int:
    """Encode a video without sound into an mp4; returns the frames. Odd sides are repeated out to even ones.

    Raises InputError where the encoder refuses (SVT-AV1 wants 64 pixels a side).
    """
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    try:
        with media.open_video(source, audio=False) as reader, av.open(f"file:{target}", "w", format="mp4") as out:
            stream = _add_stream(out, reader.info, anchor, gop, crf, threads)
            # the text that x264 writes into its stream is of no use to a decoder
            cleaner = (
                BitStreamFilterContext("filter_units=remove_types=6", stream) if anchor.encoder == "x264" else None
            )
            frames = 0
            for frame in reader.frames():
                for packet in stream.encode(_picture(frame, reader.info, stream)):
                    out.mux(cleaner.filter(packet) if cleaner else packet)
                frames += 1
            for packet in stream.encode(None):
                out.mux(cleaner.filter(packet) if cleaner else packet)
            if cleaner:
                out.mux(cleaner.filter(None))
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{source}: {anchor.name} cannot encode it at crf {crf} ({error})") from error
    return frames


def _add_stream(out: Any, info: media.VideoInfo, anchor: Anchor, gop: int, crf: int, threads: int | None) -> Any:
    stream = out.add_stream(ANCHORS[anchor.encoder].library, rate=info.fps)
    context = stream.codec_context
    context.options = anchor.options(gop) | {"crf": str(crf)}
    context.width, context.height = info.width + info.width % 2, info.height + info.height % 2
    context.pix_fmt = "yuv420p"
    context.time_base = info.time_base
    context.gop_size = gop
    context.bit_rate = 0
    context.color_range, context.colorspace = info.color_range, info.color_space
    context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
    if threads:
        context.thread_count = threads
    return stream


def _picture(frame: media.Frame, info: media.VideoInfo, stream: Any) -> VideoFrame:
    picture = VideoFrame(stream.codec_context.width, stream.codec_context.height, "yuv420p")
    for target, plane in zip(picture.planes, frame.planes):
        rows = np.frombuffer(memoryview(target), np.uint8).reshape(target.height, -1)
        missing = ((0, target.height - plane.shape[0]), (0, target.width - plane.shape[1]))
        rows[:, : target.width] = np.pad(plane, missing, mode="edge")
    picture.pts, picture.time_base = frame.pts, info.time_base
    return picture
