"""Quantizer of VAE latents: each channel's step follows the width of its own posterior.

A channel of which the encoder is less sure can be coarser at the same loss, so the step is the channel's posterior
deviation times one factor for all channels, and that factor falls as K grows:

    step[c] = deviation[c] · 2 · reach / K · 2^(−fine/32)       level i stands at centre[c] + i · step[c]

K levels span ± reach deviations.  Channels that vary less leave their outer levels unused, which costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vcodec.quantizers.conditional import bounds

__all__ = ["PosteriorConfig", "PosteriorQuantizer"]


@dataclass(frozen=True)
class PosteriorConfig:
    """A quantizer for all K."""

    channels: int
    """latent channels"""


class PosteriorQuantizer(nn.Module):
    """Quantizer of latents [B,z,t,h,w] in the model's own scale. Its numbers are measured, not trained."""

    Config = PosteriorConfig
    centre: Tensor
    deviation: Tensor
    reach: Tensor

    def __init__(self, config: PosteriorConfig) -> None:
        super().__init__()
        self.config = config
        # until measured: unit variance, of which the encoder knows a tenth
        self.register_buffer("centre", torch.zeros(config.channels))
        self.register_buffer("deviation", torch.full((config.channels,), 0.1))
        self.register_buffer("reach", torch.tensor(50.0))

    def step(self, k: int, fine: int = 0) -> Tensor:
        """Distance of two levels, [z,1,1,1]."""
        factor = 2.0 * self.reach / k * 2.0 ** (-fine / 32.0)
        return (self.deviation * factor)[:, None, None, None]

    def quantize(self, values: Tensor, k: int, fine: int = 0) -> Tensor:
        """Index of the nearest level, int64, same shape; zero is the centre."""
        low, high = bounds(k)
        scaled = (values - self.centre[:, None, None, None]) / self.step(k, fine)
        return scaled.nan_to_num(0.0).round().clamp(low, high).long()

    def dequantize(self, index: Tensor, k: int, fine: int = 0) -> Tensor:
        """Levels of indices."""
        return self.centre[:, None, None, None] + index * self.step(k, fine)

    @torch.no_grad()
    def measure(self, mean: Tensor, deviation: Tensor) -> None:
        """Take its numbers from latents: mean and deviation of the posterior, [N,z] both."""
        self.centre.copy_(mean.mean(0))
        self.deviation.copy_(deviation.square().mean(0).sqrt().clamp_min(1e-6))
        spread = ((mean - self.centre).abs() / self.deviation).quantile(0.9995, dim=0)
        self.reach.fill_(float(spread.max()) * 1.25)
