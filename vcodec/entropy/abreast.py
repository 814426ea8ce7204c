"""Reading symbols of several payloads side by side, with short alphabets first.

    rows [B,n] ─► runs of one payload and one table ─► letters of short alphabets ─► symbols
                                    a rare one among them: whole tables, for that payload ◄┘

constriction searches the cumulated table for each symbol, the longer the alphabet, the longer (27 ns for 202 letters,
16 ns for 16).  Most tables are narrow: of most letters they hold the least weight only.  In a short alphabet all of
these at either end are one letter.  Boundaries between letters are the same integers, so the coder goes the same way
until such a letter comes; then what was read of that payload is read again, with the whole tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import constriction
import numpy as np
import numpy.typing as npt

from vcodec.entropy.tables import TABLE_SUM, SymbolReader, Tables, runs_of
from vcodec.errors import DamagedError

__all__ = ["ShortTables", "read_abreast"]

_CODER_SUM = 1 << 24  # what constriction makes of TABLE_SUM
_LONG = 8192  # symbols of a payload among which a rare one is likely

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


class _Alphabets(NamedTuple):
    """For each row of the tables, [N] each."""

    models: npt.NDArray[Any]  # constriction's
    below: Int32s  # 1 where letter 0 stands for rare symbols
    letters: npt.NDArray[np.uint32]  # that stand for one symbol each
    first: Int32s  # symbol of the first of these


class ShortTables:
    """Tables, and their short alphabets."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def __getstate__(self) -> dict[str, Any]:
        return {"tables": self.tables}  # constriction's models do not pickle

    @cached_property
    def short(self) -> _Alphabets:
        """Of each row the letters from the first of more than the least weight to the last; all, where that is most."""
        rows, count = self.tables.rows, self.tables.symbols
        starts = np.zeros((len(rows), count + 1), np.int64)
        np.cumsum(rows, axis=1, out=starts[:, 1:])
        # as constriction's Categorical(perfect=False) has it: each letter has 1, the rest is shared out
        starts = starts * (_CODER_SUM - count) // TABLE_SUM + np.arange(count + 1)
        common = rows > 1
        first, end = common.argmax(1), count - common[:, ::-1].argmax(1)
        pays = 4 * (end - first + 2) <= 3 * count
        first, end = np.where(pays, first, 0), np.where(pays, end, count)
        models = np.empty(len(rows), object)
        for row, (a, b) in enumerate(zip(first.tolist(), end.tolist())):
            cuts = np.unique(np.concatenate([starts[row, :1], starts[row, a : b + 1], starts[row, -1:]]))
            widths = (np.diff(cuts) - 1).astype(np.float64)  # that sum to what is shared out
            models[row] = constriction.stream.model.Categorical(widths, perfect=False)
        below, letters = (first > 0).astype(np.int32), (end - first).astype(np.uint32)
        return _Alphabets(models, below, letters, first.astype(np.int32))


def read_abreast(readers: Sequence[SymbolReader], tables: ShortTables, rows: npt.NDArray[Any]) -> Int32s:
    """From each of several payloads, symbols under its row of rows [B,n]: [B,n]. Raises DamagedError."""
    if rows.size == 0:
        return np.zeros(rows.shape, np.int32)
    count = len(tables.tables.rows)
    first = count * np.arange(len(readers))[:, None]
    dtype = np.uint16 if count * len(readers) <= 2**16 else np.uint32  # the narrow one sorts faster
    order, keys, lengths = runs_of((rows.astype(dtype, copy=False) + first.astype(dtype)).ravel())
    which, row = np.divmod(keys, count)
    ends = np.searchsorted(which, np.arange(len(readers) + 1)).tolist()
    found = np.empty(rows.shape, np.int32)
    again: Sequence[int] = range(len(readers))
    if rows.shape[1] <= _LONG:
        marks = [reader.mark() for reader in readers]
        again = _read_short(readers, tables.short, row, lengths, ends, found)
        for i in again:
            readers[i].back(marks[i])
    for i in again:
        span = slice(ends[i], ends[i + 1])
        found[i] = readers[i].take([tables.tables.model(r) for r in row[span].tolist()], lengths[span].tolist())
    for reader in readers:
        reader.count += rows.shape[1]
    out = np.empty(rows.size, np.int32)
    out[order] = found.ravel()
    return out.reshape(rows.shape)


def _read_short(
    readers: Sequence[SymbolReader], short: _Alphabets, row: Ints, lengths: Ints, ends: list[int], found: Int32s
) -> list[int]:
    """Read symbols [B,n] into found; gives the payloads that have a rare one, whose symbols are not true."""
    models, runs = short.models.take(row).tolist(), lengths.tolist()
    for reader, out, a, b in zip(readers, found, ends, ends[1:]):
        try:
            out[:] = reader.take(models[a:b], runs[a:b])
        except DamagedError:  # it may be sound, and gone astray at a rare one
            out[:] = -1
    letters = found.reshape(-1)
    letters -= short.below.take(row).repeat(lengths)
    rare = letters.view(np.uint32) >= short.letters.take(row).repeat(lengths)
    letters += short.first.take(row).repeat(lengths)
    return np.flatnonzero(rare.reshape(found.shape).any(1)).tolist()
