"""Which indices are worth sending, compiled for this CPU: loops over a frame's latents [C,h,w] in steps.

    latents ─► activity, at a guess ─► candidates, listed ─► the cheapest of each ─► activity of blocks that pay

An index may be the nearest level, the one before it towards zero, or zero: whatever costs the least in squared error +
price · bits under the very table it is coded with.  A 16×16 block whose indices cost more than they save is emptied.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.active import EVERY, Active
from vcodec.loops import KEPT

__all__ = ["Candidates", "Rule", "first_activity", "symbols_of"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
_LEVELS = 9  # of activity, beside none
_UNSIGNED, _HALF = np.int32(0x7FFFFFFF), np.int32(0x3F000000)  # the bits of a float without its sign; 0.5 in bits


class Rule(NamedTuple):
    """What indices are chosen by.

    low, high: ends of the codebook; bits [tables,2·reach+2]: of each symbol, the last an escape; shifts [C]: of table
    numbers.
    """

    low: int
    high: int
    bits: Floats
    shifts: Ints


class Candidates(NamedTuple):
    """Latents whose nearest level is not 0, where there is activity, in order: those of channel c from starts[c] on.

    starts [C+1]; flat places [m], their rows in Active's places [m], values [m], prices of a bit [m].
    """

    starts: Ints
    places: Ints
    rows: Small
    values: Floats
    prices: Floats

    @staticmethod
    def of(u: Floats, counts: Ints, price: Floats, weight: tuple[Floats, Floats], active: Active) -> Candidates:
        """Of latents [C,h,w] in steps, and how many first_activity counted.

        A bit's price is price [C] / (weight of the channel [C] · weight of the place [h,w]).
        """
        return Candidates(*_candidates(u, counts, price, weight, active.places, active.rows))

    def nothing(self) -> Floats:
        """An index of 0 for each."""
        return np.zeros(len(self.places), np.float32)

    def choose(self, rule: Rule, numbers: Bytes, owners: Bytes, step: int, out: Floats) -> None:
        """The cheapest indices out [m] of a step's squares, or of EVERY one; others stay.

        numbers [C,n] of tables: 0 allows only zero; owners [C,2]: see Active.
        """
        _cheapest(*self, *rule, numbers, owners, step, out)

    def sent(self, indices: Floats) -> tuple[Ints, Floats]:
        """Flat places and values of indices [m] that are not 0."""
        return _sent(self.places, indices)

    def worthwhile(self, rule: Rule, numbers: Bytes, indices: Floats, least: float, active: Active) -> Ints:
        """Activity [h/2,w/2] of indices [m] once blocks that save less than ``least`` bits are emptied."""
        out = np.zeros_like(active.activity)
        _worthwhile(*self, *rule, numbers, indices, least, active.places, out)
        return out

    def within(self, before: Active, after: Active) -> Candidates:
        """Those that are left where less is active than before."""
        return Candidates(*_within(*self, before.places, after.rows))


@njit(cache=KEPT, nogil=True)
def _bit_length(total: int) -> int:
    """Activity of a block whose magnitudes sum to ``total``."""
    level = 0
    while total >> level and level < _LEVELS:
        level += 1
    return level


@njit(cache=KEPT, nogil=True)
def first_activity(u: Floats, low: int, high: int, out: Ints) -> Ints:
    """First guess of the activity out [h/2,w/2]: below 0.7 of a step nothing is worth sending.

    Gives how many latents of each row [C,h] are nearest to another level than 0.
    """
    channels, h, w = u.shape
    total, counts = np.empty(w, np.int32), np.empty((channels, h), np.int64)
    values, bits = u.reshape(-1), u.reshape(-1).view(np.int32)
    least, most = np.float32(low), np.float32(high)
    for row in range(h // 2):
        total[:] = 0
        for c in range(channels):
            for y in range(2 * row, 2 * row + 2):
                first, count = (c * h + y) * w, np.int32(0)
                for x in range(w):
                    count += np.int32(bits[first + x] & _UNSIGNED >= _HALF)
                counts[c, y] = count
                for x in range(w if count else 0):
                    size = np.rint(abs(min(max(values[first + x], least), most)) - np.float32(0.2))
                    total[x] += np.int32(max(size, np.float32(0.0)))
        for x in range(w // 2):
            out[row, x] = _bit_length(total[2 * x] + total[2 * x + 1])
    return counts


@njit(cache=KEPT, nogil=True)
def _candidates(
    u: Floats, counts: Ints, price: Floats, weight: tuple[Floats, Floats], active: Ints, rows: Small
) -> tuple[Ints, Ints, Small, Floats, Floats]:
    """Fields of Candidates.of."""
    channels, h, w = u.shape
    room, bits = counts.sum() + 1, u.view(np.int32)
    starts, places, theirs = np.zeros(channels + 1, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    columns, ends = _columns(active, h, w)
    n = np.uint64(0)
    for c in range(channels):
        for y in range(h):
            if counts[c, y]:
                begin, values, line = (c * h + y) * w, bits[c, y], rows[y]
                for x in columns[ends[y >> 1] : ends[(y >> 1) + 1]]:  # without a branch that nobody can foresee
                    places[n], theirs[n] = begin + np.int64(x), line[x]
                    n += np.uint64(values[x] & _UNSIGNED >= _HALF)
        starts[c + 1] = n
    found, prices = np.empty(n, np.float32), np.empty(n, np.float32)
    given, weights = u.reshape(-1), weight[1].reshape(-1)
    for c in range(channels):
        dear, heavy, begin = price[c], weight[0][c], c * h * w
        for i in range(starts[c], starts[c + 1]):
            found[i] = given[np.uint64(places[i])]
            prices[i] = dear / (heavy * weights[np.uint64(places[i] - begin)])
    return starts, places[:n], theirs[:n], found, prices


@njit(cache=KEPT, nogil=True)
def _columns(active: Ints, h: int, w: int) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Columns that are active in each row of blocks, one after the other, and where each row's begin [h/2+1]."""
    columns, ends = np.empty(len(active) // 2, np.uint64), np.zeros(h // 2 + 1, np.int64)
    for i in range(len(active) // 4):  # a block's first quarter
        x = active[i] % w
        columns[2 * i], columns[2 * i + 1] = x, x + 1
        ends[active[i] // w // 2 + 1] = 2 * i + 2
    for y in range(h // 2):
        ends[y + 1] = max(ends[y], ends[y + 1])
    return columns, ends


@njit(cache=KEPT, nogil=True)
def _shifted(number: int, shift: int, tables: int) -> int:
    """As calibration.shifted has it."""
    return min(max(number + shift, 1), tables - 1)


@njit(cache=KEPT, nogil=True)
def _cheapest(
    starts: Ints,
    places: Ints,
    rows: Small,
    values: Floats,
    prices: Floats,
    low: int,
    high: int,
    bits: Floats,
    shifts: Ints,
    numbers: Bytes,
    owners: Bytes,
    step: int,
    out: Floats,
) -> None:
    """See Candidates.choose."""
    reach, squares, tables = bits.shape[1] // 2 - 1, numbers.shape[1] // 2, len(bits)
    for c in range(len(starts) - 1):
        if step != EVERY and owners[c, 0] != step and owners[c, 1] != step:
            continue
        ours = step == EVERY or owners[c, 0] == step, step == EVERY or owners[c, 1] == step
        line, shift = numbers[c], shifts[c]
        for i in range(starts[c], starts[c + 1]):  # without branches that nobody can foresee
            row = np.uint64(rows[i])
            number, value, worth = int(line[row]), values[i], prices[i]
            cost = bits[np.uint64(_shifted(number, shift, tables))]
            best, least = 0.0, np.float64(value * value + worth * cost[np.uint64(reach)])
            nearest = np.float64(min(max(np.rint(value), np.float32(low)), np.float32(high)))
            for less in range(2):
                index = nearest - less if nearest > 0 else nearest + less
                symbol = int(index) + reach if abs(index) <= reach else 2 * reach + 1
                bid = (value - index) * (value - index) + worth * cost[np.uint64(symbol)]
                better = (bid < least) | ((bid == least) & (abs(index) > abs(best)))
                best, least = index if better else best, bid if better else least
            mine = ours[1] if row >= squares else ours[0]
            found = np.float32(best if (number > 0) & (nearest != 0) else 0.0)
            out[i] = found if mine else out[i]


@njit(cache=KEPT, nogil=True)
def _sent(places: Ints, indices: Floats) -> tuple[Ints, Floats]:
    """See Candidates.sent."""
    count = 1
    for index in indices:
        count += index != 0
    found, values, n = np.empty(count, np.int64), np.empty(count, np.float32), np.uint64(0)
    for i in range(len(indices)):
        found[n], values[n] = places[i], indices[i]
        n += np.uint64(indices[i] != 0)
    return found[: count - 1], values[: count - 1]


@njit(cache=KEPT, nogil=True)
def _worthwhile(
    starts: Ints,
    places: Ints,
    rows: Small,
    values: Floats,
    prices: Floats,
    low: int,
    high: int,
    bits: Floats,
    shifts: Ints,
    numbers: Bytes,
    indices: Floats,
    least: float,
    active: Ints,
    out: Ints,
) -> None:
    """See Candidates.worthwhile; out holds zeros."""
    reach, w = bits.shape[1] // 2 - 1, 2 * out.shape[1]
    n = numbers.shape[1]
    blocks = n // 4
    saved, total = np.zeros(blocks, np.float32), np.zeros(blocks, np.int64)
    gains, costs, zero = np.zeros(n, np.float32), np.empty(n, np.float32), np.zeros(256, np.float32)
    for c in range(len(starts) - 1):
        for number in range(1, len(bits)):
            zero[number] = bits[_shifted(number, shifts[c], len(bits)), reach]
        for row in range(n):
            costs[row] = zero[numbers[c, row]]
        for i in range(starts[c], starts[c + 1]):
            sent, value, row = indices[i], values[i], rows[i]
            if sent != 0:
                symbol = int(sent) + reach if abs(sent) <= reach else 2 * reach + 1
                gains[row] = (value * value - (value - sent) * (value - sent)) / prices[i]
                costs[row] = bits[_shifted(int(numbers[c, row]), shifts[c], len(bits)), symbol]
                total[row % blocks] += int(abs(sent))
        for quarter in (0, 2, 3, 1):  # as they lie in a map: sums of floats depend on it
            first = quarter * blocks
            for i in range(blocks):
                saved[i] = saved[i] + gains[first + i] - costs[first + i]
        for i in range(starts[c], starts[c + 1]):
            gains[rows[i]] = 0
    for i in range(blocks):
        if saved[i] > least:
            out[active[i] // w // 2, active[i] % w // 2] = _bit_length(total[i])


@njit(cache=KEPT, nogil=True)
def _within(
    starts: Ints, places: Ints, rows: Small, values: Floats, prices: Floats, active: Ints, left: Small
) -> tuple[Ints, Ints, Small, Floats, Floats]:
    """Fields of Candidates.within."""
    begins, at, there = np.zeros_like(starts), np.empty_like(places), np.empty_like(rows)
    found, theirs = np.empty_like(values), np.empty_like(prices)
    moved = left.reshape(-1)[active]
    n = 0
    for c in range(len(starts) - 1):
        for i in range(starts[c], starts[c + 1]):
            row = moved[rows[i]]
            at[n], there[n], found[n], theirs[n] = places[i], row, values[i], prices[i]
            n += row >= 0
        begins[c + 1] = n
    return begins, at[:n], there[:n], found[:n], theirs[:n]


@njit(cache=KEPT, nogil=True)
def symbols_of(places: Ints, sent: Ints, values: Floats, reach: int, escape: int) -> tuple[Ints, Ints]:
    """Symbols of what is coded in some places [n] of a map, known its indices that are not 0: values in places sent.

    Beside them the indices that are beyond the reach.  Places ascend.
    """
    out, far, i, count = np.full(len(places), reach, np.int64), np.empty(len(sent), np.int64), 0, 0
    for place, value in zip(sent, values):
        while i < len(places) and places[i] < place:
            i += 1
        if i < len(places) and places[i] == place:
            index = np.int64(value)
            if abs(index) > reach:
                out[i], far[count] = escape, index
                count += 1
            else:
                out[i] = index + reach
    return out, far[:count].copy()
