"""The integer networks of context.py and keyframes.py, compiled for this CPU, where there is something alone.

Activations, 0..255, and weights are integers, so sums of their products in 32 bits are what float32 holds: the same
tables, ten times sooner.

    lists, levels ─► intlayers.py ─► sums ─► activations [h+2,w+2,C] ─► sums [n,O] ─► activations [n,C] ─► sums [n,O]

Nothing is coded where activity is 0: tables are found in the n places of other blocks alone (active.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.convolving import Activations, Dense, Narrow, Places, Sums, room, zeros
from vcodec.entropy.active import Active, numbered
from vcodec.entropy.integer import ACTIVATION_MAX, SUM_ONE, WEIGHT_ONE
from vcodec.entropy.intlayers import Levels, Listed, Weights, places_of
from vcodec.entropy.observed import ACTIVITY_LEVELS, ROUGH, TABLE_STEP, TABLES
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["HALF", "SHIFT", "TOP", "EightBitContext", "EightBitStep", "Found"]

# sums are divided by powers of two, with rounding
SHIFT, HALF = np.int32(WEIGHT_ONE.bit_length() - 1), np.int32(WEIGHT_ONE // 2)
_TABLE_UNIT = SUM_ONE // TABLE_STEP
_TABLE_SHIFT, _TABLE_HALF = np.int32(_TABLE_UNIT.bit_length() - 1), np.int32(_TABLE_UNIT // 2)
_ROUNDING = (_TABLE_HALF, _TABLE_SHIFT, np.int32(TABLES - 1))
_MARKS = ACTIVITY_LEVELS - 1
TOP = np.int32(ACTIVATION_MAX)

Codes = npt.NDArray[np.uint8]


def _codes(maps: int) -> npt.NDArray[np.int64]:
    """Marks [levels,9+maps] of each level: activity, times what so many maps of 0 and 1 hold beside it."""
    activity, beside = np.divmod(np.arange(ACTIVITY_LEVELS << maps), 1 << maps)
    marks = [activity > i for i in range(_MARKS)]
    return np.stack([*marks, *((beside >> i) & 1 for i in range(maps))], 1).astype(np.int64)


@njit(cache=KEPT, nogil=True)
def _settle(sums: Sums, offset: Sums, out: Activations) -> None:
    """Sums [n,O] and an offset -> activations out [n or more,O], as FrozenConv.activations rounds."""
    for i in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            value = (sums[i, c] + offset[c] + HALF) >> SHIFT
            out[i, c] = min(max(value, np.int32(0)), TOP)


@njit(cache=KEPT, nogil=True)
def _settle_beside(sums: Sums, more: Sums, places: Places, w: int, offset: Sums, out: Activations) -> None:
    """As _settle, of sums [n,O] and those of more [(h+2)·(w+2),O] in their places."""
    for i in range(sums.shape[0]):
        row = more[(places[i] // w + 1) * (w + 2) + places[i] % w + 1]
        for c in range(sums.shape[1]):
            value = (sums[i, c] + row[c] + offset[c] + HALF) >> SHIFT
            out[i, c] = min(max(value, np.int32(0)), TOP)


@njit(cache=KEPT, nogil=True)
def _settle_first(
    levels: Codes, rows: Weights, more: Sums, places: Places, offset: Sums, out: Activations | Narrow
) -> None:
    """Activations of the first layer in places of out [h+2,w+2,O]: what the levels [h+2,w+2] around weigh, rows
    [9,levels,O], beside sums more [(h+2)·(w+2),O] and an offset."""
    wide, size = out.shape[1], np.uint64(out.shape[2])
    w, count, flat = wide - 2, np.uint64(rows.shape[1]), rows.reshape(-1)
    sums, goal, start = more.reshape(-1), out.reshape(-1), offset + HALF
    at = np.empty(9, np.uint64)
    for place in places:
        y, x = place // w, place % w
        for tap in range(9):  # level 0 weighs nothing
            at[tap] = (np.uint64(tap) * count + np.uint64(levels[y + tap // 3, x + tap % 3])) * size
        a0, a1, a2, a3, a4, a5, a6, a7, a8 = at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8]
        to = np.uint64((y + 1) * wide + x + 1) * size
        for c in range(size):
            value = sums[to + c] + start[c] + flat[a0 + c] + flat[a1 + c] + flat[a2 + c] + flat[a3 + c] + flat[a4 + c]
            value = np.int32(value + flat[a5 + c] + flat[a6 + c] + flat[a7 + c] + flat[a8 + c]) >> SHIFT
            goal[to + c] = min(max(value, np.int32(0)), TOP)


@njit(cache=KEPT, nogil=True)
def _coded_beside(rough: npt.NDArray[np.float32], out: Codes) -> None:
    """What maps of 0 and 1 [R,h,w] add to codes out [h+2,w+2], which holds zeros."""
    maps, h, w = rough.shape
    for i in range(maps):
        for y in range(h):
            for x in range(w):
                out[y + 1, x + 1] += np.uint8(rough[i, y, x]) << i


@njit(cache=KEPT, nogil=True)
def _levelled(activity: Places, places: Places, maps: int, out: Codes) -> None:
    """Add activity [h/2,w/2] in its places to codes out [h+2,w+2] of so many maps."""
    w = 2 * activity.shape[1]
    for place in places:
        y, x = place // w, place % w
        out[y + 1, x + 1] += activity[y >> 1, x >> 1] << maps


class History(NamedTuple):
    """What a frame before says: sums [(h+2)·(w+2),O] and codes [h+2,w+2] of the maps of 0 and 1 beside it."""

    sums: Sums
    codes: Codes


class Found(NamedTuple):
    """Sums [n,O] of channels [O] in rows first.. of Active's places, and the offset [O] that makes them numbers."""

    sums: Sums
    offset: Sums
    channels: Places
    first: int = 0

    def put(self, owners: Codes, step: int, out: Codes) -> None:
        """Table numbers into out [C,rows], as active.numbered says."""
        numbered(self.sums, self.offset, _ROUNDING, self.channels, self.first, owners, step, out)


class EightBitContext:
    """As FrozenContext, of one frame on the CPU."""

    def __init__(self, weights: dict[str, Tensor], offsets: dict[str, Tensor]) -> None:
        parts = torch.split(weights["past"], [_MARKS, weights["past"].shape[1] - _MARKS - len(ROUGH), len(ROUGH)], 1)
        self._levels = Levels.of(torch.cat([parts[0], parts[2]], 1), _codes(len(ROUGH)))
        self._past, self._known = Listed.of(parts[1]), Listed.of(weights["known"])
        self._deep, self._head_a = Dense.of(weights["deep"], True), Dense.of(weights["head_a"])
        self._again, self._head_b = Dense.of(weights["again"]), Dense.of(weights["head_b"])
        self._offsets: dict[str, Sums] = {n: o.to(torch.int32).numpy() for n, o in offsets.items()}
        self._channels = np.arange(len(weights["head_a"]))

    def history(self, past: Spots, rough: Tensor) -> History:
        """As FrozenContext.history."""
        h, w = rough.shape[2:]
        codes = np.zeros((h + 2, w + 2), np.uint8)
        _coded_beside(rough[0].contiguous().numpy(), codes)
        return History(self._past.sums(past), codes)

    def step_a(self, active: Active, history: History, k: int, kind: int) -> tuple[Found, Activations]:
        """As FrozenContext.step_a, where there is activity; features for step B there [n or more,width]."""
        one, two, three = (self._offsets[name][kind, k] for name in ("past", "deep", "head_a"))
        x = _first(active, history, self._levels, len(ROUGH), one, self._deep.kind)
        deep = _activations(self._deep.sums(x, active.places), two)
        return Found(self._head_a.alone(deep, len(active.places)), three, self._channels), deep

    def step_b(self, active: Active, known: Spots, features: Activations, k: int, kind: int) -> Found:
        """As FrozenContext.step_b."""
        n, (_, w) = len(active.places), active.rows.shape
        again, y = self._again.alone(features, n), room(n, self._again.outputs)
        _settle_beside(again, self._known.sums(known), active.places, w, self._offsets["known"][kind, k], y)
        return Found(self._head_b.alone(y, n), self._offsets["head_b"][kind, k], self._channels)


class EightBitStep:
    """As a step of FrozenKeyContext, of one frame on the CPU: three convolutions, one after the other."""

    def __init__(self, weights: Sequence[Tensor], offsets: Sequence[Tensor], channels: Places, color: int) -> None:
        """weights [O,I,k,k] of each; offsets [257,O] of each; channels [O]: of the step, on white (0) or black (1)
        squares."""
        first, deep, head = weights
        self._levels, self._known = Levels.of(first[:, :_MARKS], _codes(0)), Listed.of(first[:, _MARKS:])
        self._deep, self._head = Dense.of(deep, True), Dense.of(head)
        self._offsets: list[Sums] = [o.to(torch.int32).numpy() for o in offsets]
        self._channels, self._color = channels, color

    def found(self, active: Active, known: Spots, k: int) -> Found:
        """What makes table numbers of the step's squares."""
        one, two, three = (o[k] for o in self._offsets)
        h, w = active.rows.shape
        history = History(self._known.sums(known), np.zeros((h + 2, w + 2), np.uint8))
        x = _first(active, history, self._levels, 0, one, self._deep.kind)
        n = len(active.places) // 2
        deep = _activations(self._deep.sums(x, active.places[self._color * n :][:n]), two)
        return Found(self._head.alone(deep, n), three, self._channels, self._color * n)


def _first(
    active: Active, history: History, levels: Levels, maps: int, offset: Sums, kind: type[np.uint8] | type[np.int16]
) -> Activations | Narrow:
    """Activations [h+2,w+2,O] in places of some activity and beside, else 0; maps: that the history's codes hold."""
    codes = history.codes.copy()
    out = zeros((*codes.shape, len(offset)), kind)
    _levelled(active.activity, active.places, maps, codes)
    _settle_first(codes, levels.rows, history.sums, places_of(active.activity, 1), offset, out)
    return out


def _activations(sums: Sums, offset: Sums) -> Activations:
    """Sums [n,O] -> [n or more,O]."""
    out = room(*sums.shape)
    _settle(sums, offset, out)
    return out
