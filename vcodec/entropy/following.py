"""Tables that follow what a GOP holds: a frame's symbols make them likelier in the frames after it.

    the model's tables · strength + counts of what was coded, which fade ─► tables of the next frame

In integers alone, for writer and reader alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.reading import cumulative_row
from vcodec.entropy.tables import TABLE_SUM, Tables
from vcodec.loops import KEPT

__all__ = ["Coded", "Following"]

Ints = npt.NDArray[np.int64]
Wide = npt.NDArray[np.uint64]
Coded = Sequence[tuple[Ints, Ints]]  # rows of tables, and the symbols under them
_UNIT = 32  # what a symbol counts
_FADING = 5  # of counts 1 / 2^this is forgotten a frame


class Following(NamedTuple):
    """counts [N,S] of what was coded under tables, and the tables of the next frame."""

    counts: Ints
    tables: Tables

    @classmethod
    def fresh(cls, tables: Tables) -> Following:
        """Where nothing was coded yet."""
        return cls(np.zeros(tables.rows.shape, np.int64), tables)

    def after(self, coded: Coded, strength: int) -> Following:
        """Once a frame was coded; strength: so many symbols are what the model's own tables count."""
        start = self.tables.start
        counts = np.empty_like(self.counts)
        _fade(self.counts.reshape(-1), counts.reshape(-1))
        if coded:
            rows, symbols = (np.concatenate(some) for some in zip(*coded, strict=True))
            _count(rows, symbols, counts)
        moved = np.empty_like(start.rows), np.empty_like(start.cumulative), np.empty_like(start.likeliest)
        _blend(start.rows, start.cumulative, start.likeliest, counts, strength * _UNIT, *moved)
        return Following(counts, start.moved(*moved))


@njit(cache=KEPT, nogil=True)
def _fade(counts: Ints, out: Ints) -> None:
    """What is left of counts a frame later."""
    for i in range(len(counts)):
        out[i] = counts[i] - (counts[i] >> _FADING)


@njit(cache=KEPT, nogil=True)
def _count(rows: Ints, symbols: Ints, out: Ints) -> None:
    """Add symbols under rows to counts out [N,S]."""
    for i in range(len(rows)):
        out[rows[i], symbols[i]] += _UNIT


@njit(cache=KEPT, nogil=True)
def _blend(
    start: Ints,
    sums: Wide,
    best: Ints,
    counts: Ints,
    strength: int,
    rows: Ints,
    cumulative: Wide,
    likeliest: Ints,
) -> None:
    """Rows [N,S], their cumulative integers [N,S+1] and likeliest symbols [N] of those at the start.

    Where nothing counts they stay.  What a symbol has is rounded down, but not to nothing; the likeliest has what is
    left.
    """
    size = start.shape[1]
    for n in range(len(start)):
        given, met = start[n], counts[n]
        seen = 0
        for s in range(size):
            seen += met[s]
        if seen == 0:
            rows[n], cumulative[n], likeliest[n] = given, sums[n], best[n]
            continue
        whole, left, most = np.uint64(strength + seen), TABLE_SUM, 0
        for s in range(size):
            share = int(np.uint64(given[s] * strength + met[s] * TABLE_SUM) // whole)
            if given[s]:
                share = max(share, 1)
            rows[n, s] = share
            left -= share
            if share > rows[n, most]:
                most = s
        rows[n, most] += left
        likeliest[n] = most
        cumulative_row(rows[n], cumulative[n])
