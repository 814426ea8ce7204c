"""How a training step quantizes: straight-through, with uniform noise, or mixed.

    straight-through   the level that decoding will have; its gradient passes to the latent
    noise              latent + U(−½,½)·cell (Ballé et al., 2017): smooth everywhere, but no codebook is learned by it
    mixed              straight-through for the picture, noise for the rate (Minnen & Singh, 2020)

Noise comes from torch's generator, which the trainer seeds from the step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vcodec.quantizers.conditional import ConditionalCodebook
from vcodec.quantizers.scalar import ScalarCodebook

__all__ = ["Place", "quantize_conditional", "quantize_scalar"]


class Place(NamedTuple):
    """Where latents [B,C,h,w] stand: log2 K, kind and number of their frame [B]; ends of the codebook [B,1,1,1]."""

    level: Tensor
    kind: Tensor
    phase: Tensor
    low: Tensor
    high: Tensor


def quantize_conditional(
    codebook: ConditionalCodebook, values: Tensor, at: Place, how: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents [B,C,h,w] -> (levels, indices for the rate, integer indices without gradient)."""
    hat, soft = codebook(values, at.level, at.kind, at.phase, at.low, at.high)
    index = soft.detach().round()
    if how == "straight-through":
        return hat, soft, index
    u = codebook.scaled(values, at.level, at.kind, at.phase)
    held = torch.minimum(torch.maximum(u, at.low - 0.5), at.high + 0.5)
    noisy = u + (held - u).detach() + (torch.rand_like(u) - 0.5)
    if how == "mixed":
        return hat, noisy, index
    # scaled() of the step itself is the orientation, ±1
    step = codebook.step(at.level, at.kind)
    side = codebook.scaled(step.expand_as(values), at.level, at.kind, at.phase).detach()
    return noisy * step * side, noisy, index


def quantize_scalar(codebook: ScalarCodebook, values: Tensor, k: int, how: str) -> Tensor:
    """Latents of any shape -> levels; with noise, as wide as the cell that the latent is in."""
    hat, index = codebook(values, k)
    if how != "noise":  # no rate in the loss: mixed is straight-through
        straight: Tensor = hat
        return straight
    levels = codebook.codebook(k).detach()
    middles = (levels[1:] + levels[:-1]) / 2
    ends = torch.cat([2 * levels[:1] - middles[:1], middles, 2 * levels[-1:] - middles[-1:]])
    width = (ends[1:] - ends[:-1])[index]
    held = values.clamp(float(ends[0]), float(ends[-1]))
    noisy: Tensor = values + (held - values).detach() + (torch.rand_like(values) - 0.5) * width
    return noisy
