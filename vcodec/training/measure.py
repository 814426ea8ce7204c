"""What a training loss reports."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Measure"]


@dataclass
class Measure:
    """One unroll: the loss and what it is made of, each [B] but the loss; squared errors in 8-bit levels."""

    loss: Tensor
    bpp: Tensor
    mse_y: Tensor
    mse_uv: Tensor
