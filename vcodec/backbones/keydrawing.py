"""A keyframe's networks in integers, compiled for this CPU: layer by layer, places channels last (convolving.py).

    planes ─► samples of blocks, and what latents add to them ─► layers ─► planes, or what is added

Their twin in tensors (exact.py) serves other devices, and gives the same integers; a test compares the two.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec import helper, tiles
from vcodec.backbones.exact import BELOW, CENTRE, HIGHEST, LOWEST, SHORT, ExactLayer
from vcodec.backbones.strips import Strips
from vcodec.backbones.tiled import Tiled
from vcodec.convolving import Activations, Sums
from vcodec.loops import KEPT

__all__ = ["KeyLayer", "bent", "key_layers", "refined"]

Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
Planes = tuple[Shorts, Shorts]
"""Luma [H,W] and chroma [2,H/2,W/2], in parts of a level."""


class KeyLayer(NamedTuple):
    """A layer as compiled loops read it: inputs and outputs are even in number, the last ones of no use if they are
    more than the layer has."""

    convolution: Strips | Tiled
    shift: int


def key_layers(layers: list[ExactLayer]) -> list[KeyLayer]:
    """Layers as compiled loops read them."""
    made = []
    for weights, _, shift in layers:
        wide = np.pad(weights, [(0, len(weights) % 2), (0, weights.shape[1] % 2), (0, 0), (0, 0)])
        made.append(KeyLayer((Tiled if tiles.HERE else Strips).of(wide), shift))
    return made


@njit(cache=KEPT, nogil=True)
def _in_blocks(planes: Planes, out: Shorts) -> None:
    """Samples of planes by the blocks they are in, out [H/8,W/8,96]."""
    luma, chroma = planes
    for y in range(out.shape[0]):
        for r in range(8):
            line = luma[8 * y + r]
            for x in range(out.shape[1]):
                for c in range(8):
                    out[y, x, 8 * r + c] = line[8 * x + c]
        for i in range(2):
            for r in range(4):
                line = chroma[i, 4 * y + r]
                for x in range(out.shape[1]):
                    for c in range(4):
                        out[y, x, 64 + 16 * i + 4 * r + c] = line[4 * x + c]


@njit(cache=KEPT, nogil=True)
def _in_planes(given: Shorts, planes: Planes) -> None:
    """The inverse."""
    luma, chroma = planes
    for y in range(given.shape[0]):
        for r in range(8):
            line = luma[8 * y + r]
            for x in range(given.shape[1]):
                for c in range(8):
                    line[8 * x + c] = given[y, x, 8 * r + c]
        for i in range(2):
            for r in range(4):
                line = chroma[i, 4 * y + r]
                for x in range(given.shape[1]):
                    for c in range(4):
                        line[4 * x + c] = given[y, x, 64 + 16 * i + 4 * r + c]


@njit(cache=KEPT, nogil=True)
def _begin(frame: Shorts, added: Shorts, out: Activations) -> None:
    """What a network sees of samples of blocks [h,w,96] and of what is added to them, [h,w,96] or [0,0,0] (none)."""
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            goal, here = out[y + 1, x + 1], frame[y, x]
            if not len(added):
                for i in range(96):
                    goal[i] = here[i] - CENTRE
                continue
            more = added[y, x]
            for i in range(96):
                d = np.int32(more[i])
                goal[i] = min(max(np.int32(here[i]) + d, np.int32(LOWEST)), np.int32(HIGHEST)) - np.int32(CENTRE)
                goal[96 + i] = min(max(np.int32(8) * d, np.int32(-SHORT - 1)), np.int32(SHORT))


@njit(cache=KEPT, nogil=True)
def _end(sums: Sums, biases: Sums, shift: int, least: int, most: int, out: Shorts) -> None:
    """What a network's sums [n,96] are worth in parts, added to out [n,96]."""
    half = 1 << (shift - 1)
    for n in range(len(out)):
        given, goal = sums[n], out[n]
        for i in range(96):
            more = (np.int64(given[i]) + biases[i] + half) >> shift
            goal[i] = min(max(goal[i] + more, least), most)


@njit(cache=KEPT, nogil=True)
def _activate(sums: Sums, first: int, biases: Sums, shift: int, x: Activations, adds: bool, out: Activations) -> None:
    """Sums [n,O] of rows first.. -> what the layer gives there, out [h+2,w+2,O], beside its input x if it adds to
    that."""
    w, bits = out.shape[1] - 2, np.int32(shift)
    for n in range(len(sums)):
        y, c = first + n // w + 1, n % w + 1
        given, goal = sums[n], out[y, c]
        if adds:
            held = x[y, c]
            for o in range(len(goal)):
                level = max((given[o] + biases[o]) >> bits, np.int32(0)) + np.int32(held[o])
                goal[o] = min(level, np.int32(SHORT))
        else:
            for o in range(len(goal)):
                goal[o] = min(max((given[o] + biases[o]) >> bits, np.int32(0)), np.int32(SHORT))


def _part(layer: KeyLayer, x: Activations, biases: Sums, adds: bool, out: Activations, span: tuple[int, int]) -> None:
    _activate(layer.convolution.sums(x, *span), span[0], biases, layer.shift, x, adds, out)


def _last_sums(x: Activations, layers: list[KeyLayer], biases: list[Sums]) -> Sums:
    """What a network sees [h+2,w+2,I], zeros around it -> sums of its last layer [h·w,O], without their biases."""
    h, w = x.shape[0] - 2, x.shape[1] - 2
    middle = h // 4 * 2 if h > helper.FEW else 0
    for number, (layer, bias) in enumerate(zip(layers[:-1], biases, strict=False)):
        out = np.zeros((h + 2, w + 2, layer.convolution.outputs), np.int16)
        upper = helper.begun(partial(_part, layer, x, bias, number > 0, out, (0, middle)))
        _part(layer, x, bias, number > 0, out, (middle, h))
        upper()
        x = out
    top = helper.begun(partial(layers[-1].convolution.sums, x, 0, middle))
    bottom = layers[-1].convolution.sums(x, middle, h)
    return np.concatenate([top(), bottom])


def _added(
    frame: Shorts, added: Shorts, layers: list[KeyLayer], biases: list[Ints], limits: tuple[int, int], out: Shorts
) -> None:
    """What a network makes of samples of blocks [h,w,96] and what is added to them, added to out [h,w,96]."""
    h, w = frame.shape[:2]
    x = np.zeros((h + 2, w + 2, 192 if len(added) else 96), np.int16)
    _begin(frame, added, x)
    wide = [
        np.pad(bias, (0, layer.convolution.outputs - len(bias))).astype(np.int32)
        for layer, bias in zip(layers, biases, strict=True)
    ]
    _end(_last_sums(x, layers, wide), wide[-1], layers[-1].shift + BELOW, *limits, out.reshape(-1, 96))


def refined(planes: Planes, layers: list[KeyLayer], biases: list[Ints]) -> Planes:
    """A keyframe's prediction of its thumbnail's planes."""
    (h, w), no = planes[0].shape, np.zeros((0, 0, 0), np.int16)
    frame = np.empty((h // 8, w // 8, 96), np.int16)
    _in_blocks(planes, frame)
    out = frame.copy()
    _added(frame, no, layers, biases, (LOWEST, HIGHEST), out)
    made = np.empty_like(planes[0]), np.empty_like(planes[1])
    _in_planes(out, made)
    return made


def bent(planes: Planes, added: Shorts, layers: list[KeyLayer], biases: list[Ints]) -> Shorts:
    """What is added to a keyframe's prediction [H/8,W/8,96] where its latent alone adds ``added``."""
    frame, out = np.empty_like(added), added.copy()
    _in_blocks(planes, frame)
    _added(frame, added, layers, biases, (-SHORT, SHORT), out)
    return out
