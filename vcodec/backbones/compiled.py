"""Motion compensation of bytes, compiled for this CPU: in tensors it is slower, memory being slower than arithmetic.

Its twin in tensors (compensation.py) serves other devices, and gives the same integers; a test compares the two.  Numba
compiles at the first call on a machine and keeps the result beside this file (or in its cache folder), and lets go of
Python's lock while a loop runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones.instructions import LANES
from vcodec.backbones.patches import add_shares, moved, put
from vcodec.loops import KEPT

__all__ = ["Weights", "overlapped"]

Bytes = npt.NDArray[np.uint8]
Signed = npt.NDArray[np.int8]
Shorts = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Count = tuple[int, ...]
_FAR, _SOURCES = 28, 8  # bits of a vector's component and of a source
_EIGHT, _FOUR, _TWO = (0,) * 8, (0,) * 4, (0,) * 2  # their lengths are known where loops are compiled


@njit(cache=KEPT, nogil=True)
def _around(flat: Bytes, begin: int, h: int, w: int, top: int, left: int, size: int, out: Bytes, to: int) -> None:
    """A patch of size×size samples of the plane [h,w] that begins somewhere beside flat: out[to:], edges repeated."""
    for r in range(size):
        row = begin + min(max(top + r, 0), h - 1) * w
        for c in range(size):
            out[to + r * size + c] = flat[np.uint64(row + min(max(left + c, 0), w - 1))]  # not from the end, if below 0


@njit(cache=KEPT, nogil=True)
def _name(vectors: Ints, source: Ints, out: Ints) -> None:
    """A number for each vector [2,h,w] and source [h,w], out [h+2,w+2]: around the picture, those of its own edge."""
    h, w = source.shape
    for y in range(h):
        down, across, s, row = vectors[0, y], vectors[1, y], source[y], out[y + 1, 1:]
        for x in range(w):
            row[x] = (((down[x] << _FAR) + across[x] + (1 << (_FAR - 1))) << _SOURCES) + s[x]
        out[y + 1, 0], out[y + 1, w + 1] = out[y + 1, 1], out[y + 1, w]
    out[0], out[h + 1] = out[1], out[h]


@njit(cache=KEPT, nogil=True, forceinline=True)
def _meant(name: int) -> tuple[int, int, int]:
    """The vector and the source that a number stands for."""
    across = ((name >> _SOURCES) & ((1 << _FAR) - 1)) - (1 << (_FAR - 1))
    return name >> (_FAR + _SOURCES), across, name & ((1 << _SOURCES) - 1)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _inside(first: int, count: int, around: int, size: int) -> bool:
    """Whether so many samples, and those around them, are among those that there are."""
    return first >= around and first + count + around <= size


@njit(cache=KEPT, nogil=True)
def _widened_run(out: Shorts, to: int, flat: Bytes, at: int, pitch: int, rows: int, cols: int) -> None:
    """Rows of bytes in parts of a level."""
    for r in range(rows):
        goal, first = out[to + r * pitch : to + r * pitch + cols], at + r * pitch
        for c in range(cols):
            goal[c] = np.int16(flat[np.uint64(first + c)]) << 5


@njit(cache=KEPT, nogil=True)
def _overlap(
    flat: Bytes,
    begins: Ints,
    vectors: Ints,
    source: Ints,
    taps: Signed,
    shorts: Shorts,
    shares: Shorts,
    out: Shorts,
    whole: Count,
    part: Count,
) -> None:
    """Planes flat, begins [S], vectors [B,2,h,w], source [B,h,w], taps and shorts [phases·block], shares [4·8·block].

    flat is the first reference, from which the others begin so many samples away, wherever they lie in memory: planes
    [B,n,H,W], as out, n of them under one vector, whose rows of a block make LANES together.
    """
    block, half, bits = len(whole), len(part), 2 if len(whole) == 8 else 3  # of a phase
    mask, size, wide = (1 << bits) - 1, LANES * len(whole), 2 * len(whole)
    together, high, width = out.shape[1:]
    h, w = source.shape[1:]
    shown, apart, line = out.reshape(-1), high * width, w + 2
    # patches: its own, those by the vectors to the left and right, above or below; and what they make together
    room, summed = np.empty(5 * size, np.int16), 4 * size
    edge = np.empty(together * wide * wide + 1, np.uint8)
    edge_begins = edge.ctypes.data - flat.ctypes.data
    names, around = np.empty((h + 2, line), np.int64), np.array([0, -1, 1, -line, line])
    name = names.reshape(-1)
    for b in range(len(source)):
        frame = b * together * apart
        _name(vectors[b], source[b], names)
        for y in range(h):
            x = 0
            while x < w:
                i, goal, shows = (y + 1) * line + x + 1, frame + y * block * width + x * block, 0
                own = name[i]
                vy, vx, s = _meant(own)
                top, left = y * block + (vy >> bits), x * block + (vx >> bits)
                most, n = min(w - x, (width - left) // block), 0
                if vy & mask or vx & mask or min(top, left, high - block - top) < 0:
                    most = 1
                # blocks from here on that have this vector and nothing else around them
                while n < most and name[i + n - line] == own and name[i + n + line] == own:
                    if name[i + n - 1] != own or name[i + n + 1] != own:
                        break
                    n += 1
                if n > 1:
                    for k in range(together):
                        at = begins[s] + frame + k * apart + top * width + left
                        _widened_run(shown, goal + k * apart, flat, at, width, block, n * block)
                    x += n
                    continue
                for side in range(1 if n else 5):
                    other, far = name[i + around[side]], half if side == 4 else 0
                    if side and other == own:
                        continue
                    given = min(side, 3) * size
                    if side > 1 and other == name[i - 1]:
                        given = size + far * LANES  # of the patch to the left
                    elif side > 2 and other == name[i + 1]:
                        given = 2 * size + far * LANES
                    else:
                        vy, vx, s = _meant(other)
                        dy, dx, rows = vy & mask, vx & mask, half if side > 2 else block
                        top, left = y * block + far + (vy >> bits), x * block + (vx >> bits)
                        at, pitch, between = begins[s] + frame, width, apart
                        cols = block + (dx > 0)  # filters across read one sample more
                        if _inside(top, rows, half * (dy > 0), high) and _inside(left, cols, half * (dx > 0), width):
                            at += top * width + left
                        else:
                            for k in range(together):
                                first, to = at + k * apart, k * wide * wide
                                _around(flat, first, high, width, top - half, left - half, wide, edge, to)
                            at, pitch, between = edge_begins + half * (wide + 1), wide, wide * wide
                        if side > 2:
                            moved(room, given, flat, at, pitch, between, taps, shorts, dy, dx, whole, part)
                        else:
                            moved(room, given, flat, at, pitch, between, taps, shorts, dy, dx, whole, whole)
                    if side and not shows:
                        shows = summed
                        for k in range(size):
                            room[summed + k] = room[k]
                    share, far = (side - 1) * size, far * LANES
                    if side > 2:
                        add_shares(room, summed + far, far, given, shares, share, part)
                    elif side:
                        add_shares(room, summed, 0, given, shares, share, whole)
                put(shown, goal, width, apart, room, shows, whole)
                x += 1


class Weights(NamedTuple):
    """Of one size of blocks: taps of filters as bytes and as shorts, flat; shares of neighbours (see _shares)."""

    taps: Signed
    shorts: Shorts
    shares: Shorts
    block: int

    @staticmethod
    def of(taps: Shorts, upper: Shorts) -> Weights:
        """taps [phases,block] over 64; upper [block/2,block] over 64: weights of the block above."""
        return Weights(taps.astype(np.int8).reshape(-1), taps.reshape(-1), _shares(upper), taps.shape[1])


def _shares(upper: Shorts) -> Shorts:
    """What blocks to the left and right, above and below weigh, over 2¹⁵: flat, of four patches.

    upper [block/2,block], over 64: of the block above, in the half beside it; elsewhere nothing.
    """
    nothing = np.zeros_like(upper)
    left, right = np.concatenate([upper, nothing]).T, np.concatenate([nothing, upper[::-1]]).T
    sides = left, right, np.concatenate([upper, nothing]), np.concatenate([upper[::-1], nothing])
    return (np.stack([np.tile(side, LANES // len(left)) for side in sides]) << 9).reshape(-1)


def overlapped(planes: Sequence[Bytes], vectors: Ints, source: Ints, weights: Weights, out: Shorts) -> None:
    """Blocks of references [B,n,H,W], each by its vector [B,2,h,w], in as many parts of a sample as there are phases:
    out [B,n,H,W].

    source [B,h,w]: which reference.  n is LANES // block: 1 for luma, 2 for chroma.
    """
    begins = np.array([plane.ctypes.data - planes[0].ctypes.data for plane in planes])
    sizes = (_EIGHT, _FOUR) if weights.block == len(_EIGHT) else (_FOUR, _TWO)
    _overlap(planes[0].reshape(-1), begins, vectors, source, weights.taps, weights.shorts, weights.shares, out, *sizes)
