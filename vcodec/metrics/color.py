"""Planes to RGB, as the colour tags say, for measuring PSNR in RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["luma_weights", "planes_to_rgb"]

# H.273 MatrixCoefficients -> (Kr, Kb)
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),  # BT.2020, constant luminance, read as non-constant
}
_HD_HEIGHT = 720


def luma_weights(matrix: int, height: int) -> tuple[float, float]:
    """(Kr, Kb) of an H.273 matrix number; unspecified or unknown: BT.709 from 720 lines up, else BT.601."""
    return _LUMA_WEIGHTS.get(matrix) or _LUMA_WEIGHTS[1 if height >= _HD_HEIGHT else 6]


def planes_to_rgb(
    planes: Sequence[npt.NDArray[np.uint8]], *, matrix: int = 2, full_range: bool = False
) -> tuple[npt.NDArray[np.uint8], ...]:
    """The (R, G, B) planes, uint8 [H,W] each, of one frame.

    `planes` is (Y,) or (Y, U, V) with U and V of ceil(H/2) x ceil(W/2); `matrix` an H.273 number. Chroma is
    upsampled by nearest neighbour (each chroma sample covers its 2x2 luma samples); results are rounded to
    the nearest 8-bit value and clipped. A gray frame gives R = G = B.
    """
    luma = planes[0]
    height, width = luma.shape
    scale, offset = (1.0, 0.0) if full_range else (255.0 / 219.0, 16.0)
    bright = (luma.astype(np.float32) - np.float32(offset)) * np.float32(scale)
    if len(planes) == 1:
        gray = _to_byte(bright)
        return gray, gray, gray
    kr, kb = luma_weights(matrix, height)
    kg = 1.0 - kr - kb
    spread = 1.0 if full_range else 255.0 / 224.0
    blue = (planes[1].astype(np.float32) - np.float32(128)) * np.float32(spread)
    red = (planes[2].astype(np.float32) - np.float32(128)) * np.float32(spread)
    to_red = red * np.float32(2 * (1 - kr))
    to_blue = blue * np.float32(2 * (1 - kb))
    to_green = red * np.float32(-2 * (1 - kr) * kr / kg) + blue * np.float32(-2 * (1 - kb) * kb / kg)
    return tuple(
        _to_byte(bright + part.repeat(2, axis=0)[:height].repeat(2, axis=1)[:, :width])
        for part in (to_red, to_green, to_blue)
    )


def _to_byte(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
