"""SSIM and MS-SSIM of luma planes: Gaussian window of 11 taps, sigma 1.5, where it fits; float32.

The numbers are those of the pytorch-msssim package. Its convolutions of one channel are slow here, so the window
is applied as shifted sums, and both measures share what they have in common: some ten times as fast.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["MS_SSIM_MIN_SIDE", "SSIM_MIN_SIDE", "luma_ssims"]

SSIM_MIN_SIDE = 11
"""Shortest side, in pixels, of a frame that the window of SSIM fits into."""

MS_SSIM_MIN_SIDE = 161
"""Shortest side, in pixels, of a frame that is still larger than the window after four halvings."""

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BELL = [math.exp(-((tap - 5) ** 2) / (2 * 1.5**2)) for tap in range(11)]
_TAPS = [weight / sum(_BELL) for weight in _BELL]


def luma_ssims(reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> tuple[float | None, float | None]:
    """(SSIM, MS-SSIM of 5 scales) of two uint8 planes [H,W].

    None for frames with a side under SSIM_MIN_SIDE and MS_SSIM_MIN_SIDE.
    """
    side = min(reference.shape)
    if side < SSIM_MIN_SIDE:
        return None, None
    with torch.no_grad():
        x, y = (torch.from_numpy(plane.astype(np.float32)) for plane in (reference, coded))
        ssim, contrast = _ssim(x, y)
        if side < MS_SSIM_MIN_SIDE:
            return ssim, None
        product = 1.0
        for weight in _SCALE_WEIGHTS[:-1]:
            product *= max(0.0, contrast) ** weight
            x, y = _halved(x), _halved(y)
            last, contrast = _ssim(x, y)
        return ssim, product * max(0.0, last) ** _SCALE_WEIGHTS[-1]


def _ssim(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Means of the SSIM map and of its contrast-structure part."""
    mean_x, mean_y, xx, yy, xy = _blurred(torch.stack((x, y, x * x, y * y, x * y)))
    contrast = (2 * (xy - mean_x * mean_y) + _C2) / ((xx - mean_x**2) + (yy - mean_y**2) + _C2)
    light = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return float((light * contrast).mean()), float(contrast.mean())


def _blurred(maps: Tensor) -> Tensor:
    """Maps [N,H,W] under the window, [N,H-10,W-10]."""
    for axis in (1, 2):
        length = maps.shape[axis] - 10
        total = maps.narrow(axis, 0, length) * _TAPS[0]
        for tap in range(1, 11):
            total.add_(maps.narrow(axis, tap, length), alpha=_TAPS[tap])
        maps = total
    return maps


def _halved(plane: Tensor) -> Tensor:
    """Means of 2x2 pixels; an odd side is padded with zeros on both ends, as pytorch-msssim does."""
    height, width = plane.shape
    return F.avg_pool2d(plane[None, None], 2, padding=(height % 2, width % 2))[0, 0]
