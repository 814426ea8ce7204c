"""Opening a video, whatever it is kept in."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from vcodec.errors import MediaError
from vcodec.media.arrays import ArrayReader
from vcodec.media.demux import StreamReader
from vcodec.media.frame import PIXEL_FORMATS, RawFormat, VideoInfo
from vcodec.media.images import ImageReader
from vcodec.media.reader import VideoReader

__all__ = ["open_video", "probe"]


def open_video(
    source: str | Path | BinaryIO,
    *,
    pixel_format: str = "yuv420p",
    start: float = 0.0,
    duration: float | None = None,
    audio: bool = True,
    raw: RawFormat | None = None,
    fps: Fraction | None = None,
) -> VideoReader:
    """Opens a video for reading in constant memory. One frame is decoded at once, so most errors come here.

    source: a path, "-" for standard input, or an open binary file: anything FFmpeg reads (a pipe need not
    seek); a folder of PNG, JPEG, BMP or TIFF pictures; .npy/.npz of uint8 [T, H, W] or [T, H, W, 3].
    raw: the layout of pictures in a file without a header.
    pixel_format: "yuv420p" or "gray", what the frames shall be.
    start, duration: seconds from the first frame; frames and audio outside are left out.
    audio: whether audio packets are wanted.
    fps: the rate of a source without times (pictures, arrays, raw .h264); default 25, or what it says.

    Times start at zero: a positive start of the earliest stream is subtracted from all streams, and the first
    frame that `start` keeps is at 0. The offset between sound and picture stays.

    Raises MediaError, which names the source and says what to do.
    """
    if pixel_format not in PIXEL_FORMATS:
        raise MediaError(f"pixel format {pixel_format!r} is not one of {', '.join(PIXEL_FORMATS)}")
    if start < 0:
        raise MediaError(f"start is {start:g} s; it counts from the first frame and cannot be negative")
    if duration is not None and duration <= 0:
        raise MediaError(f"duration is {duration:g} s; it must be more than 0")
    if fps is not None and not 0 < fps <= 1000:
        raise MediaError(f"{float(fps):g} frames a second is outside 0..1000")

    span = (start, duration)
    if isinstance(source, (str, Path)):
        if str(source) == "-":
            return StreamReader(sys.stdin.buffer, "standard input", pixel_format, span, audio, raw, fps)
        path = Path(source)
        if not path.exists():
            raise MediaError(f"{path}: no such file or folder")
        if path.is_dir():
            return ImageReader(path, pixel_format, span, fps)
        if path.suffix.lower() in (".npy", ".npz") and raw is None:
            return ArrayReader(path, pixel_format, span, fps)
        return StreamReader(path, str(path), pixel_format, span, audio, raw, fps)
    name = str(getattr(source, "name", "the stream"))
    return StreamReader(source, name, pixel_format, span, audio, raw, fps)


def probe(source: str | Path | BinaryIO, *, raw: RawFormat | None = None, fps: Fraction | None = None) -> VideoInfo:
    """What `open_video` would say of the source; one frame is decoded. Raises MediaError."""
    with open_video(source, raw=raw, fps=fps) as reader:
        return reader.info
