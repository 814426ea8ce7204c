"""Integer maps of a frame (motion, thumbnail, activity) from coarse to fine, each value predicted from four around it.

    pass 0: every 8th value     then for s = 8, 4, 2: centres of s×s squares, then the middles of their sides

Within a pass nothing depends on anything else of it, so a pass is a handful of array operations; all values of a pass
that share a context are coded in one call.  Contexts come from integers only: how far the four neighbours differ,
whether the middle two of them tie, and how the same map of the previous frame differs from what they predict.  The
last also turns the sign of what is coded, so that "towards the previous frame" is always positive.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables

__all__ = [
    "DELTA_FELLOWS",
    "DELTA_NAMES",
    "DELTA_ROWS",
    "FAR_FIRST",
    "FLAGS_FIRST",
    "SIDE_ROWS",
    "SIDE_SYMBOLS",
    "SOURCE_FIRST",
    "Port",
    "ReadPort",
    "WritePort",
    "code_choice",
    "code_flags",
    "code_maps",
]

Ints = npt.NDArray[np.int64]
SIDE_SYMBOLS = 32
_ESCAPE = 31
_REACH = 15  # deltas within ±15 have symbols of their own
_RAW_ZERO = 1 << 15

_SPREADS, _DRIFTS, _TIES, _OTHERS = 5, 4, 3, 3
DELTA_FELLOWS = _TIES * _OTHERS  # rows that differ in the finest contexts only stand together
DELTA_ROWS = 3 * _SPREADS * _DRIFTS * DELTA_FELLOWS
_ACTIVITY_ROWS = 2 * 10 * 11
# rows of the one table set: dy, dx, three thumbnail planes, activity, choice, source, flags of a frame
_FIRST = {"dy": 0, "dx": 1, "thumb0": 2, "thumb1": 3, "thumb2": 4}
DELTA_NAMES = len(_FIRST)
_ACTIVITY_FIRST = DELTA_NAMES * DELTA_ROWS
_CHOICE_FIRST = _ACTIVITY_FIRST + _ACTIVITY_ROWS
_CHOICE_ROWS = 8 * 3 * 3 * 4
SOURCE_FIRST = _CHOICE_FIRST + _CHOICE_ROWS
_SOURCE_ROWS = 3 * 5 * 3
FLAGS_FIRST = SOURCE_FIRST + _SOURCE_ROWS
_FLAGS_ROWS = 8
_SPREAD_EDGES, _DRIFT_EDGES = np.array([1, 3, 7, 17]), np.array([1, 2, 4])
FAR_FIRST = FLAGS_FIRST + _FLAGS_ROWS  # sixteens of far deltas, then their units
_FARTHEST = 15
SIDE_ROWS = FAR_FIRST + 2


class Port(Protocol):
    """One end of the coder: the writing end returns what it was given, the reading end what it read."""

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints: ...
    def raw(self, count: int, values: Ints | None) -> Ints: ...


class WritePort:
    """Symbols into a SymbolWriter."""

    def __init__(self, writer: SymbolWriter, tables: Tables) -> None:
        self.writer, self.tables = writer, tables

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints:
        """Write symbols under rows."""
        if symbols is None:
            raise ValueError("nothing to write")
        self.writer.write(self.tables, rows, symbols)
        return symbols

    def raw(self, count: int, values: Ints | None) -> Ints:
        """Write 16-bit values."""
        if values is None or len(values) != count:
            raise ValueError("nothing to write")
        self.writer.write_raw(values)
        return values


class ReadPort:
    """Symbols out of a SymbolReader."""

    def __init__(self, reader: SymbolReader, tables: Tables) -> None:
        self.reader, self.tables = reader, tables

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints:
        """Read symbols under rows."""
        return self.reader.read(self.tables, rows)

    def raw(self, count: int, values: Ints | None) -> Ints:
        """Read 16-bit values."""
        return self.reader.read_raw(count)


@lru_cache(maxsize=32)
def _passes(h: int, w: int) -> tuple[tuple[int, Ints, Ints], ...]:
    """(class, flat targets [n], flat neighbours [4,n]) of each pass; the first pass has itself for neighbours."""
    rows, cols = np.mgrid[0:h, 0:w]
    base = ((rows % 8 == 0) & (cols % 8 == 0)).ravel().nonzero()[0]
    out = [(0, base, np.stack([base] * 4))]

    def inside(y: Ints, x: Ints) -> npt.NDArray[np.bool_]:
        return (y >= 0) & (y < h) & (x >= 0) & (x < w)

    for s in (8, 4, 2):
        half = s // 2
        for diagonal in (True, False):
            if diagonal:
                mask = (rows % s == half) & (cols % s == half)
                steps = [(-half, -half), (-half, half), (half, -half), (half, half)]
            else:
                mask = ((rows % s == half) & (cols % s == 0)) | ((rows % s == 0) & (cols % s == half))
                steps = [(-half, 0), (half, 0), (0, -half), (0, half)]
            y, x = rows[mask], cols[mask]
            if not y.size:
                continue
            around, good = [], []
            for dy, dx in steps:
                around.append(np.where(inside(y + dy, x + dx), (y + dy) * w + x + dx, -1))
                good.append(inside(y + dy, x + dx))
            table, valid = np.stack(around), np.stack(good)
            first = table[valid.argmax(0), np.arange(y.size)]  # there is always one inside
            # a missing neighbour is replaced by the opposite one, else by any that is there
            opposite = table[[3, 2, 1, 0]] if diagonal else table[[1, 0, 3, 2]]
            table = np.where(table >= 0, table, np.where(opposite >= 0, opposite, first))
            out.append((1 if s > 2 else 2, y * w + x, table))
    return tuple(out)


def _delta_rows(name: str, stage: int, spread: Ints, drift: Ints, tie: Ints, other: Ints) -> Ints:
    by_spread = _SPREAD_EDGES.searchsorted(spread, side="right")
    by_drift = _DRIFT_EDGES.searchsorted(drift, side="right")
    row = (stage * _SPREADS + by_spread) * _DRIFTS + by_drift
    return _FIRST[name] * DELTA_ROWS + (row * _TIES + tie) * _OTHERS + other


def _code_delta(port: Port, rows: Ints, delta: Ints | None) -> Ints:
    symbols = None if delta is None else np.where(np.abs(delta) <= _REACH, delta + _REACH, _ESCAPE)
    got = port.symbols(rows, symbols)
    out = got - _REACH
    far = np.flatnonzero(got == _ESCAPE)
    if far.size:
        out[far] = _code_far(port, far.size, None if delta is None else delta[far])
    return out


def _code_far(port: Port, count: int, delta: Ints | None) -> Ints:
    """Deltas beyond the reach: sign and sixteens under one table, units under another; what is farther still, raw."""
    sixteens = units = raw = None
    if delta is not None:
        beyond = np.abs(delta) - _REACH - 1
        steps = np.minimum(beyond >> 4, _FARTHEST)
        sixteens, units, raw = (
            2 * steps + (delta < 0),
            beyond & 15,
            np.clip(delta, -_RAW_ZERO, _RAW_ZERO - 1) + _RAW_ZERO,
        )
    got = port.symbols(np.full(count, FAR_FIRST), sixteens)
    beyond, sign = (got >> 1) << 4, 1 - 2 * (got & 1)
    near = (got >> 1) < _FARTHEST
    beyond[near] += port.symbols(np.full(int(near.sum()), FAR_FIRST + 1), None if units is None else units[near]) & 15
    out: Ints = sign * (beyond + _REACH + 1)
    if not near.all():
        out[~near] = port.raw(int((~near).sum()), None if raw is None else raw[~near]) - _RAW_ZERO
    return out


def code_maps(
    port: Port,
    names: tuple[str, ...],
    shape: tuple[int, int],
    maps: Ints | None,
    past: Ints,
    still: Ints | None = None,
) -> Ints:
    """Code integer maps together; returns them [C,h,w].

    names: of "dy", "dx", "thumb0".."thumb2", "activity", "source", in coding order; maps [C,h,w] to write, None to
    read; past [C,h,w]: the same maps of the previous frame (−1 where activity or source have none); still [h,w]: where
    not 0, dy and dx are 0 and not coded.
    """
    h, w = shape
    out = np.zeros((len(names), h * w), np.int64)
    given = None if maps is None else maps.reshape(len(names), -1)
    before = past.reshape(len(names), -1)
    moving = np.ones(h * w, np.bool_) if still is None else (still == 0).reshape(-1)
    for stage, targets, around in _passes(h, w):
        other = np.zeros(targets.size, np.int64)
        for c, name in enumerate(names):
            old = before[c, targets]
            want = None if given is None else given[c, targets]
            if name == "source":
                fellows = out[c][around].sum(0) if stage else np.zeros_like(old)
                rows = SOURCE_FIRST + (stage * 5 + fellows) * 3 + np.clip(old, -1, 1) + 1
                out[c, targets] = port.symbols(rows, want) & 1
                continue
            if stage == 0:
                guess = np.maximum(old, 0) if name == "activity" else old
                spread = tie = np.zeros(targets.size, np.int64)
            else:
                four = out[c][around]
                low, high = four.min(0), four.max(0)
                middle = four.sum(0) - low - high
                guess, tie, spread = middle >> 1, middle & 1, high - low
            if name == "activity":
                near, before_it = (
                    np.minimum(np.maximum(a, low), 9) for a, low in ((guess, 0), (old, -1))
                )  # np.clip is slow
                rows = _ACTIVITY_FIRST + ((stage == 2) * 10 + near) * 11 + before_it + 1
                out[c, targets] = port.symbols(np.asarray(rows, np.int64), want)
                continue
            drift = old - guess if name in ("dy", "dx") else np.zeros_like(guess)
            turn = np.where(drift < 0, -1, 1)
            # a tie's other value is one above the guess: 1 where that is towards the previous frame, 2 where it is not
            rows = _delta_rows(name, stage, spread, np.abs(drift), np.where(turn < 0, 2 * tie, tie), other)
            sent = moving[targets] if name in ("dy", "dx") else np.ones_like(guess, np.bool_)
            delta = np.zeros_like(guess)
            delta[sent] = _code_delta(port, rows[sent], None if want is None else ((want - guess) * turn)[sent])
            out[c, targets] = np.where(sent, guess + delta * turn, 0)
            other = np.minimum(np.abs(delta), _OTHERS - 1)
    return out.reshape(len(names), h, w)


def code_flags(port: Port, before: int, flags: int | None) -> int:
    """Three flags of a frame, known those of the frame before."""
    return int(port.symbols(np.array([FLAGS_FIRST + before]), None if flags is None else np.array([flags]))[0]) & 7


def code_choice(port: Port, candidates: Ints, act: Ints, choice: Ints | None) -> Ints:
    """Whose vector each 8×8 block takes: [h,w] in 0..3.

    candidates [4,C,h,w]: the vectors; act [h,w]: activity, spread to the blocks.  Blocks whose candidates are all one
    vector are not coded.  Half of the blocks (a checkerboard) go first, the others know how many around them chose
    another's vector.
    """
    apart = np.abs(candidates[1:] - candidates[:1]).max(1)  # [3,h,w]
    differs = (apart > 0).astype(np.int64)
    mask = differs[0] + 2 * differs[1] + 4 * differs[2]
    h, w = mask.shape
    size = np.searchsorted(np.array([3, 9]), apart.max(0), side="right")
    rows = ((mask * 3 + size) * 3 + np.searchsorted(np.array([1, 3]), act, side="right")) * 4
    even = np.add.outer(np.arange(h), np.arange(w)) % 2 == 0
    out = np.zeros((h, w), np.int64)
    for turn in (even, ~even):
        coded = turn & (mask > 0)
        if turn is not even:
            p = np.pad((out > 0).astype(np.int64), 1)
            around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
            rows = rows + 1 + np.minimum(around, 2)
        want: Any = None if choice is None else choice[coded]
        out[coded] = port.symbols(_CHOICE_FIRST + rows[coded], want) & 3
    return out
