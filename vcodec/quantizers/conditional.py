"""One scalar codebook for every K: uniform start, learned by gradient, straight-through.

A codebook has K levels, zero among them at every K:   lo = −⌊(K−1)/2⌋ … 0 … hi = ⌊K/2⌋.
For each K and channel a learned step says how far apart they stand; it falls as K grows, so that the K levels always
span the latent's range.  Learned offsets pull the first three levels on each side towards zero (a reconstruction point
is the mean of what falls into its cell).  Between the learned K = 2, 4, …, 256 everything is linear in log2 K.

An even codebook has one level more above zero than below.  Its side alternates over channels, positions and frames
(``phase``), so that even K = 2 can correct in both directions within two frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.quantizers.levels import in_steps, listed_levels
from vcodec.scale import between, level_of
from vcodec.spots import Spots

__all__ = ["ConditionalCodebook", "ConditionalConfig", "bounds"]

_KEPT_LEVELS = 256  # sets of levels


@dataclass(frozen=True)
class ConditionalConfig:
    """A codebook for all K."""

    channels: int
    """latent channels"""
    coarsest: float = 112.0
    """starting step at K = 2, latent units"""
    exponent: float = 0.58
    """the step starts as coarsest · (2/K)^exponent"""


def bounds(k: int) -> tuple[int, int]:
    """Lowest and highest index of a codebook of K levels; zero is always one of them."""
    level_of(k)  # refuses what is no codebook size
    return -((k - 1) // 2), k // 2


def _orientation(like: Tensor, phase: Tensor) -> Tensor:
    """±1 for each element of [B,C,h,w]: which side has the extra level of an even codebook."""
    _, c, h, w = like.shape
    flip = (1 - 2 * (phase % 2)).to(like.dtype).view(-1, 1, 1, 1)
    return _board(c, h, w, like.device).to(like.dtype) * flip


def _plain(*tensors: Tensor) -> bool:
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _board(c: int, h: int, w: int, device: torch.device) -> Tensor:
    """±1 by the parity of channel + row + column [1,C,h,w]."""
    total = (
        torch.arange(c, device=device).view(1, c, 1, 1)
        + torch.arange(h, device=device).view(1, 1, h, 1)
        + torch.arange(w, device=device).view(1, 1, 1, w)
    )
    return 1.0 - 2.0 * (total % 2)


class ConditionalCodebook(nn.Module):
    """Quantizer of latents [B,C,h,w]; level [B]: log2 K, kind [B]: 0 keyframe / 1 other, phase [B]: frame number."""

    Config = ConditionalConfig

    def __init__(self, config: ConditionalConfig) -> None:
        super().__init__()
        self.config = config
        levels = torch.arange(8.0)[None, :, None].expand(2, 8, config.channels)
        start = torch.log2(torch.tensor(config.coarsest)) - config.exponent * levels
        self.log_step = nn.Parameter(start.clone())
        self.pull = nn.Parameter(torch.zeros(2, 8, 3))
        self._known: tuple[Any, dict[Any, tuple[Tensor, Tensor]]] = None, {}

    def step(self, level: Tensor, kind: Tensor, fine: int = 0) -> Tensor:
        """Distance of two levels [B,C,1,1]; ``fine`` scales it by 2^(−fine/32).

        In float64, whose last bits, which libraries differ in, are rounded away: steps are the same on every machine.
        """
        return self._at(level, kind, fine)[0]

    def _at(self, level: Tensor, kind: Tensor, fine: int) -> tuple[Tensor, Tensor]:
        """Steps [B,C,1,1], and offsets of levels by their magnitude [B,5]; those of one frame are kept."""
        if len(level) > 1 or torch.is_grad_enabled():
            return self._step(level, kind, fine), self._shift(level, kind)
        which = [(p.data_ptr(), p.dtype, p._version) for p in (self.log_step, self.pull)]
        known, asked = self._known, (float(level), int(kind), fine)
        if known[0] != which or len(known[1]) == _KEPT_LEVELS:
            known = self._known = which, {}
        found = known[1].get(asked)
        if found is None:
            found = known[1][asked] = self._step(level, kind, fine), self._shift(level, kind)
        return found

    def _shift(self, level: Tensor, kind: Tensor) -> Tensor:
        """0 at zero, learned at 1..3, 0 beyond."""
        return F.pad(between(self.pull, level, kind), (1, 1))

    def _step(self, level: Tensor, kind: Tensor, fine: int) -> Tensor:
        octaves = between(self.log_step, level, kind) - fine / 32.0
        return torch.exp2(octaves.double()).to(octaves.dtype)[:, :, None, None]

    def dequantize(
        self, index: Tensor, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0, oriented: bool = True
    ) -> Tensor:
        """Levels of integer indices (as float tensor) [B,C,h,w]."""
        step, shift = self._at(level, kind, fine)
        size = index.abs().clamp(max=4).long()
        places = size + 5 * torch.arange(len(shift), device=index.device).view(-1, 1, 1, 1)
        value = (index - index.sign() * shift.reshape(-1)[places]) * step
        return value * _orientation(index, phase) if oriented else value

    def levels_of(self, index: Spots, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0) -> Spots:
        """As dequantize, of indices of one frame as a list."""
        step, shift = self._at(level, kind, fine)
        steps, shifts = (t[0].detach().float().cpu().flatten().numpy() for t in (step, shift))
        turn = (1 - 2 * (phase % 2)).float().cpu().numpy()
        _, channels, h, w = index.shape
        out = np.empty_like(index.values)
        listed_levels(index.places, index.values, (channels, h, w), shifts, steps, turn, out)
        return index._replace(values=out)

    def scaled(self, values: Tensor, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0) -> Tensor:
        """Latents in units of the step, on the codebook's own orientation."""
        step = self.step(level, kind, fine)
        if len(values) == 1 and not torch.is_grad_enabled() and _plain(values, step):
            out = torch.empty(values.shape)
            turn = (1.0 - 2.0 * (phase % 2)).float()
            in_steps(values[0].contiguous().numpy(), step[0, :, 0, 0].numpy(), turn.numpy(), out[0].numpy())
            return out
        return values * _orientation(values, phase) / step

    @staticmethod
    def bounds(k: int) -> tuple[int, int]:
        """Lowest and highest index."""
        return bounds(k)

    @staticmethod
    def nearest(scaled: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Nearest index within the codebook; low, high broadcastable."""
        return torch.minimum(torch.maximum(scaled.round(), low), high)

    def forward(
        self, values: Tensor, level: Tensor, kind: Tensor, phase: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Training: (levels, indices), both straight-through; low, high [B,1,1,1] are the codebook's ends.

        The gradient that says "this level follows its latent" is true only where the latent is neither held at zero (it
        fades out below half a step) nor beyond the codebook's ends.  Without the first, every zero would be pushed to
        the brink of costing bits, and a prediction would never learn that nothing corrects it there; without the
        second, a latent that no level can reach would be pushed on for ever.
        """
        u = self.scaled(values, level, kind, phase)
        index = self.nearest(u, low, high).detach()
        inside = (u > low - 0.75) & (u < high + 0.75)
        follows = (((u.abs() - 0.25) * 2.5).clamp(0, 1) * inside).detach()
        soft = u + (index - u).detach()
        gated = index + follows * (u - u.detach())
        pulled = self.dequantize(index, level, kind, phase, oriented=False) / self.step(level, kind)
        hat = (gated + (pulled - index)) * self.step(level, kind) * _orientation(values, phase)
        return hat, soft
