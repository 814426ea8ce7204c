"""The scalar codebook of K levels (quantized-autoencoder, section II.B).

Every latent element becomes the index of its nearest level; gradients pass straight through.  Levels start uniformly
over the latent's range and are learned.  One module holds a codebook for each K it is trained with; for a K in between,
the two neighbours' curves of levels are sampled at K places and mixed in proportion to log2 K.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vcodec.errors import InputError
from vcodec.scale import level_of

__all__ = ["ScalarCodebook", "ScalarConfig"]


@dataclass(frozen=True)
class ScalarConfig:
    """Codebooks of several sizes."""

    channels: int
    """latent channels (all share a codebook)"""
    ks: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256)
    """the sizes that have a codebook of their own, ascending, each 2..256"""
    reach: float = 2.5
    """levels start over −reach … reach, latent units"""


class ScalarCodebook(nn.Module):
    """Quantizer of latents of any shape."""

    Config = ScalarConfig

    def __init__(self, config: ScalarConfig) -> None:
        super().__init__()
        self.config = config
        for k in config.ks:
            level_of(k)
        # K levels in the middles of K equal cells: at K = 2 they stand at ±reach/2
        self.levels = nn.ParameterDict(
            {str(k): ((torch.arange(k) + 0.5) * 2 / k - 1) * config.reach for k in config.ks}
        )

    def codebook(self, k: int) -> Tensor:
        """Levels [K], ascending."""
        ks = list(self.config.ks)
        if k in ks:
            own: Tensor = self.levels[str(k)].sort().values
            return own
        if not ks[0] < k < ks[-1]:
            raise InputError(f"this model has codebooks for K = {ks[0]} to {ks[-1]}, not {k}; train one with that K")
        above = next(i for i, size in enumerate(ks) if size > k)
        low, high = ks[above - 1], ks[above]
        mix = (level_of(k) - level_of(low)) / (level_of(high) - level_of(low))
        return self._sampled(low, k) * (1 - mix) + self._sampled(high, k) * mix

    def _sampled(self, size: int, k: int) -> Tensor:
        """The codebook of ``size`` levels, read at the middles of k equal cells."""
        levels = self.levels[str(size)].sort().values
        at = ((torch.arange(k, device=levels.device) + 0.5) * size / k - 0.5).clamp(0, size - 1)
        low = at.floor().clamp(max=max(0, size - 2)).long()
        return torch.lerp(levels[low], levels[(low + 1).clamp(max=size - 1)], at - low)

    def quantize(self, values: Tensor, k: int) -> Tensor:
        """Index of the nearest level, int64, same shape."""
        levels = self.codebook(k)
        return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)

    def dequantize(self, index: Tensor, k: int) -> Tensor:
        """Levels of indices."""
        return self.codebook(k)[index]

    def forward(self, values: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Training: (levels, straight-through to values and with gradient to the codebook; indices)."""
        index = self.quantize(values.detach(), k)
        level = self.dequantize(index, k)
        return level + values - values.detach(), index
