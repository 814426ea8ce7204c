"""Pictures of K grey levels, sample by sample: each level under a table chosen by what stands to the left and above.

    samples with x + 2y = s are one wave: their neighbours  NN NNE / NW N NE / WW W  lie in waves before it

A wave is coded at once.  Neighbours are looked at as dark, between or bright; that, and what their gradient predicts,
name the table.  Outside the picture all is dark.  Large K looks at four neighbours only, so that its tables fill up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vcodec.entropy.lattice import Port
from vcodec.entropy.tables import TABLE_SUM, Tables

__all__ = ["RASTER_KS", "code_picture", "context_count", "contexts", "recut"]

Ints = npt.NDArray[np.int64]
RASTER_KS = (2, 4, 8, 16, 32, 64, 128, 256)
"""codebook sizes that have tables"""
_MANY = 16  # up to this K all neighbours are looked at
_WIDE, _NARROW = 3**7 * 3, 3**4 * 6


def context_count(k: int) -> int:
    """Tables of a codebook of K levels."""
    return _WIDE if k <= _MANY else _NARROW


def contexts(picture: Ints, k: int, rows: Ints, columns: Ints) -> Ints:
    """Table of each sample at (rows, columns) of a picture with three dark rows and columns around it."""

    def at(dy: int, dx: int) -> Ints:
        value: Ints = picture[rows + 3 + dy, columns + 3 + dx] * 255 // (k - 1)
        return value

    def tone(value: Ints) -> Ints:
        tones: Ints = (value > 24).astype(np.int64) + (value > 230)
        return tones

    w, n, nw, ne = at(0, -1), at(-1, 0), at(-1, -1), at(-1, 1)
    pattern = ((tone(w) * 3 + tone(n)) * 3 + tone(nw)) * 3 + tone(ne)
    guess = np.clip(w + n - nw, 0, 255)
    if k > _MANY:
        few: Ints = pattern * 6 + np.searchsorted(np.array([12, 64, 128, 192, 243]), guess)
        return few
    for value in (at(0, -2), at(-2, 0), at(-2, 1)):
        pattern = pattern * 3 + tone(value)
    many: Ints = pattern * 3 + np.searchsorted(np.array([85, 170]), guess)
    return many


@lru_cache(maxsize=64)
def _waves(height: int, width: int) -> tuple[tuple[Ints, Ints], ...]:
    """(rows, columns) of each wave."""
    rows, columns = (a.ravel() for a in np.mgrid[0:height, 0:width])
    order = np.lexsort((rows, columns + 2 * rows))
    number = (columns + 2 * rows)[order]
    cuts = np.flatnonzero(np.diff(number)) + 1
    return tuple(zip(np.split(rows[order], cuts), np.split(columns[order], cuts)))


def code_picture(port: Port, k: int, shape: tuple[int, int], picture: Ints | None) -> Ints:
    """Write a picture [h,w] of levels 0..K−1, or read one; port: over the tables of K."""
    height, width = shape
    out = np.zeros((height + 6, width + 6), np.int64)
    if picture is not None:
        out[3:-3, 3:-3] = picture
    for rows, columns in _waves(height, width):
        want = None if picture is None else picture[rows, columns]
        got = port.symbols(contexts(out, k, rows, columns), want)
        out[rows + 3, columns + 3] = got
    return out[3:-3, 3:-3]


def recut(larger: Tables, k: int) -> Tables:
    """Tables of a codebook of K levels from those of a larger one, in integers: each level takes those nearest to it.

    Where the numbers of contexts differ, levels are taken to be equally likely.
    """
    size = larger.symbols
    if context_count(size) != context_count(k):
        rows = np.full((context_count(k), k), TABLE_SUM // k, np.int64)
        rows[:, 0] += TABLE_SUM - rows.sum(1)
        return Tables(rows)
    nearest = (2 * np.arange(size) * (k - 1) + (size - 1)) // (2 * (size - 1))
    rows = np.zeros((len(larger.rows), k), np.int64)
    np.add.at(rows.T, nearest, larger.rows.T)
    rows += 1  # no level is impossible
    rows[np.arange(len(rows)), rows.argmax(1)] -= k
    return Tables(rows)
