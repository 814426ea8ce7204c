"""The arithmetic of a decoded frame: exact integers, the same on every machine (DESIGN, law 3).

    thumbnail ─ bicubic ─► p ─ refine ─► p         (keyframe; others: compensation.py)      p, d: in parts, 1/32 levels
    latent, in 1/16 levels ─ S ─► d                 (keyframe: + synthesis(p + d, d))
    p + d ─► loop filter(p + d, d) ─► 8-bit levels

Networks are trained in floats.  Here their weights are rounded to 16 bits, and what their layers give to 1 / 2048.  How
fine the weights of a layer are follows from what its sums may come to: under 2**31 for any picture, so that neither the
order of additions nor the machine matters.  This file says what the integers are and has them in tensors, for any
device; drawing.py and keydrawing.py are the same, compiled.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.backbones.layers import Stack
from vcodec.errors import WeightsError

__all__ = [
    "BELOW",
    "CENTRE",
    "GREY",
    "HIGHEST",
    "LATENT",
    "LEVEL",
    "LOWEST",
    "PARTS",
    "SHORT",
    "WHITE",
    "ExactLayer",
    "ExactTransform",
    "as_parts",
    "biases_under",
    "changes",
    "from_parts",
    "layers_of",
    "levels_of",
    "seen",
    "sums_of",
    "transform_of",
]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

PARTS = 32  # of an 8-bit level: what predictions are in
WHITE = 255 * PARTS  # 1 of a sample
CENTRE = WHITE // 2
LOWEST, HIGHEST = CENTRE - 8192, CENTRE + 8191  # of a frame before networks see it
SHORT = 32767
BELOW = 3  # sums of a last layer are worth 2**-(shift + BELOW) parts,
LEVEL = BELOW + 5  # and 2**-(shift + LEVEL) levels
GREY = 128  # chroma of pictures without colour, which stay so exactly
LATENT = 4  # bits after the point of latents, in 8-bit levels
_ACTIVE = 11  # bits after the point of what layers give
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


def _finest(weights: Doubles, bounds: Doubles, beside: float) -> int:
    """The most bits after the point that leave sums of weights [O,…] under 2**31.

    bounds: of what is multiplied; beside: of what is added, in units of the sums before they get these bits.
    """
    about = float((np.abs(weights) * bounds).reshape(len(weights), -1).sum(1).max()) + beside
    first = min(_FINEST, math.ceil(math.log2(_LIMIT / about)) if about else _FINEST)  # what is finer is out of reach
    for bits in range(first, -1, -1):
        whole = np.abs(np.rint(weights * 2.0**bits))
        sums = (whole * bounds).reshape(len(whole), -1).sum(1).max() + (beside + 1.0) * 2.0**bits
        if whole.max(initial=0.0) <= SHORT and sums < _LIMIT:
            return bits
    raise WeightsError("weights of the decoder are too large for integers: train at a lower rate")


def layers_of(net: Stack) -> list[ExactLayer]:
    """Layers of a network that bends pictures, in integers; those in the middle add to what they are given.

    It sees a picture about its centre, and where it has twice the inputs 8 d; its outputs are worth 1/32 of white.
    """
    made, last = [], len(net.convolutions) - 1
    for number, conv in enumerate(net.convolutions):
        weight, bias = (p.detach().double().cpu().numpy() for p in (conv.weight, cast(Tensor, conv.bias)))
        bounds, beside = np.full((1, weight.shape[1], 1, 1), float(SHORT)), float(np.abs(bias).max())
        if number == 0:
            weight = weight * (2.0**_ACTIVE / WHITE)
            bounds[:, : net.last.out_channels] = 8192.0  # the picture
            beside += float(net.offset.table.detach().abs().max())
        elif number == last:
            weight, bias = weight * (255 / 256), bias * (255 / 256)
        # beside the last sums a frame, and what rounds them to levels
        fixed = 2.0**BELOW * (HIGHEST + PARTS) if number == last else 0.5
        bits = _finest(weight, bounds, beside * 2.0**_ACTIVE + fixed)
        whole, more = np.rint(weight * 2.0**bits), np.rint(bias * 2.0 ** (_ACTIVE + bits))
        made.append(ExactLayer(whole.astype(np.int64), more.astype(np.int64), bits))
    return made


def biases_under(layers: list[ExactLayer], offset: Tensor) -> list[Ints]:
    """Biases of all layers, the first one's with its offset [O] and all but the last one's with what rounds."""
    more = np.rint(offset.detach().double().cpu().numpy() * 2.0 ** (_ACTIVE + layers[0].shift)).astype(np.int64)
    *others, last = [layer.biases + ((1 << layer.shift) >> 1) for layer in layers[:-1]] + [layers[-1].biases]
    others[0] = others[0] + more
    return [*others, last]


def transform_of(basis: Tensor) -> ExactTransform:
    """S [96,96,1,1] in integers."""
    weights = basis.detach()[:, :, 0, 0].double().cpu().numpy() * (PARTS / 2.0**LATENT)
    bits = _finest(weights, np.full((1, weights.shape[1]), float(SHORT)), 0.0)
    return ExactTransform(np.rint(weights * 2.0**bits).astype(np.int64), bits)


# ------------------------------------------------------------------ in tensors: float64 holds every sum exactly


def as_parts(levels: Tensor) -> Tensor:
    """8-bit levels and fractions of them, float64 -> int16 in parts of a level."""
    return (levels * PARTS + 0.5).floor().clamp(LOWEST, HIGHEST).to(torch.int16)


def from_parts(planes: Tensor) -> Tensor:
    """Parts of a level -> samples in 0..1."""
    return planes.float() / WHITE


def changes(values: Tensor, transform: ExactTransform) -> Tensor:
    """What latents [B,96,h,w] in 8-bit levels add to the samples of blocks: int16 [B,96,h,w] in parts."""
    weights = torch.from_numpy(transform.weights).to(values.device, torch.float64)[:, :, None, None]
    sixteenths = (values.double() * 2.0**LATENT).round().clamp(-SHORT, SHORT)
    total = F.conv2d(sixteenths, weights) * 2.0**-transform.shift
    return (total + 0.5).floor().clamp(-SHORT, SHORT).to(torch.int16)


def seen(frame: Tensor, d: Tensor | None) -> Tensor:
    """What a network sees of a picture [B,C,h,w] and of what was added to it, in parts."""
    about = frame.double() - CENTRE
    return about if d is None else torch.cat([about, (8.0 * d.double()).clamp(-SHORT - 1, SHORT)], 1)


def sums_of(x: Tensor, layers: list[ExactLayer], offset: Tensor) -> Tensor:
    """Sums of the last layer [B,O,h,w] of what a network sees; offset [width] of its first layer."""
    biases = [torch.from_numpy(b).to(x) for b in biases_under(layers, offset)]
    for number, (layer, bias) in enumerate(zip(layers, biases, strict=True)):
        total = F.conv2d(x, torch.from_numpy(layer.weights).to(x), bias, padding=1)
        if number < len(layers) - 1:
            level = (total * 2.0**-layer.shift).floor().clamp(min=0)
            x = (level + x if number else level).clamp(max=SHORT)
    return total


def levels_of(frame: Tensor, sums: Tensor, shift: int) -> Tensor:
    """8-bit levels of a frame in parts and the loop filter's sums, whose last layer has this shift."""
    total = frame.double() * 2.0 ** (shift + BELOW) + sums
    return (total * 2.0 ** -(shift + LEVEL) + 0.5).floor().clamp(0, 255).to(torch.uint8)
