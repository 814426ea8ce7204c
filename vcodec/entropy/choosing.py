"""Which indices are worth sending, compiled for this CPU: loops over a frame's latents [C,h,w] in steps.

An index may be the nearest level, the one before it towards zero, or zero: whatever costs the least in squared error +
price · bits under the very table it is coded with.  A 16×16 block whose indices cost more than they save is emptied.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["candidates", "cheapest", "coded", "first_activity", "worthwhile"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_LEVELS = 9  # of activity, beside none


@njit(cache=KEPT, nogil=True)
def _bit_length(total: int) -> int:
    """Activity of a block whose magnitudes sum to ``total``."""
    level = 0
    while total >> level and level < _LEVELS:
        level += 1
    return level


@njit(cache=KEPT, nogil=True)
def _largest(values: Floats) -> np.float32:
    """Magnitude of the largest: in vectors, for most rows hold nothing."""
    most = np.float32(0.0)
    for value in values:
        most = max(most, abs(value))
    return most


@njit(cache=KEPT, nogil=True)
def first_activity(u: Floats, low: int, high: int, out: Ints) -> None:
    """First guess of the activity out [h/2,w/2]: below 0.7 of a step nothing is worth sending."""
    channels, h, w = u.shape
    total = np.empty(w, np.int32)
    most, least = np.float32(high), np.float32(-low)
    for row in range(h // 2):
        total[:] = 0
        for c in range(channels):
            for y in range(2 * row, 2 * row + 2):
                values = u[c, y]
                if _largest(values) < 0.5:
                    continue
                for x in range(w):
                    value = values[x]
                    size = np.rint(max(abs(value) - np.float32(0.2), np.float32(0.0)))
                    total[x] += np.int32(min(size, most if value > 0 else least))
        for x in range(w // 2):
            out[row, x] = _bit_length(total[2 * x] + total[2 * x + 1])


@njit(cache=KEPT, nogil=True)
def candidates(u: Floats, activity: Ints) -> Ints:
    """Latents [C,h,w] whose nearest level is not 0, where there is activity [h/2,w/2], in order: their flat places, and
    those of their blocks [2,n]."""
    channels, h, w = u.shape
    places, n = np.empty((2, u.size), np.int64), 0
    for c in range(channels):
        for y in range(h):
            line, values = activity[y >> 1], u[c, y]
            if _largest(values) < 0.5:
                continue
            begin, block = (c * h + y) * w, (y >> 1) * (w >> 1)
            for x in range(w):
                places[0, n], places[1, n] = begin + x, block + (x >> 1)
                n += abs(values[x]) >= 0.5 and line[x >> 1] > 0
    return places[:, :n].copy()


@njit(cache=KEPT, nogil=True)
def _shifted(number: int, shift: int, tables: int) -> int:
    """As calibration.shifted has it."""
    return min(max(number + shift, 1), tables - 1)


@njit(cache=KEPT, nogil=True)
def cheapest(
    u: Floats,
    places: Ints,
    limits: tuple[int, int],
    table: Floats,
    bits: Floats,
    price: Floats,
    activity: Ints,
    mask: npt.NDArray[np.bool_],
    shifts: Ints,
    out: Floats,
) -> None:
    """Indices out [C,h,w] where a mask is set, of places as candidates has them; others stay.

    table: numbers [C,h,w], 0 allows only zero; bits [tables,2·reach+2]: of each symbol, the last an escape;
    price [C,h,w]; activity [h/2,w/2], 0 allows only zero; shifts [C]: of table numbers.
    """
    reach, area = bits.shape[1] // 2 - 1, u.shape[1] * u.shape[2]
    values, numbers, prices = u.reshape(-1), table.reshape(-1), price.reshape(-1)
    wanted, alive, chosen = mask.reshape(-1), activity.reshape(-1), out.reshape(-1)
    for i in range(places.shape[1]):
        place = places[0, i]
        if not wanted[place]:
            continue
        value, best = values[place], np.float32(0.0)
        if alive[places[1, i]] and numbers[place] > 0:
            worth, cost = prices[place], bits[_shifted(int(numbers[place]), shifts[place // area], len(bits))]
            least = value * value + worth * cost[reach]
            nearest = min(max(np.rint(value), np.float32(limits[0])), np.float32(limits[1]))
            for less in range(2 if nearest != 0 else 0):
                index = nearest - less if nearest > 0 else nearest + less
                symbol = int(index) + reach if abs(index) <= reach else 2 * reach + 1
                bid = (value - index) * (value - index) + worth * cost[symbol]
                if bid < least or (bid == least and abs(index) > abs(best)):
                    best, least = index, bid
        chosen[place] = best


@njit(cache=KEPT, nogil=True)
def _active(activity: Ints, w: int) -> tuple[Ints, Ints]:
    """Columns of each row of blocks where there is activity [h/2,w/2]: [h/2,w], and how many [h/2]."""
    active, counts = np.empty((len(activity), w), np.int64), np.zeros(len(activity), np.int64)
    for y in range(len(activity)):
        for x in range(w):
            if activity[y, x >> 1]:
                active[y, counts[y]] = x
                counts[y] += 1
    return active, counts


@njit(cache=KEPT, nogil=True)
def worthwhile(
    u: Floats,
    index: Floats,
    table: Floats,
    bits: Floats,
    price: Floats,
    activity: Ints,
    shifts: Ints,
    least: float,
    out: Ints,
) -> None:
    """Activity out [h/2,w/2] of indices [C,h,w] once blocks that save less than ``least`` bits are emptied."""
    channels, h, w = u.shape
    reach = bits.shape[1] // 2 - 1
    saved = np.zeros((h // 2, w // 2), np.float32)
    total = np.zeros((h // 2, w // 2), np.int64)
    active, counts = _active(activity, w)
    for c in range(channels):
        for y in range(h):
            for i in range(counts[y >> 1]):
                x = active[y >> 1, i]
                row, sent = int(table[c, y, x]), index[c, y, x]
                symbol = int(sent) + reach if abs(sent) <= reach else 2 * reach + 1
                if sent != 0:
                    value = u[c, y, x]
                    saved[y >> 1, x >> 1] += (value * value - (value - sent) * (value - sent)) / price[c, y, x]
                    total[y >> 1, x >> 1] += int(abs(sent))
                if row:
                    saved[y >> 1, x >> 1] -= bits[_shifted(row, shifts[c], len(bits)), symbol]
    for y in range(h // 2):
        for x in range(w // 2):
            out[y, x] = _bit_length(total[y, x]) if saved[y, x] > least else 0


@njit(cache=KEPT, nogil=True)
def coded(table: Floats, mask: npt.NDArray[np.bool_], activity: Ints, first: int) -> tuple[Ints, Ints]:
    """Of the indices [C,h,w] that are coded: rows of their tables (first + number), and flat places, in order.

    table: numbers, 0 is not coded; mask: what belongs to the step; activity [h/2,w/2], 0 is not coded.
    """
    channels, h, w = table.shape
    rows, places = np.empty(table.size, np.int64), np.empty(table.size, np.int64)
    numbers, members = table.reshape(-1), mask.reshape(-1)
    active, counts = _active(activity, w)
    n = 0
    for c in range(channels):
        for y in range(h):
            begin = (c * h + y) * w
            for i in range(counts[y >> 1]):
                place = begin + active[y >> 1, i]
                if members[place] and numbers[place] > 0:
                    rows[n], places[n] = first + int(numbers[place]), place
                    n += 1
    return rows[:n].copy(), places[:n].copy()
