"""Integer maps of a frame (motion, thumbnail, activity) from coarse to fine, each value guessed from four around it.

    pass 0: every 8th value     then for s = 8, 4, 2: centres of s×s squares, then the middles of their sides

Within a pass nothing depends on anything else of it, so a pass is a handful of array operations.  The table of each
value is chosen by a decision tree (trees.py) over what is known around it (surroundings.py): integers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.surroundings import (
    COLUMNS,
    Frame,
    Past,
    guessed,
    look_at_activity,
    look_at_choices,
    look_at_map,
    look_at_plane,
    look_at_vectors,
    past_of,
)
from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables
from vcodec.entropy.trees import Trees
from vcodec.grain import GRAINS
from vcodec.loops import KEPT
from vcodec.scale import BOOSTS, FLATNESSES, Quality
from vcodec.sources import MEMORY, SOURCES

__all__ = [
    "BOOST_FIRST",
    "FAR_FIRST",
    "FLAGS_FIRST",
    "FLATNESS_FIRST",
    "GRAIN_FIRST",
    "GROWN_FIRST",
    "OFFSETS_FIRST",
    "SIDE_SYMBOLS",
    "Contexts",
    "LaterPort",
    "Port",
    "ReadPort",
    "WritePort",
    "code_choice",
    "code_flags",
    "code_grain",
    "code_maps",
    "code_offsets",
    "code_quality",
    "code_thumbnail",
]

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
SIDE_SYMBOLS = 32
_ESCAPE = 31
_REACH = 15  # deltas within ±15 have symbols of their own
_RAW_ZERO = 1 << 15

# rows of the one table set: flags of a frame, sixteens of far deltas, their units, offsets of a thumbnail, the grain of
# a frame's vectors, the cascade's flatness, a frame's boost, then the trees' leaves
FLAGS_FIRST = 0
_FLAGS_ROWS = 16
FAR_FIRST = FLAGS_FIRST + _FLAGS_ROWS
OFFSETS_FIRST = FAR_FIRST + 2
GRAIN_FIRST = OFFSETS_FIRST + 1
FLATNESS_FIRST = GRAIN_FIRST + len(GRAINS) + 1
BOOST_FIRST = FLATNESS_FIRST + FLATNESSES + 1
GROWN_FIRST = BOOST_FIRST + 2
_FARTHEST = 15
_NONE = np.empty(0, np.int64)
_MIDDLE = 15  # of a thumbnail's values: what is guessed where nothing is known


class Port(Protocol):
    """One end of the coder: the writing end returns what it was given, the reading end what it read.

    coded: rows of tables so far, and symbols under them.
    """

    coded: list[tuple[Ints, Ints]]

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints: ...
    def grown(self, trees: Trees, kind: str, seen: Small, symbols: Ints | None) -> Ints: ...
    def raw(self, count: int, values: Ints | None) -> Ints: ...


class WritePort:
    """Symbols into a SymbolWriter."""

    def __init__(self, writer: SymbolWriter, tables: Tables) -> None:
        self.writer, self.tables = writer, tables
        self.coded: list[tuple[Ints, Ints]] = []

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints:
        """Write symbols under rows."""
        if symbols is None:
            raise ValueError("nothing to write")
        self.writer.write(self.tables, rows, symbols)
        self.coded.append((rows, symbols))
        return symbols

    def grown(self, trees: Trees, kind: str, seen: Small, symbols: Ints | None) -> Ints:
        """Write symbols of a kind under the tables that trees choose for what is seen [n,COLUMNS]."""
        if symbols is None:
            raise ValueError("nothing to write")
        self.writer.watch(kind, seen, symbols)
        return self.symbols(trees.rows(kind, seen), symbols)

    def raw(self, count: int, values: Ints | None) -> Ints:
        """Write 16-bit values."""
        if values is None or len(values) != count:
            raise ValueError("nothing to write")
        self.writer.write_raw(values)
        return values


class LaterPort(WritePort):
    """Keeps symbols until ``close``: written together they take less."""

    def __init__(self, writer: SymbolWriter, tables: Tables) -> None:
        super().__init__(writer, tables)
        self._written = 0  # of what was coded

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints:
        """Keep symbols under rows."""
        if symbols is None:
            raise ValueError("nothing to write")
        self.coded.append((rows, symbols))
        return symbols

    def raw(self, count: int, values: Ints | None) -> Ints:
        """Write 16-bit values, after what was kept."""
        self.close()
        return super().raw(count, values)

    def close(self) -> None:
        """Write what was kept."""
        parts = [part for part in self.coded[self._written :] if part[0].size]
        self._written = len(self.coded)
        if parts:
            rows, symbols = (np.concatenate(some) for some in zip(*parts, strict=True))
            ends = np.cumsum([len(part[0]) for part in parts]).tolist()
            self.writer.write(self.tables, rows, symbols, ends)


class ReadPort:
    """Symbols out of a SymbolReader."""

    def __init__(self, reader: SymbolReader, tables: Tables) -> None:
        self.reader, self.tables = reader, tables
        self.coded: list[tuple[Ints, Ints]] = []

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints:
        """Read symbols under rows."""
        self.coded.append((rows, self.reader.read(self.tables, rows)))
        return self.coded[-1][1]

    def grown(self, trees: Trees, kind: str, seen: Small, symbols: Ints | None) -> Ints:
        """Read symbols of a kind under the tables that trees choose for what is seen [n,COLUMNS]."""
        return self.symbols(trees.rows(kind, seen), None)

    def raw(self, count: int, values: Ints | None) -> Ints:
        """Read 16-bit values."""
        return self.reader.read_raw(count)


@lru_cache(maxsize=32)
def _passes(h: int, w: int) -> tuple[tuple[int, Ints, Ints], ...]:
    """(number, flat targets [n], flat neighbours [4,n]) of each pass; the first pass has itself for neighbours."""
    rows, cols = np.mgrid[0:h, 0:w]
    base = ((rows % 8 == 0) & (cols % 8 == 0)).ravel().nonzero()[0]
    out = [(0, base, np.stack([base] * 4))]

    def inside(y: Ints, x: Ints) -> npt.NDArray[np.bool_]:
        return (y >= 0) & (y < h) & (x >= 0) & (x < w)

    for turn, s in enumerate((8, 4, 2)):
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
            out.append((2 * turn + (1 if diagonal else 2), y * w + x, np.ascontiguousarray(table)))
    return tuple(out)


def _code_delta(port: Port, trees: Trees, kind: str, seen: Small, delta: Ints | None) -> Ints:
    symbols = None if delta is None else np.where(np.abs(delta) <= _REACH, delta + _REACH, _ESCAPE)
    got = port.grown(trees, kind, seen, symbols)
    out = got - _REACH
    far = np.flatnonzero(got == _ESCAPE)
    if far.size:
        out[far] = _code_far(port, far.size, None if delta is None else delta[far])
    return out


def _code_far(port: Port, count: int, delta: Ints | None) -> Ints:
    """Deltas beyond the reach: sign and sixteens under one table, units under another; what is farther still, raw."""
    sixteens, units, raw = (None, None, None) if delta is None else _parts_of(delta)
    got = port.symbols(np.full(count, FAR_FIRST), sixteens)
    near = int(np.count_nonzero(got >> 1 < _FARTHEST))
    beside = port.symbols(np.full(near, FAR_FIRST + 1), units)
    rest = port.raw(count - near, raw) if near < count else _NONE
    return _far_of(got, beside, rest)


@njit(cache=KEPT, nogil=True)
def _parts_of(delta: Ints) -> tuple[Ints, Ints, Ints]:
    """Sixteens and signs [n] of far deltas [n], units of the nearer ones, the others in 16 bits."""
    sixteens, units, raw, near = np.empty_like(delta), np.empty_like(delta), np.empty_like(delta), 0
    for i in range(len(delta)):
        beyond = abs(delta[i]) - _REACH - 1
        steps = min(beyond >> 4, _FARTHEST)
        sixteens[i] = 2 * steps + (delta[i] < 0)
        units[near], raw[i - near] = beyond & 15, min(max(delta[i], -_RAW_ZERO), _RAW_ZERO - 1) + _RAW_ZERO
        near += steps < _FARTHEST
    return sixteens, units[:near], raw[: len(delta) - near]


@njit(cache=KEPT, nogil=True)
def _far_of(sixteens: Ints, units: Ints, raw: Ints) -> Ints:
    """Far deltas [n] of such parts."""
    out, near = np.empty_like(sixteens), 0
    for i in range(len(out)):
        steps = sixteens[i] >> 1
        if steps < _FARTHEST:
            size = 16 * steps + (units[near] & 15) + _REACH + 1
            out[i] = -size if sixteens[i] & 1 else size
            near += 1
        else:
            out[i] = raw[i - near] - _RAW_ZERO
    return out


class Contexts(NamedTuple):
    """What all maps of a frame are coded under.

    past: of the frame before; frame: see there.
    """

    trees: Trees
    frame: Frame
    past: Past


def code_maps(
    port: Port, contexts: Contexts, names: Sequence[str], shape: tuple[int, int], maps: Ints | None, still: Ints
) -> Ints:
    """Code integer maps together; returns them [C,h,w].

    names: ("source",) or ("dy", "dx", "activity"); maps [C,h,w] to write, None to read; still [h,w]: the source where
    that is known; where it is the memory, dy and dx are 0 and not coded.
    """
    trees, frame, past = contexts
    h, w = shape
    out = np.zeros((len(names), h * w), np.int64)
    given = None if maps is None else maps.reshape(len(names), -1)
    if names[0] == "source":
        nothing = np.zeros(h * w, np.int64)
        for number, targets, around in _passes(h, w):
            seen = np.zeros((len(targets), COLUMNS), np.int32)
            look_at_map(number, targets, around, frame, nothing, out[0], past.activity, past.source, seen)
            out[0, targets] = port.grown(trees, "source", seen, None if given is None else given[0, targets]) % SOURCES
        return out.reshape(1, h, w)
    source, moves, activity = still.reshape(-1), out[:2], out[2]
    for number, targets, around in _passes(h, w):
        common, known = np.zeros((len(targets), COLUMNS), np.int32), number > 0
        look_at_map(number, targets, around, frame, activity, source, past.activity, past.source, common)
        guess, deltas = np.empty((2, len(targets)), np.int64), np.zeros((2, len(targets)), np.int64)
        guessed(known, targets, around, moves, source, past.motion, guess)
        sent = source[targets] != MEMORY
        for c, kind in enumerate(names[:2]):
            seen, turn = common.copy(), np.empty(len(targets), np.int64)
            look_at_vectors(c, known, targets, around, moves, guess, past.motion, past.spread, deltas[0], turn, seen)
            want = None if given is None else ((given[c, targets] - guess[c]) * turn)[sent]
            deltas[c, sent] = _code_delta(port, trees, kind, seen[sent], want)
            deltas[c] *= turn
            out[c, targets] = np.where(sent, guess[c] + deltas[c], 0)
        look_at_activity(known, targets, around, moves, source, past.motion, deltas, common)
        activity[targets] = port.grown(trees, names[2], common, None if given is None else given[2, targets])
    return out.reshape(len(names), h, w)


def code_thumbnail(port: Port, trees: Trees, frame: Frame, shape: tuple[int, int], maps: Ints | None) -> Ints:
    """Code a keyframe's three thumbnail planes and its activity [4,h,w] together; maps to write, None to read."""
    h, w = shape
    out = np.zeros((4, h * w), np.int64)
    given = None if maps is None else maps.reshape(4, -1)
    none = past_of(np.zeros((3, h, w), np.int64), np.full((h, w), -1, np.int64))
    for number, targets, around in _passes(h, w):
        common, known = np.zeros((len(targets), COLUMNS), np.int32), number > 0
        look_at_map(number, targets, around, frame, out[3], none.source, none.activity, none.source, common)
        delta = np.zeros(len(targets), np.int64)
        for c in range(3):
            seen, guess = common.copy(), np.full(len(targets), _MIDDLE, np.int64)
            look_at_plane(known, targets, around, out[c], out[max(c - 1, 0)], delta, guess, seen)
            want = None if given is None else given[c, targets] - guess
            delta = _code_delta(port, trees, f"thumb{c}", seen, want)
            out[c, targets] = guess + delta
        out[3, targets] = port.grown(trees, "activity", common, None if given is None else given[3, targets])
    return out.reshape(4, h, w)


def code_flags(port: Port, before: int, flags: int | None) -> int:
    """Four flags of a frame, known those of the frame before."""
    return int(port.symbols(np.array([FLAGS_FIRST + before]), None if flags is None else np.array([flags]))[0]) & 15


def code_grain(port: Port, before: int | None, grain: int | None) -> int:
    """How fine a frame's vectors are, known that of the frame before, or that it had none."""
    row = GRAIN_FIRST + (len(GRAINS) if before is None else GRAINS.index(before))
    got = int(port.symbols(np.array([row]), None if grain is None else np.array([GRAINS.index(grain)]))[0])
    return GRAINS[min(got, len(GRAINS) - 1)]


def code_quality(port: Port, before: Quality | None, quality: Quality | None) -> Quality:
    """A frame's quality, known that of the frame before, or that there was none."""
    boosted = before is not None and before.boost > 0
    rows = np.array([FLATNESS_FIRST + (FLATNESSES if before is None else before.flatness), BOOST_FIRST + boosted])
    flatness, boost = port.symbols(rows, None if quality is None else np.array(quality)).tolist()
    return Quality(flatness % FLATNESSES, boost % BOOSTS)


def code_offsets(port: Port, offsets: Ints | None) -> Ints:
    """Offsets of a thumbnail's three planes [3], 0..7."""
    return port.symbols(np.full(3, OFFSETS_FIRST), offsets) & 7


def code_choice(port: Port, trees: Trees, frame: Frame, coarse: Ints, act: Ints, choice: Ints | None) -> Ints:
    """Whose vector each 8×8 block takes: [2h,2w] in 0..3.

    coarse [3,h,w]: vectors and sources; act [h,w]: activity.  Blocks whose candidates are all one vector are not
    coded.  Half of the blocks (a checkerboard) go first, the others know what those around them chose.
    """
    h, w = act.shape
    out = np.zeros((2 * h, 2 * w), np.int64)
    flat = out.reshape(-1)
    for odd in (0, 1):
        places, seen = np.empty(2 * h * w, np.int64), np.zeros((2 * h * w, COLUMNS), np.int32)
        n = look_at_choices(coarse, act, frame, odd, out, places, seen)
        at = places[:n]
        want: Any = None if choice is None else choice.reshape(-1)[at]
        flat[at] = port.grown(trees, "choice", seen[:n], want) & 3
    return out
