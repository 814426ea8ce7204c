"""Creating a video, whatever it is to be kept in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from vcodec.errors import MediaError
from vcodec.media.arrays import ArrayWriter
from vcodec.media.flat import FlatWriter
from vcodec.media.frame import VideoInfo
from vcodec.media.images import ImageWriter
from vcodec.media.mux import FORMATS, MuxWriter
from vcodec.media.writer import VideoWriter

__all__ = ["create_video"]

_CONTAINERS = (*FORMATS, "y4m", "yuv", "npy", "png")
_STREAMED = (*FORMATS, "y4m", "yuv")


def create_video(
    target: str | Path | BinaryIO,
    info: VideoInfo,
    *,
    overwrite: bool = False,
    container: str | None = None,
    crf: float = 12.5,
    preset: str | None = None,
) -> VideoWriter:
    """Starts a video that is described by `info`; it appears under its name when closed, at once and whole.

    target: a path; the suffix says how: .mp4 .m4v .mov (x264, yuv420p), .mkv (FFV1, lossless), .y4m, .yuv
    (planes without a header), .npy (uint8 RGB [T, H, W, 3], or [T, H, W] of gray); no suffix, or a folder:
    PNG. "-" (standard output), a named pipe and an open binary file are written as the frames come, as y4m or
    what `container` says.
    container: one of the suffixes (without the dot), or "png" for a folder; overrides the suffix.
    overwrite: whether a target that exists may be replaced.
    crf, preset: of x264 (0 lossless .. 51); no preset: the fastest way that loses little.

    Raises OutputError (the target exists, cannot be written), MediaError (unknown suffix, impossible `info`).
    """
    if not 0 <= crf <= 51:
        raise MediaError(f"crf is {crf:g}; it must be in 0..51")
    if not isinstance(target, (str, Path)):
        name = str(getattr(target, "name", "the stream"))
        return _stream(target, name, info, container or "y4m", crf, preset)
    if str(target) == "-":
        return _stream(sys.stdout.buffer, "standard output", info, container or "y4m", crf, preset)
    path = Path(target)
    if path.exists() and not path.is_file() and not path.is_dir():  # a named pipe or a device
        stream = path.open("wb")
        try:
            writer = _stream(stream, str(path), info, container or "y4m", crf, preset)
        except BaseException:
            stream.close()
            raise
        writer.owned = stream
        return writer
    folder = str(target).endswith("/") or path.is_dir() or not path.suffix
    kind = container or ("png" if folder else path.suffix[1:].lower())
    if kind not in _CONTAINERS or (kind == "png" and not folder):
        known = ", ".join(f".{name}" for name in _CONTAINERS[:-1])
        raise MediaError(f"{path}: cannot tell what to write; give a name that ends in {known}, or a folder for PNG")
    if kind == "png":
        return ImageWriter(path, info, overwrite=overwrite)
    if kind == "npy":
        return ArrayWriter(path, info, overwrite=overwrite)
    if kind in FORMATS:
        return MuxWriter(path, str(path), info, container=kind, overwrite=overwrite, crf=crf, preset=preset)
    return FlatWriter(path, str(path), info, y4m=kind == "y4m", overwrite=overwrite)


def _stream(target: BinaryIO, name: str, info: VideoInfo, kind: str, crf: float, preset: str | None) -> VideoWriter:
    if kind not in _STREAMED:
        raise MediaError(f"{name}: {kind!r} cannot be written to a stream; choose one of {', '.join(_STREAMED)}")
    if kind in FORMATS:
        return MuxWriter(target, name, info, container=kind, overwrite=True, crf=crf, preset=preset)
    return FlatWriter(target, name, info, y4m=kind == "y4m", overwrite=True)
