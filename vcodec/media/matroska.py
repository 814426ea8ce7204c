"""What PyAV cannot put into a Matroska file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

__all__ = ["STEREO_MARK", "set_sample_aspect"]

_STEREO, _DISPLAY_WIDTH, _DISPLAY_HEIGHT = b"\x53\xb8", b"\x54\xb0", b"\x54\xba"
_HEADER = 65536

# Stream metadata that makes FFmpeg write StereoMode, DisplayWidth and DisplayHeight, for set_sample_aspect to
# replace: PyAV cannot set an output stream's sample aspect ratio, and without it there is no display size.
STEREO_MARK = ("stereo_mode", "left_right")


def set_sample_aspect(path: Path, width: int, height: int, sar: Fraction) -> None:
    """Puts the display size in the place of what STEREO_MARK made, in a finished file written without CRCs.

    Raises ValueError if it is not found.
    """
    ratio = width * sar / height
    times = max(-(-width // ratio.numerator), -(-height // ratio.denominator))
    shown = (times * ratio.numerator, times * ratio.denominator)
    if max(shown) >= 1 << 16:
        shown = (min(65535, round(width * sar)), height)
    with path.open("r+b") as file:
        header = file.read(_HEADER)
        start = header.find(_STEREO + b"\x81")
        end = start + 4
        for element in (_DISPLAY_WIDTH, _DISPLAY_HEIGHT):
            if start < 0 or header[end : end + 2] != element:
                raise ValueError("the Matroska header has no display size to replace")
            end += 3 + (header[end + 2] & 0x7F)
        room = end - start
        size = b""
        for element, value in zip((_DISPLAY_WIDTH, _DISPLAY_HEIGHT), shown, strict=True):
            count = (value.bit_length() + 7) // 8
            size += element + bytes([0x80 | count]) + value.to_bytes(count, "big")
        # 16 bits need a byte more than 8 bits do, twice at most; StereoMode leaves 4, and a filler takes 2
        file.seek(start)
        file.write(size + b"\xec" + bytes([0x80 | (room - len(size) - 2)]) + bytes(room - len(size) - 2))
