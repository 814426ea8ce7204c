"""Which frames of a chunk are to be coded better than the rest of it asks: none may fall far below the chunk's mean."""

from __future__ import annotations

import math

__all__ = ["Evenness"]

_BELOW = 1.35  # dB of luma PSNR that a frame may lie below its chunk's mean, as far as that is known
_HOPELESS = 1.5  # dB: what has become another picture is left as it is
_GAIN = 0.28  # dB that an eighth of log2 K brings, about
_MOST = 8  # eighths of log2 K
_UNEVEN = 1.45  # dB below which a first frame has its chunk coded again
_FIRST_GAIN = 0.2  # dB that an eighth of log2 K brings it nearer to the frames that are predicted from it
_LEAST = 1e-3  # squared error that counts as none, 8-bit levels


class Evenness:
    """Watches the luma of a chunk's frames as they are coded."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._known: list[float] = []

    def lacking(self, error: float, boost: int) -> int:
        """By how much more than ``boost`` the next frame is to be boosted; 0: it is good enough, and stays.

        error: mean square of its luma's, 8-bit levels.  Frames to come are taken to be like it.
        """
        psnr = 10.0 * math.log10(255.0**2 / max(error, _LEAST))
        mean = (sum(self._known) + psnr * (self._frames - len(self._known))) / self._frames
        off = mean - psnr - _BELOW
        more = min(math.ceil(off / _GAIN), _MOST - boost) if 0.0 < off < _HOPELESS else 0
        if more == 0:
            self._known.append(psnr)
        return more

    def first_wants(self, boost: int, advised: bool) -> int:
        """What the first frame, coded with ``boost``, should have had, now that all are coded: mostly the same.

        advised: whether it was boosted because it seemed to stand still; if others are then too far below, it was not.
        """
        mean = sum(self._known) / len(self._known)
        off = mean - self._known[0]
        if _UNEVEN < off < _BELOW + _HOPELESS:
            return min(boost + math.ceil((off - _BELOW) / _FIRST_GAIN), max(_MOST, boost))
        return 0 if advised and mean - min(self._known) > _UNEVEN else boost
