"""Which tables each channel's indices really want, learned while coding: integers alone, for writer and reader alike.

    tables' numbers ─► + the channel's shift ─► coder
                             ▲                    │
    costs of each shift ─────┘◄── symbols under the numbers, once a frame is coded

The context networks saw other footage, and choices made otherwise.  A channel that holds more than they expect is coded
with wider tables from then on, one that holds less with narrower ones.  Who chooses indices believes half of it: what
a channel that grew cheap would send more is not worth that much to the frames after (docs/LOG.md, 2026-11-28).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.observed import TABLES
from vcodec.loops import KEPT

__all__ = ["Costs", "believed", "costs_in", "fresh", "learned", "shifted", "shifts_of", "tallied"]

Ints = npt.NDArray[np.int64]
Costs = Ints  # [C,2·SPAN+1], in 1/16 bits: of each channel's indices, had they been coded with each shift
SPAN = 8  # tables are shifted by at most so much
_UNIT = 16  # parts of a bit
_NEVER = 64 * _UNIT  # what no table holds
_PRIOR = 3 * _UNIT  # what a shift by one has to save, by measurement
_MEMORY = 4  # of costs 1 / 2^this is forgotten a frame


def costs_in(rows: Ints, total: int) -> Ints:
    """Of probabilities rows [N,S] that sum to 2^total what each symbol costs, in 1/16 bits, rounded up exactly."""
    # floor(16 · log2(n)) is one less than the bits of n^16
    flat = [_UNIT * total + 1 - (n**_UNIT).bit_length() if n else _NEVER for n in rows.reshape(-1).tolist()]
    return np.array(flat, np.int64).reshape(rows.shape)


def fresh(channels: int) -> Costs:
    """Costs where nothing was coded yet: no shift is best."""
    return np.tile(_PRIOR * np.abs(np.arange(-SPAN, SPAN + 1)), (channels, 1))


def shifts_of(costs: Costs) -> Ints:
    """The best shift of each channel [C]; of equals the lowest."""
    best: Ints = costs.argmin(1) - SPAN
    return best


def believed(costs: Costs) -> Ints:
    """Shifts [C] that choosing indices goes by."""
    return np.rint(shifts_of(costs) / 2).astype(np.int64)


def learned(costs: Costs, coded: Costs) -> Costs:
    """Costs once a frame was coded that cost so much itself."""
    start = fresh(len(costs))
    more = costs - start
    found: Costs = start + more - (more >> _MEMORY) + coded
    return found


def shifted(rows: Ints, places: Ints, area: int, first: int, costs: Costs | None) -> Ints:
    """Rows [n], first + a number, with each number shifted as its channel's are.

    places [n]: in maps of this area, ascending; costs: what was learned so far, None where nothing was.
    """
    return rows if costs is None else _shifted(rows, places, area, first, shifts_of(costs))


@njit(cache=KEPT, nogil=True)
def _shifted(rows: Ints, places: Ints, area: int, first: int, shifts: Ints) -> Ints:
    """As shifted, of shifts [C]."""
    out, most, channel, end = np.empty(len(rows), np.int64), first + TABLES - 1, -1, 0
    for i in range(len(rows)):
        while places[i] >= end:  # places ascend
            channel, end = channel + 1, end + area
        out[i] = min(max(rows[i] + shifts[channel], first + 1), most)
    return out


@njit(cache=KEPT, nogil=True)
def tallied(rows: Ints, places: Ints, symbols: Ints, area: int, first: int, costs: Ints, out: Costs) -> None:
    """Add to out [C,2·SPAN+1] what symbols [n] under rows [n], in the order of their places, cost at each shift.

    costs [N,S]: of each symbol in each row.
    """
    size = costs.shape[1]
    # by symbol, what tables cost one after the other, those at the ends again and again
    beside = np.empty((size, TABLES + 2 * SPAN), np.int64)
    for s in range(TABLES + 2 * SPAN):
        beside[:, s] = costs[first + min(max(s - SPAN, 1), TABLES - 1)]
    counts, met = np.zeros(TABLES * size, np.int64), np.empty(TABLES * size, np.int64)
    begin = 0
    while begin < len(rows):
        channel, kinds, i = places[begin] // area, 0, begin
        end = (channel + 1) * area
        while i < len(rows) and places[i] < end:
            at = (rows[i] - first) * size + symbols[i]
            met[kinds] = at
            kinds += int(counts[at] == 0)
            counts[at] += 1
            i += 1
        total = out[channel]
        for at in met[:kinds]:
            number, count = at // size, counts[at]
            line = beside[at % size, number : number + 2 * SPAN + 1]
            for s in range(2 * SPAN + 1):
                total[s] += count * line[s]
            counts[at] = 0
        begin = i
