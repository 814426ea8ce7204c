"""Weighted prediction: a reference whose light is brought to that of the frame (after H.264, §8.4.2.3).

    luma' = luma · (1 + gain / 128) + offset        chroma' = (chroma − ½) · (1 + gain / 128) + ½ + offset

Weights are four integers (gain, and offsets of Y, U and V in half 8-bit levels), one set for a whole reference:
cameras change their exposure, scenes fade.  The encoder fits them to means of 8×8 blocks; blocks that moved fall out of
the fit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LARGEST", "NEUTRAL", "fitted", "weighted"]

GAIN_ONE = 128
HALF_LEVEL = 1 / 510
LARGEST = 127  # of any weight, either sign
NEUTRAL = (0, 0, 0, 0)
_BITS = 40.0  # what sending weights costs, and a little caution
_FAR = 6 / 255  # a block this far off has moved: it says nothing about the light


def weighted(luma: Tensor, chroma: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] under weights [B,4]."""
    if not weights.any():
        return luma, chroma
    w = weights.to(luma.dtype)[:, :, None, None]
    gain = 1.0 + w[:, :1] / GAIN_ONE
    bright = (luma * gain + w[:, 1:2] * HALF_LEVEL).clamp_(0, 1)
    return bright, ((chroma - 0.5) * gain + 0.5 + w[:, 2:] * HALF_LEVEL).clamp_(0, 1)


def fitted(now: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], price: float) -> Tensor:
    """Weights [B,4] (int64) that bring a reference's planes nearest to a frame's; neutral where that does not pay.

    price: sum of absolute differences that a bit is worth.
    """
    means = [_means(*planes) for planes in (now, reference)]
    each = [_fit(y, x, price) for y, x in zip(*means)]
    return torch.stack(each).to(now[0].device)


def _means(luma: Tensor, chroma: Tensor) -> Tensor:
    """Means of blocks [B,3,n], float64."""
    return torch.cat([F.avg_pool2d(luma, 8), F.avg_pool2d(chroma, 4)], 1).flatten(2).double().cpu()


def _fit(y: Tensor, x: Tensor, price: float) -> Tensor:
    """Weights for one picture's means y, x [3,n]."""

    def misfit(weights: Tensor) -> float:
        shown = weighted(x[None, :1, :, None], x[None, 1:, :, None], weights[None])
        off = (torch.cat(shown, 1)[0, :, :, 0] - y).abs().clamp_(max=_FAR)
        return float((off * torch.tensor([64.0, 16.0, 16.0]).view(3, 1)).sum())

    neutral = torch.zeros(4, dtype=torch.int64)
    plain = misfit(neutral)
    if plain <= price * _BITS:
        return neutral
    starts = (1.0, float((y[0].median() + 1e-3) / (x[0].median() + 1e-3)))
    least, best = min(((misfit(w), w) for w in (_refined(y, x, gain) for gain in starts)), key=lambda pair: pair[0])
    return best if least + price * _BITS < plain else neutral


def _refined(y: Tensor, x: Tensor, gain: float) -> Tensor:
    """Least squares on the blocks that fit, from a first guess of the gain."""
    offset = float((y[0] - gain * x[0]).median())
    for _ in range(4):
        off = (y[0] - gain * x[0] - offset).abs()
        good = off <= 2.5 * off.median() + 0.5 / 255
        a, b = x[0, good], y[0, good]
        spread = float((a - a.mean()).square().mean())
        slope = float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1e-5 else gain
        gain = min(max(slope, 1 - LARGEST / GAIN_ONE), 1 + LARGEST / GAIN_ONE)
        offset = float((b - gain * a).median())
    whole = round((gain - 1) * GAIN_ONE)
    centre = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64).view(3, 1)
    offsets = ((y - centre - (1 + whole / GAIN_ONE) * (x - centre)).median(1).values / HALF_LEVEL).round()
    return torch.cat([torch.tensor([float(whole)]), offsets]).clamp(-LARGEST, LARGEST).long()
