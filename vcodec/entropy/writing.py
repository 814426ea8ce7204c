"""constriction's range encoder, compiled: the words that it writes, sooner (reading.py is its decoder).

    state: lower, range (64 bits), words held back, the first of them, words written

While lower + range wraps around, a carry may still come: the words that it would change are held back, a number alone,
as all but the first would be zeros with it and ones without.  Tests compare all that is written with constriction's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.reading import PRECISION, starts_of
from vcodec.loops import KEPT

__all__ = ["begin", "finish", "room", "write_alike", "write_rows"]

Words = npt.NDArray[np.uint32]
State = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_LOWER, _RANGE, _HELD, _FIRST, WRITTEN = 0, 1, 2, 3, 4  # places in the state
_P, _WORD = np.uint64(PRECISION), np.uint64(32)
_SMALL, _ZERO, _ONE = np.uint64(1 << 32), np.uint64(0), np.uint64(1)
_ONES = np.uint32(0xFFFFFFFF)


def begin() -> State:
    """State of an encoder that has written nothing."""
    return np.array([0, 2**64 - 1, 0, 0, 0], np.uint64)


def room(state: State, symbols: int) -> int:
    """Words that there must be room for, before so many symbols are written, or none and the end."""
    return int(state[WRITTEN]) + int(state[_HELD]) + symbols + 3


@njit(cache=KEPT, nogil=True)
def _release(state: State, words: Words, carry: bool) -> None:
    """Write what was held back."""
    at = state[WRITTEN]
    words[at] = np.uint32(state[_FIRST] + (_ONE if carry else _ZERO))
    for i in range(state[_HELD] - _ONE):
        words[at + _ONE + np.uint64(i)] = np.uint32(0) if carry else _ONES
    state[WRITTEN] = at + state[_HELD]
    state[_HELD] = _ZERO


@njit(cache=KEPT, nogil=True)
def _put(state: State, words: Words, lows: State, shares: State) -> None:
    """Symbols, each from ``low`` on, of such a share of the range.

    One function: handing arrays to another costs more than a symbol.
    """
    lower, width, held, written = state[_LOWER], state[_RANGE], state[_HELD], state[WRITTEN]
    for i in range(len(lows)):
        scale, before = width >> _P, lower
        lower, width = lower + scale * lows[i], scale * shares[i]
        if held and lower + width > lower:
            state[_HELD], state[WRITTEN] = held, written
            _release(state, words, bool(lower < before))
            held, written = _ZERO, state[WRITTEN]
        if width < _SMALL:
            word = lower >> _WORD
            lower, width = lower << _WORD, width << _WORD
            if held:
                held += _ONE
            elif lower + width > lower:
                words[written] = np.uint32(word)
                written += _ONE
            else:
                held, state[_FIRST] = _ONE, word
    state[_LOWER], state[_RANGE], state[_HELD], state[WRITTEN] = lower, width, held, written


@njit(cache=KEPT, nogil=True)
def write_rows(
    state: State,
    words: Words,
    shares: Ints,
    tables: npt.NDArray[np.uint64],
    bits: npt.NDArray[np.float64],
    rows: Ints,
    symbols: Ints,
    ends: Ints,
    before: float,
) -> float:
    """Symbols under rows of tables, part after part, in each in ascending order of their rows.

    shares [N,S] of each symbol, cumulative tables [N,S+1], bits of each share; ends of the parts, none of them empty.
    Gives what bits say that they should take, in all with those before.  Below 0 where a symbol is in no table; nothing
    is written then.
    """
    least, most = 0, 0
    for symbol in symbols:
        least, most = min(least, symbol), max(most, symbol)
    if least < 0 or most >= shares.shape[1]:
        return -1.0
    weights, width, flat, pitch = shares.reshape(-1), np.uint64(shares.shape[1]), tables.reshape(-1), tables.shape[1]
    lows, widths = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
    total, begin = before, np.uint64(0)
    for end in ends:
        some = 0.0
        first, starts = starts_of(rows[begin:end])
        for i in range(begin, np.uint64(end)):
            row, symbol = np.uint64(rows[i]), np.uint64(symbols[i])
            which, at = row - np.uint64(first), row * np.uint64(pitch) + symbol
            place = begin + np.uint64(starts[which])
            lows[place], widths[place] = flat[at], flat[at + _ONE] - flat[at]
            some += bits[np.uint64(weights[row * width + symbol])]
            starts[which] += 1
        total, begin = total + some, np.uint64(end)
    _put(state, words, lows, widths)
    return total


@njit(cache=KEPT, nogil=True)
def write_alike(state: State, words: Words, bits: int, values: Ints) -> None:
    """Integers of so many bits, all alike."""
    share = _ONE << np.uint64(PRECISION - bits)
    lows = np.empty(len(values), np.uint64)
    for i in range(len(values)):
        lows[i] = np.uint64(values[i]) * share
    _put(state, words, lows, np.full(len(values), share))


@njit(cache=KEPT, nogil=True)
def finish(state: State, words: Words) -> np.int64:
    """Write the end, and give how many words there are; nothing can be written after."""
    if state[_RANGE] == ~_ZERO:
        return np.int64(0)
    point = state[_LOWER] + (_SMALL - _ONE)
    if state[_HELD]:
        _release(state, words, bool(point < state[_LOWER]))
    at = state[WRITTEN]
    words[at] = np.uint32(point >> _WORD)
    if (state[_LOWER] + state[_RANGE]) >> _WORD == point >> _WORD:
        at += _ONE
        words[at] = np.uint32(0)
    return np.int64(at + _ONE)
