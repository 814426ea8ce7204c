"""Weighted prediction: a reference whose light is brought to that of the frame (after H.264, §8.4.2.3).

    luma' = luma · (1 + gain / 128) + offset        chroma' = (chroma − ½) · (1 + gain / 128) + ½ + offset

Weights are four integers (gain, and offsets of Y, U and V in half 8-bit levels), one set for a whole reference:
cameras change their exposure, scenes fade.  The encoder fits them to means of 8×8 blocks; blocks that moved fall out of
the fit.  Bytes give bytes, rounded once, half up, the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["fitted", "weighted"]

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

GAIN_ONE = 128
HALF_LEVEL = 1 / 510
LARGEST = 127  # of any weight, either sign
_BITS = 40.0  # what sending weights costs, and a little caution
_NONE = np.zeros(4, np.int64)
_SAMPLES = np.array([64.0, 16.0, 16.0])  # behind a block's mean, of each plane
_CENTRE = np.array([[0.0], [0.5], [0.5]], np.float32)
_SAME = 0.01  # gains nearer to 1 are found from 1
_FAR = 6 / 255  # a block this far off has moved: it says nothing about the light


def weighted(luma: Tensor, chroma: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes [B,1,H,W], [B,2,H/2,W/2] under weights [B,4], rounded once."""
    if not weights.any():
        return luma, chroma
    w = weights.to(torch.int32)[:, :, None, None]
    gain = GAIN_ONE + w[:, :1]
    bright = luma.to(torch.int32) * gain + (64 * w[:, 1:2] + 64)
    colour = chroma.to(torch.int32) * (2 * gain) + (255 * (GAIN_ONE - gain) + 128 * w[:, 2:] + 128)  # from the centre
    return _bytes(bright >> 7), _bytes(colour >> 8)


def _bytes(levels: Tensor) -> Tensor:
    return levels.clamp_(0, 255).to(torch.uint8)


def fitted(now: tuple[Tensor, Tensor], references: Sequence[tuple[Tensor, Tensor]], price: float) -> Tensor:
    """Weights [B,n,4] (int64) that bring each reference's planes nearest to a frame's; neutral where that does not pay.

    price: sum of absolute differences that a bit is worth.
    """
    wanted, *means = (_means(*planes) for planes in (now, *references))
    each = [[_fit(y, x[i], price) for x in means] for i, y in enumerate(wanted)]
    return torch.from_numpy(np.array(each, np.int64)).to(now[0].device)


def _means(luma: Tensor, chroma: Tensor) -> Floats:
    """Means of blocks [B,3,n]."""
    return torch.cat([F.avg_pool2d(luma, 8), F.avg_pool2d(chroma, 4)], 1).flatten(2).cpu().numpy()


def _fit(y: Floats, x: Floats, price: float) -> Ints:
    """Weights for one picture's means y, x [3,n]."""

    def misfit(weights: Ints) -> float:
        off = np.abs(_shown(x, float(weights[0]), weights[1:]) - y)
        return float(np.minimum(off, _FAR).sum(1) @ _SAMPLES)

    plain = misfit(_NONE)
    if plain <= price * _BITS:
        return _NONE
    starts = [1.0, float((np.median(y[0]) + 1e-3) / (np.median(x[0]) + 1e-3))]
    if abs(starts[1] - 1.0) < _SAME:
        starts = starts[:1]
    least, best = min(((misfit(w), w) for w in (_refined(y, x, gain) for gain in starts)), key=lambda pair: pair[0])
    return best if least + price * _BITS < plain else _NONE


def _shown(x: Floats, gain: float, offsets: Ints) -> Floats:
    """Means under weights."""
    slope = np.float32(1 + gain / GAIN_ONE)
    shown: Floats = (x - _CENTRE) * slope + _CENTRE + (offsets * np.float32(HALF_LEVEL))[:, None].astype(np.float32)
    return shown


def _refined(y: Floats, x: Floats, gain: float) -> Ints:
    """Least squares on the blocks that fit, from a first guess of the gain."""
    offset = float(np.median(y[0] - gain * x[0]))
    for _ in range(3):
        off = np.abs(y[0] - gain * x[0] - offset)
        good = off <= 2.5 * np.median(off) + 0.5 / 255
        a, b = x[0, good], y[0, good]
        from_mean = a - a.mean()
        spread = float(from_mean @ from_mean) / a.size
        slope = float(from_mean @ (b - b.mean())) / a.size / spread if spread > 1e-5 else gain
        gain = min(max(slope, 1 - LARGEST / GAIN_ONE), 1 + LARGEST / GAIN_ONE)
        offset = float((b - gain * a).mean())
    whole = round((gain - 1) * GAIN_ONE)
    offsets = np.round(np.median(y - _shown(x, whole, _NONE[1:]), 1) / HALF_LEVEL)
    return np.clip(np.array([whole, *offsets], np.int64), -LARGEST, LARGEST)
