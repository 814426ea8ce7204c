"""How long a file says it is: what is cut off shows before anything is decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

__all__ = ["declared_end"]

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FRAME = b"FRAME\n"


def declared_end(path: Path, container: str, picture_bytes: int) -> int:
    """Where the file ends by its own account; 0 when it does not say.

    container: FFmpeg's name of the format. picture_bytes: size of a raw picture, for y4m.
    """
    with path.open("rb") as file:
        if "mp4" in container.split(","):
            return _boxes_end(file, path.stat().st_size)
        if "matroska" in container:
            return _segment_end(file)
        if container == "yuv4mpegpipe":
            return _pictures_end(file, path.stat().st_size, picture_bytes)
    return 0


def _boxes_end(file: BinaryIO | io.BufferedReader, size: int) -> int:
    """The end of the last box of an ISO file."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end of the file; else none
            return 0
        end += length
    return end


def _segment_end(file: BinaryIO | io.BufferedReader) -> int:
    """The end of the segment of a Matroska file."""
    if file.read(4) != _EBML:
        return 0
    file.seek(_length(file) or 0, io.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _length(file)
    return 0 if length is None else file.tell() + length


def _length(file: BinaryIO | io.BufferedReader) -> int | None:
    """A length as EBML writes it; None = unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value


def _pictures_end(file: BinaryIO | io.BufferedReader, size: int, picture_bytes: int) -> int:
    """The end of the last picture of a y4m file whose frames carry no parameters."""
    start = len(file.readline(4096))
    step = len(_FRAME) + picture_bytes
    whole, rest = divmod(size - start, step)
    file.seek(start + whole * step)
    if rest and not _FRAME.startswith(file.read(len(_FRAME))):
        return 0
    return size - rest + (step if rest else 0)
