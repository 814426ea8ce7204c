"""The integer networks of context.py in 8-bit arithmetic, on CPUs that multiply bytes faster than floats.

Activations, 0..255, and weights are integers, so sums of their products in 32 bits are what float32 holds: the same
tables, three to four times sooner.  Maps lie channels last; a convolution gathers what a place sees into a row [9·C]
and multiplies that by a matrix.  A weight beyond a byte is the sum of several, each with a copy of its input.

    bytes [h,w,C] ─► gather [n, 9·C] ─► × [9·C, O] ─► sums [n, O] ─► settle ─► bytes [n,O]  (0 is −128)

Nothing is coded where activity is 0: where so asked, tables are found in the n places of other blocks alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.entropy.integer import ACTIVATION_MAX, ACTIVATION_ONE, SUM_ONE, WEIGHT_ONE
from vcodec.entropy.observed import ACTIVITY_LEVELS, COUNT_MAX, TABLE_STEP, TABLES
from vcodec.loops import KEPT

__all__ = ["EightBitContext", "EightBitStep", "fast_here"]

Bytes = npt.NDArray[np.int8]
Sums = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
_TOGETHER = 1024  # positions gathered at a time: what fits a cache
_ZERO = -128  # the byte of an activation of 0
# sums are divided by powers of two, with rounding
_SHIFT, _HALF = np.int32(WEIGHT_ONE.bit_length() - 1), np.int32(WEIGHT_ONE // 2)
_TABLE_UNIT = SUM_ONE // TABLE_STEP
_TABLE_SHIFT, _TABLE_HALF = np.int32(_TABLE_UNIT.bit_length() - 1), np.int32(_TABLE_UNIT // 2)


def fast_here() -> bool:
    """Whether this CPU and this torch multiply matrices of bytes fast."""
    supported = getattr(torch.cpu, "_is_vnni_supported", None)
    return hasattr(torch, "_int_mm") and supported is not None and bool(supported())


@njit(cache=KEPT, nogil=True)
def _places(act: npt.NDArray[np.int64], reach: int) -> Places:
    """Flat places [n] of the map [h,w] that lie in blocks of some activity [h/2,w/2], or up to ``reach`` beside."""
    h, w = 2 * act.shape[0], 2 * act.shape[1]
    out, n = np.empty(h * w, np.int64), 0
    for y in range(h):
        top, bottom = max(y - reach, 0) >> 1, min(y + reach, h - 1) >> 1
        for x in range(w):
            left, right = max(x - reach, 0) >> 1, min(x + reach, w - 1) >> 1
            if act[top, left] or act[top, right] or act[bottom, left] or act[bottom, right]:
                out[n] = y * w + x
                n += 1
    return out[:n].copy()


@njit(cache=KEPT, nogil=True)
def _gather(x: Bytes, side: int, places: Places, more: Places, out: Bytes) -> None:
    """What each place sees of x [h+side−1,w+side−1,C], side×side samples: out [n, side²·C + more]."""
    wide, channels = x.shape[1:]
    w = wide - side + 1
    flat, goal = x.reshape(-1), out.reshape(-1)
    run = np.uint64(side * channels)
    for n in range(len(places)):
        y, c = places[n] // w, places[n] % w
        begin = n * out.shape[1]
        to = np.uint64(begin)
        for dy in range(side):
            at = np.uint64(((y + dy) * wide + c) * channels)
            for i in range(run):
                goal[to + np.uint64(i)] = flat[at + np.uint64(i)]
            to += run
        for i in range(more.shape[0]):
            goal[to + np.uint64(i)] = goal[np.uint64(begin + more[i])]


@njit(cache=KEPT, nogil=True)
def _settle(sums: Sums, offset: Sums, out: Bytes) -> None:
    """Sums [n,O] and an offset -> activations out [n,O], as FrozenConv.activations rounds."""
    for i in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            value = (sums[i, c] + offset[c] + _HALF) >> _SHIFT
            out[i, c] = min(max(value, np.int32(0)), np.int32(ACTIVATION_MAX)) + _ZERO


@njit(cache=KEPT, nogil=True)
def _settle_all(sums: Sums, more: Sums, places: Places, offset: Sums, out: Bytes) -> None:
    """As _settle, of sums [n,O] with those in their places of more [h·w,O]: out [h·w,O], other places as they are."""
    for i in range(sums.shape[0]):
        place = places[i]
        for c in range(sums.shape[1]):
            value = (sums[i, c] + more[place, c] + offset[c] + _HALF) >> _SHIFT
            out[place, c] = min(max(value, np.int32(0)), np.int32(ACTIVATION_MAX)) + _ZERO


@njit(cache=KEPT, nogil=True)
def _number(sums: Sums, offset: Sums, places: Places, out: npt.NDArray[np.float32]) -> None:
    """Sums [n,C] and an offset -> table numbers in their places of out [C,h·w]."""
    for first in range(0, sums.shape[0], 64):
        for c in range(sums.shape[1]):
            for i in range(first, min(first + 64, sums.shape[0])):
                value = (sums[i, c] + offset[c] + _TABLE_HALF) >> _TABLE_SHIFT
                out[c, places[i]] = min(max(value, np.int32(0)), np.int32(TABLES - 1))


@njit(cache=KEPT, nogil=True)
def _counted(index: npt.NDArray[np.float32], bits: Sums, rough: npt.NDArray[np.float32], out: Bytes) -> None:
    """Magnitudes of indices [C,h,w] and maps of 0 and 1 [R,h,w] -> bytes out [h,w,C+R], which holds zeros.

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
                        out[y, x, c] = int(min(abs(index[c, y, x]), np.float32(COUNT_MAX))) * ACTIVATION_ONE
        for c in range(rough.shape[0]):
            for x in range(w):
                out[y, x, channels + c] = int(rough[c, y, x]) * ACTIVATION_ONE


@njit(cache=KEPT, nogil=True)
def _marked(act: npt.NDArray[np.int64], out: Bytes) -> None:
    """Activity [h/2,w/2] -> out [h,w,9], one channel for each level reached."""
    h, w, levels = out.shape
    for y in range(h):
        for x in range(w):
            for i in range(levels):
                out[y, x, i] = ACTIVATION_ONE if act[y >> 1, x >> 1] > i else 0


class _Layer(NamedTuple):
    """One input's share of a convolution: side of its kernel, columns to repeat, the matrix, sums of an all-zero input.

    edge: the byte of an input of 0.
    """

    side: int
    more: Places
    matrix: Tensor  # int8 [K,O]
    bias: Sums
    edge: int

    @staticmethod
    def of(weight: Tensor, edge: int) -> _Layer:
        """weight: integer-valued [O,I,k,k]; edge: 0, or _ZERO for what is stored as value − 128."""
        side = weight.shape[2]
        flat = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).long()
        parts, rows, rest, at = [], [], flat, torch.arange(len(flat))
        while len(rest):
            held = rest.clamp(-127, 127)
            parts.append(held)
            rows.append(at)
            beyond = (rest != held).any(1)
            rest, at = (rest - held)[beyond], at[beyond]
        bias = (-edge * flat.sum(0)).to(torch.int32)
        matrix = torch.cat(parts).to(torch.int8).contiguous()
        return _Layer(side, torch.cat(rows)[len(flat) :].numpy(), matrix, bias.numpy(), edge)

    def sums(self, x: Bytes, places: Places) -> Sums:
        """Of x [h,w,I] in some places -> [n,O], without the bias."""
        h, w, channels = x.shape
        reach = self.side // 2
        wide = x
        if reach:
            wide = np.full((h + 2 * reach, w + 2 * reach, channels), self.edge, np.int8)
            wide[reach:-reach, reach:-reach] = x
        out = torch.empty(len(places), self.matrix.shape[1], dtype=torch.int32)
        rows = torch.empty(min(_TOGETHER, len(places)), len(self.matrix), dtype=torch.int8)
        for first in range(0, len(places), _TOGETHER):
            some = places[first : first + _TOGETHER]
            part = rows[: len(some)]
            _gather(wide, self.side, some, self.more, part.numpy())
            torch._int_mm(part, self.matrix, out=out[first : first + len(some)])
        return out.numpy()

    def alone(self, x: Bytes) -> Sums:
        """Of places [n,I] that see nothing but themselves -> [n,O], without the bias."""
        return self.sums(x[None], np.arange(len(x)))


class History:
    """What a layer makes of a frame before, found place by place as it is asked for: sums [h·w,O]."""

    def __init__(self, layer: _Layer, seen: Bytes) -> None:
        self._layer, self._seen = layer, seen
        self._known = np.zeros(seen.shape[0] * seen.shape[1], np.bool_)
        self._sums = np.empty((len(self._known), layer.matrix.shape[1]), np.int32)

    def at(self, places: Places) -> Sums:
        """The sums of all places, valid in these."""
        new = places[~self._known[places]]
        if new.size:
            self._sums[new] = self._layer.sums(self._seen, new)
            self._known[new] = True
        return self._sums


class Features(NamedTuple):
    """What step A leaves for step B: places, and activations there [n,width]."""

    places: Places
    values: Bytes


class EightBitContext:
    """As FrozenContext, of one frame on the CPU."""

    def __init__(self, weights: dict[str, Tensor], offsets: dict[str, Tensor]) -> None:
        marks = ACTIVITY_LEVELS - 1
        first = weights["past"]
        self._marks, self._past = _Layer.of(first[:, :marks], 0), _Layer.of(first[:, marks:], 0)
        self._deep, self._head_a = _Layer.of(weights["deep"], _ZERO), _Layer.of(weights["head_a"], _ZERO)
        self._known, self._again = _Layer.of(weights["known"], 0), _Layer.of(weights["again"], _ZERO)
        self._head_b = _Layer.of(weights["head_b"], _ZERO)
        bias = {"deep": self._deep, "head_a": self._head_a, "known": self._again, "head_b": self._head_b}
        self._offsets: dict[str, Sums] = {n: o.to(torch.int32).numpy() for n, o in offsets.items()}
        for name, layer in bias.items():
            self._offsets[name] = self._offsets[name] + layer.bias

    def history(self, past: Tensor, rough: Tensor) -> History:
        """As FrozenContext.history."""
        return History(self._past, _observed(past, rough))

    def step_a(self, act: Tensor, history: History, k: int, kind: int, active: bool = False) -> tuple[Tensor, Features]:
        """As FrozenContext.step_a."""
        offset = {name: self._offsets[name][kind, k] for name in ("past", "deep", "head_a")}
        maps, places, near = _levels(act, active)
        x = _first(self._marks.sums(maps, near), history.at(near), near, offset["past"], maps)
        deep = _activations(self._deep.sums(x, places), offset["deep"])
        return _numbers(self._head_a.alone(deep), offset["head_a"], places, maps), Features(places, deep)

    def step_b(self, known: Tensor, features: Features, k: int, kind: int) -> Tensor:
        """As FrozenContext.step_b."""
        seen = _observed(known, known[:, :0])
        total = self._known.sums(seen, features.places)
        total += self._again.alone(features.values)
        y = _activations(total, self._offsets["known"][kind, k])
        return _numbers(self._head_b.alone(y), self._offsets["head_b"][kind, k], features.places, seen)


class EightBitStep:
    """As a step of FrozenKeyContext, of one frame on the CPU: three convolutions, one after the other."""

    def __init__(self, weights: Sequence[Tensor], offsets: Sequence[Tensor]) -> None:
        """weights [O,I,k,k] of each; offsets [257,O] of each."""
        marks = ACTIVITY_LEVELS - 1
        first, deep, head = weights
        self._marks, self._known = _Layer.of(first[:, :marks], 0), _Layer.of(first[:, marks:], 0)
        self._deep, self._head = _Layer.of(deep, _ZERO), _Layer.of(head, _ZERO)
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
        return _numbers(self._head.alone(deep), three, places, maps)


def _levels(act: Tensor, active: bool) -> tuple[Bytes, Places, Places]:
    """Activity [1,1,h/2,w/2] -> [h,w,9]; places in blocks of some activity, or all; and those up to one beside."""
    out = np.empty((2 * act.shape[2], 2 * act.shape[3], ACTIVITY_LEVELS - 1), np.int8)
    levels = act[0, 0].numpy().astype(np.int64)
    _marked(levels, out)
    if not active:
        levels[:] = 1
    return out, _places(levels, 0), _places(levels, 1)


def _first(sums: Sums, more: Sums, places: Places, offset: Sums, like: Bytes) -> Bytes:
    """Sums [n,O] and more [h·w,O], in their places -> activations [h,w,O], 0 elsewhere; like [h,w,any]."""
    out = np.full(more.shape, _ZERO, np.int8)
    _settle_all(sums, more, places, offset, out)
    return out.reshape(*like.shape[:2], -1)


def _activations(sums: Sums, offset: Sums) -> Bytes:
    """Sums [n,O] -> [n,O]."""
    out = np.empty(sums.shape, np.int8)
    _settle(sums, offset, out)
    return out


def _numbers(sums: Sums, offset: Sums, places: Places, like: Bytes) -> Tensor:
    """Sums [n,O] in their places -> table numbers [1,O,h,w], 0 elsewhere; like [h,w,any]."""
    h, w = like.shape[:2]
    out = np.zeros((sums.shape[1], h * w), np.float32)
    _number(sums, offset, places, out)
    return torch.from_numpy(out).view(1, -1, h, w)


def _observed(index: Tensor, rough: Tensor) -> Bytes:
    """Indices [1,C,h,w] and rough [1,R,h,w] as bytes [h,w,C+R]."""
    out = np.zeros((*index.shape[2:], index.shape[1] + rough.shape[1]), np.int8)
    given = index[0].contiguous().numpy()
    _counted(given, given.view(np.int32), rough[0].contiguous().numpy(), out)
    return out
