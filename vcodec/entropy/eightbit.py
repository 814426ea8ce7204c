"""The integer networks of context.py and keyframes.py, compiled for this CPU, where there is something alone.

Activations, 0..255, and weights are integers, so sums of their products in 32 bits are what float32 holds: the same
tables, ten times sooner.

    lists, levels ─► intlayers.py ─► sums ─► activations [h+2,w+2,C] ─► sums [n,O] ─► activations [n,C] ─► sums [n,O]

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

from vcodec.convolving import Activations, Dense, Places, Sums, room
from vcodec.entropy.integer import ACTIVATION_MAX, SUM_ONE, WEIGHT_ONE
from vcodec.entropy.intlayers import Levels, Listed, places_of
from vcodec.entropy.listing import numbered
from vcodec.entropy.observed import ACTIVITY_LEVELS, ROUGH, TABLE_STEP, TABLES
from vcodec.loops import KEPT
from vcodec.spots import Spots, listed

__all__ = ["EightBitContext", "EightBitStep"]

# sums are divided by powers of two, with rounding
_SHIFT, _HALF = np.int32(WEIGHT_ONE.bit_length() - 1), np.int32(WEIGHT_ONE // 2)
_TABLE_UNIT = SUM_ONE // TABLE_STEP
_TABLE_SHIFT, _TABLE_HALF = np.int32(_TABLE_UNIT.bit_length() - 1), np.int32(_TABLE_UNIT // 2)
_MARKS = ACTIVITY_LEVELS - 1
_TOP = np.int32(ACTIVATION_MAX)

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
            value = (sums[i, c] + offset[c] + _HALF) >> _SHIFT
            out[i, c] = min(max(value, np.int32(0)), _TOP)


@njit(cache=KEPT, nogil=True)
def _settle_beside(sums: Sums, more: Sums, places: Places, w: int, offset: Sums, out: Activations) -> None:
    """As _settle, of sums [n,O] and those of more [(h+2)·(w+2),O] in their places."""
    for i in range(sums.shape[0]):
        row = more[(places[i] // w + 1) * (w + 2) + places[i] % w + 1]
        for c in range(sums.shape[1]):
            value = (sums[i, c] + row[c] + offset[c] + _HALF) >> _SHIFT
            out[i, c] = min(max(value, np.int32(0)), _TOP)


@njit(cache=KEPT, nogil=True)
def _settle_first(levels: Codes, rows: Sums, more: Sums, places: Places, offset: Sums, out: Activations) -> None:
    """Activations of the first layer in places of out [h+2,w+2,O]: what the levels [h+2,w+2] around weigh, rows
    [9,levels,O], beside sums more [(h+2)·(w+2),O] and an offset."""
    wide, size = out.shape[1:]
    w, count = wide - 2, rows.shape[1]
    flat, total = rows.reshape(-1), np.empty(size, np.int32)
    for place in places:
        y, x = place // w, place % w
        beside, row = more[(y + 1) * wide + x + 1], out[y + 1, x + 1]
        for c in range(size):
            total[c] = beside[c] + offset[c] + _HALF
        for tap in range(9):
            level = levels[y + tap // 3, x + tap % 3]
            if level:
                at = np.uint64((tap * count + level) * size)
                for c in range(np.uint64(size)):
                    total[c] += flat[at + c]
        for c in range(size):
            row[c] = min(max(total[c] >> _SHIFT, np.int32(0)), _TOP)


@njit(cache=KEPT, nogil=True)
def _number(sums: Sums, offset: Sums, places: Places, out: npt.NDArray[np.float32]) -> None:
    """Sums [n,C] and an offset -> table numbers in their places of out [C,h·w]."""
    for first in range(0, sums.shape[0], 64):
        for c in range(sums.shape[1]):
            for i in range(first, min(first + 64, sums.shape[0])):
                value = (sums[i, c] + offset[c] + _TABLE_HALF) >> _TABLE_SHIFT
                out[c, places[i]] = min(max(value, np.int32(0)), np.int32(TABLES - 1))


@njit(cache=KEPT, nogil=True)
def _levelled(act: npt.NDArray[np.int64], rough: npt.NDArray[np.float32], out: Codes) -> None:
    """Activity [h/2,w/2] and maps of 0 and 1 [R,h,w] -> codes out [h+2,w+2], which holds zeros."""
    maps, h, w = rough.shape
    for y in range(h):
        for x in range(w):
            code = act[y >> 1, x >> 1] << maps
            for i in range(maps):
                code += int(rough[i, y, x]) << i
            out[y + 1, x + 1] = code


class Features(NamedTuple):
    """What step A leaves for step B: places, and activations there [n or more,width]."""

    places: Places
    values: Activations


class History(NamedTuple):
    """What a frame before says: sums [(h+2)·(w+2),O] and the maps of 0 and 1 [R,h,w] beside it."""

    sums: Sums
    rough: npt.NDArray[np.float32]


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
        parts = torch.split(weights["past"], [_MARKS, weights["past"].shape[1] - _MARKS - len(ROUGH), len(ROUGH)], 1)
        self._levels = Levels.of(torch.cat([parts[0], parts[2]], 1), _codes(len(ROUGH)))
        self._past, self._known = Listed.of(parts[1]), Listed.of(weights["known"])
        self._deep, self._head_a = Dense.of(weights["deep"]), Dense.of(weights["head_a"])
        self._again, self._head_b = Dense.of(weights["again"]), Dense.of(weights["head_b"])
        self._offsets: dict[str, Sums] = {n: o.to(torch.int32).numpy() for n, o in offsets.items()}

    def history(self, past: Tensor, rough: Tensor) -> History:
        """As FrozenContext.history."""
        return self.history_of(listed(past), rough)

    def history_of(self, past: Spots, rough: Tensor) -> History:
        """The same of indices as a list."""
        return History(self._past.sums(past), rough[0].contiguous().numpy())

    def step_a(self, act: Tensor, history: History, k: int, kind: int, active: bool = False) -> tuple[Tensor, Features]:
        """As FrozenContext.step_a."""
        found, features = self.found_a(act, history, k, kind, active)
        return found.numbers(2 * act.shape[2], 2 * act.shape[3]), features

    def found_a(self, act: Tensor, history: History, k: int, kind: int, active: bool) -> tuple[Found, Features]:
        """As step_a, where it was found."""
        one, two, three = (self._offsets[name][kind, k] for name in ("past", "deep", "head_a"))
        places, x = _first(act, history, self._levels, one, active)
        deep = _activations(self._deep.sums(x, places), two)
        return Found(self._head_a.alone(deep, len(places)), three, places), Features(places, deep)

    def step_b(self, known: Tensor, features: Features, k: int, kind: int) -> Tensor:
        """As FrozenContext.step_b."""
        return self.found_b(listed(known), features, k, kind).numbers(known.shape[2], known.shape[3])

    def found_b(self, known: Spots, features: Features, k: int, kind: int) -> Found:
        """As step_b, where it was found, of indices as a list."""
        places, values = features
        again, y = self._again.alone(values, len(places)), room(len(places), self._again.outputs)
        _settle_beside(again, self._known.sums(known), places, known.shape[3], self._offsets["known"][kind, k], y)
        return Found(self._head_b.alone(y, len(places)), self._offsets["head_b"][kind, k], places)


class EightBitStep:
    """As a step of FrozenKeyContext, of one frame on the CPU: three convolutions, one after the other."""

    def __init__(self, weights: Sequence[Tensor], offsets: Sequence[Tensor]) -> None:
        """weights [O,I,k,k] of each; offsets [257,O] of each."""
        first, deep, head = weights
        self._levels, self._known = Levels.of(first[:, :_MARKS], _codes(0)), Listed.of(first[:, _MARKS:])
        self._deep, self._head = Dense.of(deep), Dense.of(head)
        self._offsets: list[Sums] = [o.to(torch.int32).numpy() for o in offsets]

    def tables(self, act: Tensor, known: Tensor, k: int, active: bool) -> Tensor:
        """Table numbers [1,O,h,w] of the step's channels; active: where there is activity, and 0 elsewhere."""
        one, two, three = (o[k] for o in self._offsets)
        history = History(self._known.sums(listed(known)), known[0, :0].contiguous().numpy())
        places, x = _first(act, history, self._levels, one, active)
        deep = _activations(self._deep.sums(x, places), two)
        return Found(self._head.alone(deep, len(places)), three, places).numbers(*known.shape[2:])


def _first(act: Tensor, history: History, levels: Levels, offset: Sums, active: bool) -> tuple[Places, Activations]:
    """Places in blocks of some activity [1,1,h/2,w/2], or all; activations [h+2,w+2,O] there and beside, else 0."""
    activity = act[0, 0].numpy().astype(np.int64)
    h, w = 2 * activity.shape[0], 2 * activity.shape[1]
    codes, out = np.zeros((h + 2, w + 2), np.uint8), np.zeros((h + 2, w + 2, len(offset)), np.int16)
    _levelled(activity, history.rough, codes)
    if not active:
        activity[:] = 1
    _settle_first(codes, levels.rows, history.sums, places_of(activity, 1), offset, out)
    return places_of(activity, 0), out


def _activations(sums: Sums, offset: Sums) -> Activations:
    """Sums [n,O] -> [n or more,O]."""
    out = room(*sums.shape)
    _settle(sums, offset, out)
    return out
