"""Integer probability tables and the range coder that reads them: constriction's, compiled (reading.py, writing.py).

A table is a row of integers that sum to 2^16.  Symbols are coded in ascending order of their tables, so that one call
codes all that a step of a frame has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from vcodec.entropy import reading, writing
from vcodec.errors import DamagedError, WeightsError

__all__ = ["TABLE_SUM", "SymbolReader", "SymbolWriter", "Tables", "integer_rows", "runs_of"]

TABLE_SUM = 1 << 16
_RAW_BITS = 16

Ints = npt.NDArray[np.int64]


def integer_rows(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows of non-negative weights -> integers that sum to TABLE_SUM; what has weight keeps at least 1."""
    rows = np.zeros(weights.shape, np.int64)
    for i, row in enumerate(weights):
        total = row.sum()
        if total <= 0:
            raise WeightsError("a probability table has no weight at all")
        scaled = np.where(row > 0, np.maximum(np.floor(row / total * TABLE_SUM), 1), 0).astype(np.int64)
        scaled[int(scaled.argmax())] += TABLE_SUM - int(scaled.sum())
        rows[i] = scaled
    return rows


class Tables:
    """Rows of integer probabilities [N,S], each summing to TABLE_SUM."""

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        if rows.ndim != 2 or (rows < 0).any() or (rows.sum(1) != TABLE_SUM).any():
            raise WeightsError("probability tables are damaged: each row must sum to 65536")
        self.rows = rows.astype(np.int64)
        self.start: Tables = self  # what these tables came from (following.py)
        self.models: list[Any] = [None] * len(self.rows)  # of each row, once it was asked for

    def moved(self, rows: Ints, cumulative: npt.NDArray[np.uint64], likeliest: Ints) -> Tables:
        """Other rows in place of these, with what follows from them."""
        out = object.__new__(Tables)
        out.rows, out.start, out.models = rows, self.start, [None] * len(rows)
        out.cumulative, out.likeliest = cumulative, likeliest
        return out

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"models": [None] * len(self.rows)}  # constriction's do not pickle

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """What each symbol takes [N,S]; what has no weight is infinitely dear."""
        return _bits()[self.rows]

    @cached_property
    def cumulative(self) -> npt.NDArray[np.uint64]:
        """Cumulative integers [N,S+1], as constriction has them."""
        return reading.cumulative(self.rows, TABLE_SUM.bit_length() - 1)

    @cached_property
    def likeliest(self) -> Ints:
        """The most probable symbol of each row."""
        found: Ints = self.rows.argmax(1)
        return found

    @property
    def symbols(self) -> int:
        """Size of the alphabet."""
        return int(self.rows.shape[1])

    def model(self, row: int) -> Any:
        """constriction's model of a row (kept)."""
        found = self.models[row]
        if found is None:
            found = self.models[row] = constriction.stream.model.Categorical(self.rows[row] / TABLE_SUM, perfect=False)
        return found


@cache
def _bits() -> npt.NDArray[np.float64]:
    """What a symbol takes that has so many of TABLE_SUM [TABLE_SUM+1]."""
    with np.errstate(divide="ignore"):
        bits: npt.NDArray[np.float64] = -np.log2(np.arange(TABLE_SUM + 1) / TABLE_SUM)
    return bits


def runs_of(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Order that sorts by row, and row and length of each run in it."""
    order = np.argsort(rows, kind="stable")
    ordered = rows.take(order)
    stops = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))
    return order, ordered.take(stops - 1), np.diff(stops, prepend=0)


_UNIFORM = constriction.stream.model.Uniform(1 << _RAW_BITS)


class SymbolWriter:
    """Writes symbols under tables; counts them and the bits they should take."""

    def __init__(self) -> None:
        self._state = writing.begin()
        self._words = np.empty(1024, np.uint32)
        self.count = 0
        self.expected_bits = 0.0

    def write(
        self, tables: Tables, rows: npt.NDArray[Any], symbols: npt.NDArray[Any], ends: Sequence[int] = ()
    ) -> None:
        """symbols[i] under tables.rows[rows[i]]; both 1-D.  ends: of parts that are coded one after the other."""
        if rows.size == 0:
            return
        given = rows.astype(np.int64, copy=False), symbols.astype(np.int64, copy=False)
        self._make_room(rows.size)
        known, parts = (tables.rows, tables.cumulative, _bits()), np.array(ends or [rows.size])
        bits = writing.write_rows(self._state, self._words, *known, *given, parts, self.expected_bits)
        if bits < 0:
            raise ValueError("a symbol is in no table")
        self.expected_bits = bits
        self.count += int(rows.size)

    def write_raw(self, values: npt.NDArray[Any]) -> None:
        """Integers 0..65535 without a model."""
        if values.size:
            self._make_room(values.size)
            writing.write_alike(self._state, self._words, _RAW_BITS, values.astype(np.int64, copy=False))
            self.count += int(values.size)
            self.expected_bits += float(_RAW_BITS * values.size)

    def _make_room(self, symbols: int) -> None:
        needed = writing.room(self._state, symbols)
        if needed > len(self._words):
            self._words = np.concatenate([self._words, np.empty(max(needed, len(self._words)), np.uint32)])

    def watch(self, kind: str, seen: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> None:
        """Told of symbols of side information and of what was seen around them; one that counts keeps them."""

    def finish(self) -> bytes:
        """The payload: little-endian words without the zeros at the end (reading past the end reads zeros)."""
        self._make_room(0)
        words = self._words.copy()
        return words[: writing.finish(self._state.copy(), words)].astype("<u4", copy=False).tobytes()


class SymbolReader:
    """Reads what SymbolWriter wrote, given the same tables and rows."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise DamagedError("a payload is not a whole number of 32-bit words")
        self._words = np.frombuffer(payload, "<u4").astype(np.uint32)
        self._state = reading.begin(self._words)
        self._coder: Any = None  # constriction's, once something was taken under its models
        self.count = 0

    def read(self, tables: Tables, rows: npt.NDArray[Any]) -> Ints:
        """Symbols under rows, 1-D."""
        found = np.empty(rows.size, np.int64)
        self.count += int(rows.size)
        if self._coder is None:
            given = rows.astype(np.int64, copy=False)
            known = (tables.cumulative, tables.likeliest, given)
            _refuse_unless(reading.read_rows(self._state, self._words, *known, found))
        elif rows.size:
            order, keys, lengths = runs_of(rows.astype(np.uint16))  # which sorts fast
            found[order] = self.take([tables.model(row) for row in keys.tolist()], lengths.tolist())
        return found

    def read_raw(self, n: int) -> Ints:
        """Integers 0..65535 without a model."""
        self.count += n
        if self._coder is not None:
            return self.take([_UNIFORM], [n]).astype(np.int64) if n else np.empty(0, np.int64)
        found = np.empty(n, np.int64)
        _refuse_unless(reading.read_alike(self._state, self._words, _RAW_BITS, found))
        return found

    def take(self, models: list[Any], lengths: list[Any]) -> npt.NDArray[np.int32]:
        """So many letters under each of constriction's models, or one under each of its parameters; not counted."""
        if self._coder is None:
            self._coder = reading.resumed(self._state, self._words)
        try:
            return np.concatenate(list(map(self._coder.decode, models, lengths)))
        except AssertionError as error:  # constriction's, for data that no encoder makes
            raise DamagedError(_NOT_MADE) from error

    def mark(self) -> Any:
        """Where it stands, for `back`."""
        return self._state.copy(), None if self._coder is None else self._coder.clone()

    def back(self, mark: Any) -> None:
        """To where it stood; once a mark."""
        self._state, self._coder = mark

    def finish(self) -> None:
        """Refuse a payload that does not end where its symbols do."""
        ended = reading.exhausted(self._state, self._words) if self._coder is None else self._coder.maybe_exhausted()
        if not ended:
            raise DamagedError("a payload holds more than its symbols")


_NOT_MADE = "a payload is not what its tables would have made"


def _refuse_unless(made: bool) -> None:
    if not made:
        raise DamagedError(_NOT_MADE)
