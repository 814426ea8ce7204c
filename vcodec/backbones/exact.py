"""The arithmetic of a decoded frame: exact integers, the same on every machine (DESIGN, law 3).

    latent, 1/16 levels ─ S (16 bits) ─► d ─┐
    prediction p ────────────────────────── + ─► frame, 1/32 levels ─┬─ 3×3 layers, 16 bits in, sums of 32 ─┐
                                                                     └───────────────────────────────────── + ─► level

A network is trained in floats; here its weights are rounded to 16 bits, and what its layers give to 1 / 2048.  How fine
the weights of a layer are follows from what its sums may come to: under 2**31 for any picture, so that neither the
order of additions nor the machine matters.  This file says what the integers are and has them in tensors, for any
device; drawing.py is the same, compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.errors import WeightsError

__all__ = [
    "CENTRE", "HIGHEST", "LOWEST", "PARTS", "SHORT", "ExactLayer", "ExactTransform", "as_parts", "bent", "changes",
    "first_biases", "from_parts", "in_sixteenths", "layers_of", "mean", "transform_of",
]  # fmt: skip

Ints = npt.NDArray[np.int64]

PARTS = 32  # of an 8-bit level, that predictions are in
CENTRE = 4080  # half of white, in these
LOWEST, HIGHEST = CENTRE - 8192, CENTRE + 8191  # of a frame before it is filtered
SHORT = 32767
_WHITE = 255 * PARTS
_ACTIVE = 11  # bits after the point of what layers give
_LATENT = 4  # of latents, in 8-bit levels
_FINEST = 14  # bits after the point that weights may have
_LIMIT = 2.0**31


class ExactLayer(NamedTuple):
    """weights [O,I,3,3] of 16 bits, biases [O]; sums are worth 2**-shift of what the layer gives."""

    weights: Ints
    biases: Ints
    shift: int


class ExactTransform(NamedTuple):
    """S: weights [96 samples, 96 latents] of 16 bits; sums are worth 2**-shift parts."""

    weights: Ints
    shift: int


def _finest(weights: npt.NDArray[np.float64], bounds: npt.NDArray[np.float64], beside: float, fixed: float) -> int:
    """The most bits after the point that leave sums of weights [O,…] under 2**31.

    bounds: of what is multiplied, beside: of what is added, both in units of the sums; fixed: what takes room anyway,
    of 2**bits.
    """
    for bits in range(_FINEST, -1, -1):
        whole = np.abs(np.rint(weights * 2.0**bits))
        sums = (whole * bounds).reshape(len(whole), -1).sum(1).max() + (beside + fixed + 1.0) * 2.0**bits
        if whole.max(initial=0.0) <= SHORT and sums < _LIMIT:
            return bits
    raise WeightsError("weights of the decoder are too large for integers: train with a lower rate")


def layers_of(weights: list[Tensor], biases: list[Tensor], offsets: Tensor) -> list[ExactLayer]:
    """Layers [O,I,3,3] of the loop filter, with ReLU between them, in integers.

    offsets: all that may be added to the first layer's biases; its first half of inputs is a frame, the second 8 d.
    """
    made = []
    for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
        weight, bias = (t.detach().double().cpu().numpy() for t in (w, b))
        bounds, beside, fixed = np.full((1, weight.shape[1], 1, 1), float(SHORT)), np.abs(bias).max(), 0.0
        if number == 0:
            weight = weight * (2.0**_ACTIVE / _WHITE)
            bounds[:, : weight.shape[1] // 2] = 8192.0
            beside += float(offsets.detach().abs().max())
        elif number == len(weights) - 1:
            weight, bias = weight * (255 / 256), bias * (255 / 256)
            fixed = 16.0 * HIGHEST  # the frame, and half a level
        bits = _finest(weight, bounds, beside * 2.0**_ACTIVE, fixed)
        whole, more = np.rint(weight * 2.0**bits), np.rint(bias * 2.0 ** (_ACTIVE + bits))
        half = 2 ** (bits - 1) if number < len(weights) - 1 else 2 ** (bits + 7)
        made.append(ExactLayer(whole.astype(np.int64), more.astype(np.int64) + (half if bits else 0), bits))
    return made


def first_biases(layer: ExactLayer, offset: Tensor) -> Ints:
    """Of a first layer with its offset [O]."""
    more = np.rint(offset.detach().double().cpu().numpy() * 2.0 ** (_ACTIVE + layer.shift))
    return layer.biases + more.astype(np.int64)


def transform_of(basis: Tensor) -> ExactTransform:
    """S [96,96,1,1] in integers."""
    weights = basis.detach()[:, :, 0, 0].double().cpu().numpy() * (PARTS / 2.0**_LATENT)
    bits = _finest(weights, np.full((1, weights.shape[1]), float(SHORT)), 0.0, 0.0)
    return ExactTransform(np.rint(weights * 2.0**bits).astype(np.int64), bits)


def mean(total: Tensor, shift: int) -> Tensor:
    """total / 2**shift, rounded half up: float64 that hold integers."""
    return torch.floor(total * 2.0**-shift + 0.5)


def in_sixteenths(values: Tensor) -> Tensor:
    """Latents in 8-bit levels -> as S multiplies them."""
    return (values.double() * 2.0**_LATENT).round().clamp(-SHORT, SHORT)


def as_parts(planes: Tensor) -> Tensor:
    """Samples in 0..1 -> int16 in parts of a level."""
    return (planes.double() * _WHITE).round().clamp(-SHORT, SHORT).to(torch.int16)


def from_parts(planes: Tensor) -> Tensor:
    """The inverse."""
    return planes.float() / _WHITE


def changes(values: Tensor, transform: ExactTransform) -> Tensor:
    """What latents [B,96,h,w] in 8-bit levels add to the samples of blocks: int16 [B,96,h,w] in parts."""
    s = torch.from_numpy(transform.weights).to(values.device, torch.float64)[:, :, None, None]
    total = F.conv2d(in_sixteenths(values), s)
    return mean(total, transform.shift).clamp(-SHORT, SHORT).to(torch.int16)


def bent(p: Tensor, d: Tensor, layers: list[ExactLayer], offset: Tensor) -> Tensor:
    """p, d [B,6,H/2,W/2] int16 in parts, offset [width] of the first layer -> the frame in 8-bit levels, uint8.

    float64 holds every sum exactly.
    """
    frame = (p.double() + d.double()).clamp(LOWEST, HIGHEST)
    x = torch.cat([frame - CENTRE, (8.0 * d.double()).clamp(-SHORT - 1, SHORT)], 1)
    for number, layer in enumerate(layers):
        biases = first_biases(layer, offset) if number == 0 else layer.biases
        w, b = (torch.from_numpy(a).to(x) for a in (layer.weights, biases))
        total = F.conv2d(x, w, b, padding=1)
        if number == len(layers) - 1:
            total = torch.floor((frame * 2.0 ** (layer.shift + 3) + total) * 2.0 ** -(layer.shift + 8))
            return total.clamp(0, 255).to(torch.uint8)
        level = torch.floor(total * 2.0**-layer.shift).clamp(min=0)
        x = (level + x if number else level).clamp(max=SHORT)
    raise ValueError("no layers")
