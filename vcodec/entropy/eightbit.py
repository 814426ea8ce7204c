"""The integer networks of context.py in 8-bit arithmetic, on CPUs that multiply bytes faster than floats.

Activations, 0..255, and weights are integers, so sums of their products in 32 bits are what float32 holds: the same
tables, three to four times sooner.

    bytes [h+2,w+2,C] ─► bytelayers.py ─► sums [n,O] ─► settle ─► bytes [n,O], or in their places  (0 is −128)

Nothing is coded where activity is 0: where so asked, tables are found in the n places of other blocks alone.  Who
decodes wants no map of them either, but a list of what is coded (spots.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.entropy.bytelayers import ZERO, Bytes, History, Layer, Places, Sums, edged, places_of
from vcodec.entropy.integer import ACTIVATION_MAX, ACTIVATION_ONE, SUM_ONE, WEIGHT_ONE
from vcodec.entropy.listing import counted, numbered
from vcodec.entropy.observed import ACTIVITY_LEVELS, COUNT_MAX, TABLE_STEP, TABLES
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["EightBitContext", "EightBitStep"]

# sums are divided by powers of two, with rounding
_SHIFT, _HALF = np.int32(WEIGHT_ONE.bit_length() - 1), np.int32(WEIGHT_ONE // 2)
_TABLE_UNIT = SUM_ONE // TABLE_STEP
_TABLE_SHIFT, _TABLE_HALF = np.int32(_TABLE_UNIT.bit_length() - 1), np.int32(_TABLE_UNIT // 2)


@njit(cache=KEPT, nogil=True)
def _settle(sums: Sums, offset: Sums, out: Bytes) -> None:
    """Sums [n,O] and an offset -> activations out [n,O], as FrozenConv.activations rounds."""
    for i in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            value = (sums[i, c] + offset[c] + _HALF) >> _SHIFT
            out[i, c] = min(max(value, np.int32(0)), np.int32(ACTIVATION_MAX)) + ZERO


@njit(cache=KEPT, nogil=True)
def _settle_all(sums: Sums, more: Sums, places: Places, offset: Sums, out: Bytes) -> None:
    """As _settle, of sums [n,O] with those in their places of more [h·w,O]: out [h+2,w+2,O], others as they are."""
    w = out.shape[1] - 2
    for i in range(sums.shape[0]):
        place = places[i]
        row = out[place // w + 1, place % w + 1]
        for c in range(sums.shape[1]):
            value = (sums[i, c] + more[place, c] + offset[c] + _HALF) >> _SHIFT
            row[c] = min(max(value, np.int32(0)), np.int32(ACTIVATION_MAX)) + ZERO


@njit(cache=KEPT, nogil=True)
def _number(sums: Sums, offset: Sums, places: Places, out: npt.NDArray[np.float32]) -> None:
    """Sums [n,C] and an offset -> table numbers in their places of out [C,h·w]."""
    for first in range(0, sums.shape[0], 64):
        for c in range(sums.shape[1]):
            for i in range(first, min(first + 64, sums.shape[0])):
                value = (sums[i, c] + offset[c] + _TABLE_HALF) >> _TABLE_SHIFT
                out[c, places[i]] = min(max(value, np.int32(0)), np.int32(TABLES - 1))


@njit(cache=KEPT, nogil=True)
def _counted(index: npt.NDArray[np.float32], bits: Sums, out: Bytes) -> None:
    """Magnitudes of indices [C,h,w] -> bytes out [h+2,w+2,C or more], which holds zeros.

    bits [C,h,w]: the indices as they lie in memory; most rows hold nothing.
    """
    channels, h, w = index.shape
    for y in range(h):
        for c in range(channels):
            some = np.int32(0)
            for x in range(w):
                some |= bits[c, y, x]
            if some:
                for x in range(w):
                    if bits[c, y, x]:
                        out[y + 1, x + 1, c] = int(min(abs(index[c, y, x]), np.float32(COUNT_MAX))) * ACTIVATION_ONE


@njit(cache=KEPT, nogil=True)
def _roughened(rough: npt.NDArray[np.float32], out: Bytes) -> None:
    """Maps of 0 and 1 [R,h,w] -> the last channels of bytes out [h+2,w+2,C+R]."""
    maps, h, w = rough.shape
    first = out.shape[2] - maps
    for y in range(h):
        for x in range(w):
            for c in range(maps):
                out[y + 1, x + 1, first + c] = int(rough[c, y, x]) * ACTIVATION_ONE


@njit(cache=KEPT, nogil=True)
def _marked(act: npt.NDArray[np.int64], out: Bytes) -> None:
    """Activity [h/2,w/2] -> out [h+2,w+2,9], one channel for each level reached."""
    for y in range(2 * act.shape[0]):
        for x in range(2 * act.shape[1]):
            for i in range(out.shape[2]):
                out[y + 1, x + 1, i] = ACTIVATION_ONE if act[y >> 1, x >> 1] > i else 0


class Features(NamedTuple):
    """What step A leaves for step B: places, and activations there [n,width]."""

    places: Places
    values: Bytes


class Found(NamedTuple):
    """Sums [n,O] in places of a map, and the offset [O] that makes them table numbers."""

    sums: Sums
    offset: Sums
    places: Places

    def numbers(self, h: int, w: int) -> Tensor:
        """Table numbers [1,O,h,w], 0 elsewhere."""
        out = np.zeros((self.sums.shape[1], h * w), np.float32)
        _number(self.sums, self.offset, self.places, out)
        return torch.from_numpy(out).view(1, -1, h, w)

    def coded(self, h: int, w: int, step: int, first: int) -> tuple[Places, Places]:
        """As choosing.coded gives it, of step A or B (0 or 1)."""
        rounding = (_TABLE_HALF, _TABLE_SHIFT, np.int32(TABLES - 1))
        return numbered(self.sums, self.offset, rounding, self.places, (h, w), step, first)


class EightBitContext:
    """As FrozenContext, of one frame on the CPU."""

    def __init__(self, weights: dict[str, Tensor], offsets: dict[str, Tensor]) -> None:
        marks = ACTIVITY_LEVELS - 1
        first = weights["past"]
        self._marks, self._past = Layer.of(first[:, :marks], 0), Layer.of(first[:, marks:], 0)
        self._deep, self._head_a = Layer.of(weights["deep"], ZERO), Layer.of(weights["head_a"], ZERO)
        self._known, self._again = Layer.of(weights["known"], 0), Layer.of(weights["again"], ZERO)
        self._head_b = Layer.of(weights["head_b"], ZERO)
        bias = {"deep": self._deep, "head_a": self._head_a, "known": self._again, "head_b": self._head_b}
        self._offsets: dict[str, Sums] = {n: o.to(torch.int32).numpy() for n, o in offsets.items()}
        for name, layer in bias.items():
            self._offsets[name] = self._offsets[name] + layer.bias

    def history(self, past: Tensor, rough: Tensor) -> History:
        """As FrozenContext.history."""
        return History(self._past, _observed(past, rough))

    def history_of(self, past: Spots, rough: Tensor) -> History:
        """The same of indices as a list."""
        return History(self._past, _listed(past, rough))

    def step_a(self, act: Tensor, history: History, k: int, kind: int, active: bool = False) -> tuple[Tensor, Features]:
        """As FrozenContext.step_a."""
        found, features = self.found_a(act, history, k, kind, active)
        return found.numbers(2 * act.shape[2], 2 * act.shape[3]), features

    def found_a(self, act: Tensor, history: History, k: int, kind: int, active: bool) -> tuple[Found, Features]:
        """As step_a, where it was found."""
        offset = {name: self._offsets[name][kind, k] for name in ("past", "deep", "head_a")}
        maps, places, near = _levels(act, active)
        x = _first(self._marks.sums(maps, near), history.at(near), near, offset["past"], maps)
        deep = _activations(self._deep.sums(x, places), offset["deep"])
        return Found(self._head_a.alone(deep), offset["head_a"], places), Features(places, deep)

    def step_b(self, known: Tensor, features: Features, k: int, kind: int) -> Tensor:
        """As FrozenContext.step_b."""
        found = self._found_b(_observed(known, known[:, :0]), features, k, kind)
        return found.numbers(known.shape[2], known.shape[3])

    def found_b(self, known: Spots, features: Features, k: int, kind: int) -> Found:
        """As step_b, where it was found, of indices as a list."""
        return self._found_b(_listed(known, None), features, k, kind)

    def _found_b(self, seen: Bytes, features: Features, k: int, kind: int) -> Found:
        total = self._known.sums(seen, features.places)
        total += self._again.alone(features.values)
        y = _activations(total, self._offsets["known"][kind, k])
        return Found(self._head_b.alone(y), self._offsets["head_b"][kind, k], features.places)


class EightBitStep:
    """As a step of FrozenKeyContext, of one frame on the CPU: three convolutions, one after the other."""

    def __init__(self, weights: Sequence[Tensor], offsets: Sequence[Tensor]) -> None:
        """weights [O,I,k,k] of each; offsets [257,O] of each."""
        marks = ACTIVITY_LEVELS - 1
        first, deep, head = weights
        self._marks, self._known = Layer.of(first[:, :marks], 0), Layer.of(first[:, marks:], 0)
        self._deep, self._head = Layer.of(deep, ZERO), Layer.of(head, ZERO)
        biases = (0, self._deep.bias, self._head.bias)
        self._offsets: list[Sums] = [
            (o.to(torch.int32).numpy() + bias).astype(np.int32) for o, bias in zip(offsets, biases, strict=True)
        ]

    def tables(self, act: Tensor, known: Tensor, k: int, active: bool) -> Tensor:
        """Table numbers [1,O,h,w] of the step's channels; active: where there is activity, and 0 elsewhere."""
        one, two, three = (o[k] for o in self._offsets)
        maps, places, near = _levels(act, active)
        seen = History(self._known, _observed(known, known[:, :0]))
        x = _first(self._marks.sums(maps, near), seen.at(near), near, one, maps)
        deep = _activations(self._deep.sums(x, places), two)
        return Found(self._head.alone(deep), three, places).numbers(*known.shape[2:])


def _levels(act: Tensor, active: bool) -> tuple[Bytes, Places, Places]:
    """Activity [1,1,h/2,w/2] -> [h+2,w+2,9]; places in blocks of some activity, or all; and those up to one beside."""
    levels = act[0, 0].numpy().astype(np.int64)
    out = edged(2 * levels.shape[0], 2 * levels.shape[1], ACTIVITY_LEVELS - 1)
    _marked(levels, out)
    if not active:
        levels[:] = 1
    return out, places_of(levels, 0), places_of(levels, 1)


def _first(sums: Sums, more: Sums, places: Places, offset: Sums, like: Bytes) -> Bytes:
    """Sums [n,O] and more [h·w,O], in their places -> activations [h+2,w+2,O], 0 elsewhere; like [h+2,w+2,any]."""
    out = edged(like.shape[0] - 2, like.shape[1] - 2, sums.shape[1], ZERO)
    _settle_all(sums, more, places, offset, out)
    return out


def _activations(sums: Sums, offset: Sums) -> Bytes:
    """Sums [n,O] -> [n,O]."""
    out = np.empty(sums.shape, np.int8)
    _settle(sums, offset, out)
    return out


def _observed(index: Tensor, rough: Tensor) -> Bytes:
    """Indices [1,C,h,w] and rough [1,R,h,w] as bytes [h+2,w+2,C+R]."""
    out = edged(index.shape[2], index.shape[3], index.shape[1] + rough.shape[1])
    given = index[0].contiguous().numpy()
    _counted(given, given.view(np.int32), out)
    _roughened(rough[0].contiguous().numpy(), out)
    return out


def _listed(index: Spots, rough: Tensor | None) -> Bytes:
    """The same of indices as a list."""
    _, channels, h, w = index.shape
    out = edged(h, w, channels + (0 if rough is None else rough.shape[1]))
    counted(index.places, index.values, COUNT_MAX, ACTIVATION_ONE, out)
    if rough is not None:
        _roughened(rough[0].contiguous().numpy(), out)
    return out
