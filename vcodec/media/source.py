"""What FFmpeg is opened on: files, pipes, raw pictures; and facts of them that PyAV does not say."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import av
import av.container
import av.video.stream
from av.sidedata.sidedata import SideData, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from vcodec.errors import MediaError
from vcodec.media.extent import declared_end
from vcodec.media.frame import RawFormat

__all__ = ["can_seek", "chroma_location", "is_mirrored", "open_container", "raw_frames", "why_not"]

_NOT_VIDEO = {
    "tty",
    "srt",
    "ass",
    "webvtt",
    "concat",
}  # FFmpeg draws text as pictures, or follows it to other files


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Pipe:
    """A stream that does not seek: FFmpeg gets bytes as soon as there are any."""

    def __init__(self, stream: _Readable) -> None:
        self._read = getattr(stream, "read1", stream.read)

    def read(self, size: int) -> bytes:
        return bytes(self._read(size))


def can_seek(source: Path | BinaryIO) -> bool:
    """Whether the source can be read again from any place."""
    return (isinstance(source, Path) and source.is_file()) or (not isinstance(source, Path) and _seekable(source))


def _seekable(stream: BinaryIO) -> bool:
    return hasattr(stream, "seekable") and stream.seekable()


def open_container(source: Path | BinaryIO, name: str, raw: RawFormat | None) -> av.container.InputContainer:
    """Opens the source with FFmpeg. Raises MediaError when it is no video, cut off, or cannot be read."""
    options: dict[str, str] = {}
    if raw is not None:
        _check_raw(source, name, raw)
        options = {
            "video_size": f"{raw.width}x{raw.height}",
            "pixel_format": raw.pixel_format,
            "framerate": str(raw.fps),
        }
    file: Any
    if isinstance(source, Path):
        file = f"file:{source}"  # a colon in a path is no protocol
    else:
        file = source if _seekable(source) else _Pipe(source)
        if _seekable(source):
            source.seek(0)
    try:
        container: av.container.InputContainer = av.open(
            file, "r", format="rawvideo" if raw else None, options=options, metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(why_not(source, name, error)) from error
    try:
        if container.format.name in _NOT_VIDEO:
            raise MediaError(f"{name}: not a video but text ({container.format.name})")
        if isinstance(source, Path) and source.is_file():
            _refuse_cut(source, container)
    except BaseException:
        container.close()
        raise
    return container


def why_not(source: Path | BinaryIO, name: str, error: Exception) -> str:
    """The message for a source that FFmpeg refuses."""
    if isinstance(error, PermissionError):
        return f"{name}: no permission to read it"
    if isinstance(source, Path) and source.is_file() and source.stat().st_size == 0:
        return f"{name}: the file is empty"
    reason = getattr(error, "strerror", None) or str(error)
    message = f"{name}: not a video that FFmpeg can read, or cut off ({reason})"
    if not isinstance(source, Path) and not _seekable(source):
        message += "; an mp4 can be piped only when made with -movflags +faststart"
    return message


def _check_raw(source: Path | BinaryIO, name: str, raw: RawFormat) -> None:
    if not (0 < raw.width <= 65535 and 0 < raw.height <= 65535 and 0 < raw.fps <= 1000):
        raise MediaError(f"{name}: raw pictures of {raw.width}x{raw.height} at {raw.fps} a second cannot be")
    size = _raw_frame_bytes(name, raw)
    total = source.stat().st_size if isinstance(source, Path) else size
    if total == 0 or total % size:
        raise MediaError(
            f"{name}: {total} bytes are no whole number of {raw.width}x{raw.height} {raw.pixel_format} "
            f"pictures ({size} bytes each): check size and pixel format, or the file is cut off"
        )


def _raw_frame_bytes(name: str, raw: RawFormat) -> int:
    try:
        layout = VideoFormat(raw.pixel_format, raw.width, raw.height)
    except ValueError as error:
        raise MediaError(f"{name}: FFmpeg knows no pixel format {raw.pixel_format!r}") from error
    if not layout.is_planar and layout.name not in ("nv12", "nv21"):
        return (raw.width * layout.padded_bits_per_pixel + 7) // 8 * raw.height
    return sum(part.width * part.height * ((part.bits + 7) // 8) for part in layout.components)


def raw_frames(source: Path | BinaryIO, raw: RawFormat | None) -> int:
    """How many raw pictures a file holds; 0 = not known."""
    if raw is None or not isinstance(source, Path) or not source.is_file():
        return 0
    return source.stat().st_size // _raw_frame_bytes(str(source), raw)


def _refuse_cut(path: Path, container: av.container.InputContainer) -> None:
    """Raises MediaError if the file ends before its own account of it does."""
    picture = 0
    if container.format.name == "yuv4mpegpipe":
        context = container.streams.video[0].codec_context
        raw = RawFormat(context.width, context.height, context.pix_fmt or "yuv420p")
        picture = _raw_frame_bytes(str(path), raw)
    size, end = path.stat().st_size, declared_end(path, container.format.name, picture)
    if end > size:
        raise MediaError(
            f"{path}: it is cut off: {size} of {end} bytes are there; "
            "keep what is whole with ffmpeg -i INPUT -c copy OUTPUT"
        )


def is_mirrored(frame: VideoFrame) -> bool:
    """Whether the display matrix turns the picture over, which no rotation does."""
    matrix = [data for data in cast(Iterable[SideData], frame.side_data) if data.type == Type.DISPLAYMATRIX]
    if not matrix:
        return False
    data = bytes(matrix[0])
    a, b, _, c, d = (int.from_bytes(data[4 * i : 4 * i + 4], "little", signed=True) for i in range(5))
    return a * d - b * c < 0


def chroma_location(video: av.video.stream.VideoStream) -> int:
    """Where the chroma samples lie (see `VideoInfo`); 0 = not known.

    PyAV does not say, but a header made after the stream does: Matroska's ChromaSitingHorz and
    ChromaSitingVert, or the C of y4m, where it is never unknown.
    """
    y4m = video.container.format.name == "yuv4mpegpipe"
    if y4m and video.codec_context.pix_fmt != "yuv420p":
        return 0
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format="yuv4mpegpipe" if y4m else "matroska") as trial:
            trial.add_stream_from_template(video, opaque=True)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return 0
    header = memory.getvalue()
    if y4m:
        return 1 if b" C420mpeg2" in header else 3 if b" C420paldv" in header else 2
    across, down = header.find(b"\x55\xb7\x81"), header.find(b"\x55\xb8\x81")
    if across < 0 or down < 0:
        return 0
    return {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4}.get((header[across + 3], header[down + 3]), 0)
