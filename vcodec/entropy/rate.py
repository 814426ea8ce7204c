"""Bits of indices under Laplace distributions of learned width: the differentiable rate of training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vcodec.entropy.observed import widths

__all__ = ["laplace_bits"]

_LN2 = math.log(2.0)


def laplace_bits(soft: Tensor, table: Tensor, one_sided: Tensor) -> Tensor:
    """Bits of each index, float32.

    soft: indices, straight-through [B,C,h,w]; table: fractional table numbers, same shape;
    one_sided: bool [B,1,1,1], true where K = 2 (indices 0 and 1: the sign costs nothing).
    A cell |m| ≥ 1 has mass ½·(e^{−(|m|−½)/b} − e^{−(|m|+½)/b}); the cell of zero 1 − e^{−½/b}.
    """
    b = widths(table)
    size = soft.abs()
    inverse = 1.0 / b
    zero = -torch.log1p(-torch.exp(-0.5 * inverse)) / _LN2
    tail = (size - 0.5) * inverse / _LN2 - torch.log1p(-torch.exp(-inverse)) / _LN2 + 1.0
    tail_one_sided = (size - 0.5) * inverse / _LN2
    other = torch.where(one_sided, tail_one_sided, tail)
    near = size.detach() < 0.5
    # zero's cell has no slope in the index of its own: give it the tail's pull, scaled by the chance of leaving
    pull = torch.exp(-0.5 * inverse).detach() * (size - size.detach()) * inverse.detach() / _LN2
    return torch.where(near, zero + pull, other)
