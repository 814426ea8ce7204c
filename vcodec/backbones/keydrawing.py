"""A keyframe's networks in integers, compiled for this CPU: layer by layer, places channels last (convolving.py).

Their twin in tensors (exact.py) serves other devices, and gives the same integers; a test compares the two.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from vcodec import helper
from vcodec.backbones.exact import SHORT, ExactLayer
from vcodec.convolving import Activations, Dense, Places, Sums
from vcodec.loops import KEPT

__all__ = ["KeyLayer", "bent", "key_layers"]

Ints = npt.NDArray[np.int64]


class KeyLayer(NamedTuple):
    """A layer as compiled loops read it: inputs and outputs are even in number, the last ones of no use if they are
    more than the layer has."""

    dense: Dense
    shift: int


def key_layers(layers: list[ExactLayer]) -> list[KeyLayer]:
    """Layers as compiled loops read them."""
    made = []
    for weights, _, shift in layers:
        wide = np.pad(weights, [(0, len(weights) % 2), (0, weights.shape[1] % 2), (0, 0), (0, 0)])
        made.append(KeyLayer(Dense.of(torch.from_numpy(wide)), shift))
    return made


@njit(cache=KEPT, nogil=True)
def _activate(
    sums: Sums, places: Places, biases: Ints, shift: int, x: Activations, adds: bool, out: Activations
) -> None:
    """Sums [n,O] of places -> what the layer gives there, out [h+2,w+2,O], beside its input x if it adds to that."""
    w, size = out.shape[1] - 2, out.shape[2]
    for n in range(len(places)):
        y, c = places[n] // w + 1, places[n] % w + 1
        for o in range(size):
            level = max((sums[n, o] + biases[o]) >> shift, 0)
            if adds:
                level += x[y, c, o]
            out[y, c, o] = min(level, SHORT)


def _part(layer: KeyLayer, x: Activations, biases: Ints, adds: bool, out: Activations, places: Places) -> None:
    _activate(layer.dense.sums(x, places), places, biases, layer.shift, x, adds, out)


def bent(x: Activations, layers: list[KeyLayer], biases: list[Ints]) -> Sums:
    """What a network sees [h+2,w+2,I], zeros around it -> sums of its last layer [h·w,O]."""
    h, w = x.shape[0] - 2, x.shape[1] - 2
    every = np.arange(h * w)
    middle = (h // 2 if h > helper.FEW else 0) * w
    for number, (layer, bias) in enumerate(zip(layers, biases, strict=True)):
        bias = np.pad(bias, (0, layer.dense.outputs - len(bias)))
        if number == len(layers) - 1:
            top = helper.begun(partial(layer.dense.sums, x, every[:middle]))
            bottom = layer.dense.sums(x, every[middle:])
            return np.concatenate([top(), bottom]) + bias.astype(np.int32)
        out = np.zeros((h + 2, w + 2, layer.dense.outputs), np.int16)
        upper = helper.begun(partial(_part, layer, x, bias, number > 0, out, every[:middle]))
        _part(layer, x, bias, number > 0, out, every[middle:])
        upper()
        x = out
    raise ValueError("no layers")
