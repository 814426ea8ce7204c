"""constriction's range decoder, compiled: a symbol in a few nanoseconds, whatever its table.

    state: lower, range, point (64 bits), words read.    A symbol s of a table has the share
    [lower + scale · C(s), lower + scale · C(s + 1)) of the range, scale = range >> 24;  point lies in one of them.

Arithmetic and tables are those of constriction's RangeDecoder and Categorical(perfect=False): a test compares the two.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["begin", "cumulative", "cumulative_row", "exhausted", "read_alike", "read_rows", "resumed", "starts_of"]

Words = npt.NDArray[np.uint32]
State = npt.NDArray[np.uint64]

PRECISION = 24
LOWER, RANGE, POINT, READ = 0, 1, 2, 3  # places in the state
_P, _WORD = np.uint64(PRECISION), np.uint64(32)
_SMALL, _ZERO = np.uint64(1 << 32), np.uint64(0)


def cumulative(rows: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.uint64]:
    """Cumulative integers [N,S+1] of rows [N,S] that sum to 2^bits: those that constriction makes of their shares.

    It multiplies floats, of which none is rounded here; this is the same in integers.
    """
    n, size = rows.shape
    below = np.cumsum(rows, 1) - rows
    out = np.full((n, size + 1), 1 << PRECISION, np.uint64)
    out[:, :size] = (below * ((1 << PRECISION) - size) >> bits) + np.arange(size)  # each symbol has some share
    return out


@njit(cache=KEPT, nogil=True)
def cumulative_row(row: npt.NDArray[np.int64], out: npt.NDArray[np.uint64]) -> None:
    """As cumulative, of one row [S] that sums to 2^16: out [S+1]."""
    below = 0
    for i in range(len(row)):
        out[i] = np.uint64((below * ((1 << PRECISION) - len(row)) >> 16) + i)
        below += row[i]
    out[len(row)] = np.uint64(1 << PRECISION)


@njit(cache=KEPT, nogil=True)
def _next(state: State, words: Words) -> np.uint64:
    """The next word; past the end come zeros."""
    at = state[READ]
    state[READ] = at + np.uint64(1)
    return np.uint64(words[at]) if at < np.uint64(len(words)) else _ZERO


@njit(cache=KEPT, nogil=True)
def begin(words: Words) -> State:
    """State at the beginning."""
    state = np.zeros(4, np.uint64)
    state[RANGE] = ~_ZERO
    high = _next(state, words)
    state[POINT] = (high << _WORD) | _next(state, words)
    return state


@njit(cache=KEPT, nogil=True)
def starts_of(rows: npt.NDArray[np.int64]) -> tuple[int, npt.NDArray[np.int64]]:
    """The first of the tables that symbols have, and where those of each from there on begin, in ascending order of
    their tables, rows [n]: mostly few of a thousand."""
    low, high = rows[0], rows[0]
    for row in rows:
        low, high = min(low, row), max(high, row)
    starts = np.zeros(high - low + 2, np.int64)
    for row in rows:
        starts[row - low + 1] += 1
    for i in range(high - low):
        starts[i + 1] += starts[i]
    return low, starts


@njit(cache=KEPT, nogil=True)
def read_rows(
    state: State,
    words: Words,
    tables: npt.NDArray[np.uint64],
    guesses: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    out: npt.NDArray[np.int64],
) -> bool:
    """Symbols under rows of tables [N,S+1], which are coded in ascending order of their rows: out [n], as rows are.

    guesses [N]: symbols to look at first.  Gives False for data that no encoder makes.
    """
    if len(rows) == 0:
        return True
    lowest, starts = starts_of(rows)
    order = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        order[starts[rows[i] - lowest]] = i
        starts[rows[i] - lowest] += 1
    flat, size = tables.reshape(-1), tables.shape[1]
    lower, width, point, read = state[LOWER], state[RANGE], state[POINT], state[READ]
    count = np.uint64(len(words))
    done = 0  # starts are ends now
    for row in range(lowest, lowest + len(starts) - 1):
        if starts[row - lowest] == done:  # most tables have nothing here: they are not looked at
            continue
        first, guess = row * size, row * size + guesses[row]
        least, most = flat[guess], flat[guess + 1]
        for place in range(done, starts[row - lowest]):
            scale = width >> _P
            ahead = point - lower
            if ahead >= scale << _P:
                return False
            at, low, high = guess, least, most
            while ahead < scale * low:
                at -= 1
                low, high = flat[at], low
            while ahead >= scale * high:
                at += 1
                low, high = high, flat[at + 1]
            lower += scale * low
            width = scale * (high - low)
            if width < _SMALL:
                lower, width = lower << _WORD, width << _WORD
                point <<= _WORD
                if read < count:  # past the end come zeros
                    point |= np.uint64(words[read])
                read += np.uint64(1)
            out[order[place]] = at - first
        done = starts[row - lowest]
    state[LOWER], state[RANGE], state[POINT], state[READ] = lower, width, point, read
    return True


@njit(cache=KEPT, nogil=True)
def read_alike(state: State, words: Words, bits: int, out: npt.NDArray[np.int64]) -> bool:
    """Integers of so many bits, all alike: out [n]; as read_rows."""
    share = np.uint64(1) << np.uint64(PRECISION - bits)
    for i in range(len(out)):
        scale = (state[RANGE] >> _P) * share
        ahead = state[POINT] - state[LOWER]
        found = ahead // scale
        if found >> np.uint64(bits):
            return False
        state[LOWER] += scale * found
        state[RANGE] = scale
        if scale < _SMALL:
            state[LOWER], state[RANGE] = state[LOWER] << _WORD, scale << _WORD
            state[POINT] = (state[POINT] << _WORD) | _next(state, words)
        out[i] = found
    return True


@njit(cache=KEPT, nogil=True)
def exhausted(state: State, words: Words) -> bool:
    """Whether nothing but what a coder adds at its end can be left."""
    if state[READ] < np.uint64(len(words)):
        return False
    return bool(state[RANGE] == ~_ZERO or state[POINT] - state[LOWER] < _SMALL - np.uint64(1))


def resumed(state: State, words: Words) -> Any:
    """constriction's own decoder, which goes on from a state."""
    lower, width, _, read = map(int, state)
    begun = constriction.stream.queue.RangeDecoder(np.pad(words, (0, max(0, read - 2 - len(words)))))
    begun.seek(read - 2, (lower, width))
    return begun
