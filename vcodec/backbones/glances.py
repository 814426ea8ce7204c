"""What a glance at 8-bit planes tells, compiled for this CPU: whether light has changed, and where there is texture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["relit", "texture"]

Bytes = npt.NDArray[np.uint8]
_NONE, _TOP = np.float32(0.0), np.float32(255.0)
_LIGHT = 0.9  # of the difference between two frames is left without that of their means, where light has changed
_LITTLE = 0.09  # of that difference: means that differ by no more leave over 0.9 of it


@njit(cache=KEPT, nogil=True)
def _changed(now: Bytes, last: Bytes) -> float:
    """How much lighter a plane [H,W] has become as a whole, levels; 0 where that explains little of how they differ."""
    total, size = 0, 0
    for y in range(now.shape[0]):
        here, there, added, sizes = now[y], last[y], np.int32(0), np.int32(0)
        for x in range(len(here)):
            off = np.int32(here[x]) - np.int32(there[x])
            added += off
            sizes += abs(off)
        total += int(added)
        size += int(sizes)
    if abs(total) < _LITTLE * size:
        return 0.0
    change, left = np.float32(total / now.size), 0.0
    for y in range(now.shape[0]):
        row = np.float32(0.0)
        for x in range(now.shape[1]):
            row += abs(np.float32(now[y, x]) - np.float32(last[y, x]) - change)
        left += float(row)
    return float(change) if left < _LIGHT * size else 0.0


@njit(cache=KEPT, nogil=True)
def _lit(plane: Bytes, change: np.float32, out: Bytes) -> None:
    """A flat plane, darker by so much."""
    for i in range(len(plane)):
        level = np.rint(np.float32(plane[i]) - change)
        out[i] = np.uint8(np.int32(min(max(level, _NONE), _TOP)))


def relit(now: Bytes, last: Bytes) -> tuple[Bytes, bool]:
    """A plane [H,W] in the light of the last one, and whether that is another."""
    change = _changed(now, last)
    if not change:
        return now, False
    out = np.empty_like(now)
    _lit(now.reshape(-1), np.float32(change), out.reshape(-1))
    return out, True


@njit(cache=KEPT, nogil=True)
def texture(plane: Bytes, out: npt.NDArray[np.float32]) -> None:
    """Mean distance of samples from the means of their 8×8 blocks, in each 16×16 block of a plane: out [H/16,W/16]."""
    out[:] = 0
    w = 16 * out.shape[1]
    sums, off = np.empty(w, np.int32), np.empty(w, np.int32)
    for y in range(2 * out.shape[0]):
        sums[:] = 0
        for i in range(8):
            row = plane[8 * y + i]
            for x in range(w):
                sums[x] += np.int32(row[x])
        for x in range(0, w, 8):
            sums[x : x + 8] = sums[x : x + 8].sum()
        off[:] = 0
        for i in range(8):
            row = plane[8 * y + i]
            for x in range(w):
                off[x] += abs(np.int32(64) * np.int32(row[x]) - sums[x])
        for x in range(0, w, 8):
            out[y >> 1, x >> 4] += np.float32(off[x : x + 8].sum()) / np.float32(64 * 256)
