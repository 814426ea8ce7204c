"""Integer probability tables and the range coder that reads them (constriction).

A table is a row of integers that sum to 2^16.  Symbols are coded in ascending order of their tables.  All symbols of
one table go in one call, so that a frame of 150,000 indices costs a few dozen calls; where there are about as many
tables as symbols (side information), one call with a table for each symbol gives the same bytes, many times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from vcodec.errors import DamagedError, WeightsError

__all__ = ["TABLE_SUM", "SymbolReader", "SymbolWriter", "Tables", "integer_rows", "read_abreast"]

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
        with np.errstate(divide="ignore"):
            self.bits = -np.log2(self.rows / TABLE_SUM)  # [N,S]; what has no weight is infinitely dear
        self.probabilities = self.rows / TABLE_SUM  # exact: integers over a power of two
        self.models: list[Any] = [None] * len(self.rows)  # of each row, once it was asked for

    @property
    def symbols(self) -> int:
        """Size of the alphabet."""
        return int(self.rows.shape[1])

    def model(self, row: int) -> Any:
        """constriction's model of a row (kept)."""
        found = self.models[row]
        if found is None:
            found = self.models[row] = constriction.stream.model.Categorical(self.probabilities[row], perfect=False)
        return found


def _sorted(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Order that sorts by row, the rows in that order, and where one differs from the one before it."""
    order = rows.argsort(kind="stable")
    ordered = rows[order]
    return order, ordered, (ordered[1:] != ordered[:-1]).nonzero()[0]


def _runs(ordered: npt.NDArray[Any], changes: npt.NDArray[Any]) -> list[tuple[int, int, int]]:
    """(row, start, stop) of each run of one row."""
    starts, stops = [0, *(changes + 1).tolist()], [*(changes + 1).tolist(), len(ordered)]
    return list(zip(ordered[starts].tolist(), starts, stops))


_EACH = constriction.stream.model.Categorical(perfect=False)  # a table given with each symbol
_SHORT = 8  # symbols in a run, on average, up to which that is faster
_UNIFORM = constriction.stream.model.Uniform(1 << _RAW_BITS)


class SymbolWriter:
    """Writes symbols under tables; counts them and the bits they should take."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self.count = 0
        self.expected_bits = 0.0

    def write(self, tables: Tables, rows: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> None:
        """symbols[i] under tables.rows[rows[i]]; both 1-D."""
        if rows.size == 0:
            return
        order, ordered, changes = _sorted(rows.astype(np.uint16))  # which sorts fast
        given = symbols[order].astype(np.int32)
        if len(given) <= _SHORT * (len(changes) + 1):
            self._coder.encode(given, _EACH, tables.probabilities.take(ordered, 0))
        else:
            for row, start, stop in _runs(ordered, changes):
                self._coder.encode(given[start:stop], tables.model(row))
        self.expected_bits += float(tables.bits[ordered, given].sum())
        self.count += int(rows.size)

    def write_raw(self, values: npt.NDArray[Any]) -> None:
        """Integers 0..65535 without a model."""
        if values.size:
            self._coder.encode(values.astype(np.int32), _UNIFORM)
            self.count += int(values.size)
            self.expected_bits += float(_RAW_BITS * values.size)

    def finish(self) -> bytes:
        """The payload: little-endian words without the zeros at the end (reading past the end reads zeros)."""
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


class SymbolReader:
    """Reads what SymbolWriter wrote, given the same tables and rows."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise DamagedError("a payload is not a whole number of 32-bit words")
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(payload, "<u4").astype(np.uint32))
        self.count = 0

    def read(self, tables: Tables, rows: npt.NDArray[Any]) -> Ints:
        """Symbols under rows, 1-D."""
        found: Ints = read_abreast([self], tables, rows[None])[0].astype(np.int64)
        return found

    def read_raw(self, n: int) -> Ints:
        """Integers 0..65535 without a model."""
        if n == 0:
            return np.empty(0, np.int64)
        self.count += n
        try:
            return np.asarray(self._coder.decode(_UNIFORM, n), np.int64)
        except AssertionError as error:
            raise _unreadable() from error

    def finish(self) -> None:
        """Refuse a payload that does not end where its symbols do."""
        if not self._coder.maybe_exhausted():
            raise DamagedError("a payload holds more than its symbols")


def read_abreast(readers: Sequence[SymbolReader], tables: Tables, rows: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """From each of several payloads, symbols under its row of rows [B,n]: [B,n]."""
    if rows.size == 0:
        return np.zeros(rows.shape, np.int32)
    count = len(tables.rows)
    keys = rows.astype(
        np.uint16 if count * len(readers) <= 2**16 else np.uint32, copy=False
    )  # the narrow one sorts faster
    if len(readers) > 1:
        keys = keys + (count * np.arange(len(readers), dtype=keys.dtype))[:, None]
    order, ordered, changes = _sorted(keys.ravel())
    decoders, models = [reader._coder.decode for reader in readers], tables.models
    try:
        if len(readers) == 1 and len(ordered) <= _SHORT * (len(changes) + 1):
            parts = [decoders[0](_EACH, tables.probabilities.take(ordered, 0))]
        else:
            parts = []
            for key, start, stop in _runs(ordered, changes):
                which, row = divmod(key, count)
                parts.append(decoders[which](models[row] or tables.model(row), stop - start))
    except AssertionError as error:
        raise _unreadable() from error
    for reader in readers:
        reader.count += rows.shape[1]
    out = np.empty(rows.size, np.int32)
    out[order] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return out.reshape(rows.shape)


def _unreadable() -> DamagedError:
    """For constriction's AssertionError: data that no encoder makes."""
    return DamagedError("a payload is not what its tables would have made")
