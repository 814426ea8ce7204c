"""The data that passes through `vcodec.media`: frames, audio packets, and what is known of a video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "PIXEL_FORMATS",
    "AudioPacket",
    "AudioStream",
    "Frame",
    "Plane",
    "RawFormat",
    "VideoInfo",
    "plane_shapes",
]

Plane: TypeAlias = npt.NDArray[np.uint8]

PIXEL_FORMATS = ("gray", "yuv420p")


def plane_shapes(pixel_format: str, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The [rows, columns] of each plane: chroma of an odd size is rounded up."""
    if pixel_format == "gray":
        return ((height, width),)
    chroma = ((height + 1) // 2, (width + 1) // 2)
    return ((height, width), chroma, chroma)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of 8-bit planes.

    planes: "yuv420p": Y [H, W], U and V [ceil(H/2), ceil(W/2)]; "gray": Y. uint8, C-contiguous.
    pts: time of presentation in units of `VideoInfo.time_base`.
    """

    planes: tuple[Plane, ...]
    pts: int


@dataclass(frozen=True, slots=True)
class AudioStream:
    """What is needed to write an audio stream again without its source.

    codec: FFmpeg's name ("aac"). time_base: of the times of its packets. bit_rate 0, language "": unknown.
    """

    index: int
    codec: str
    time_base: Fraction
    extradata: bytes = b""
    sample_rate: int = 0
    layout: str = ""
    bit_rate: int = 0
    language: str = ""


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One coded audio packet; times in units of the stream's time_base, negative while it primes."""

    stream: int
    pts: int
    dts: int
    duration: int
    keyframe: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video; with the size alone it describes one that can be written.

    width, height: of the coded picture, before rotation.
    rotation: degrees (0, 90, 180, 270) to turn the picture clockwise for showing.
    color_range: 0 unspecified, 1 limited, 2 full.
    color_primaries, color_trc, color_space: H.273 numbers, 2 = unspecified.
    chroma_location: 0 unspecified, 1 left, 2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom.
    sar: sample aspect ratio. fps: nominal. frames, duration_s: as the source says them, None = unknown.
    source_format: FFmpeg's pixel format of the source. notes: what was changed on the way in.
    """

    width: int
    height: int
    pixel_format: str = "yuv420p"
    time_base: Fraction = Fraction(1, 25)
    fps: Fraction = Fraction(25)
    sar: Fraction = Fraction(1)
    rotation: int = 0
    color_range: int = 0
    color_primaries: int = 2
    color_trc: int = 2
    color_space: int = 2
    chroma_location: int = 0
    source_format: str = ""
    frames: int | None = None
    duration_s: float | None = None
    audio: tuple[AudioStream, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The [rows, columns] of the planes of a frame."""
        return plane_shapes(self.pixel_format, self.height, self.width)


@dataclass(frozen=True, slots=True)
class RawFormat:
    """The layout of raw pictures in a file without a header; pixel_format is any name FFmpeg knows."""

    width: int
    height: int
    pixel_format: str = "yuv420p"
    fps: Fraction = Fraction(25)
