"""Motion compensation of bytes, compiled for this CPU: tensor operations are slower, memory being slower than arithmetic.

Its twin in tensors (compensation.py) serves other devices, and gives the same integers; a test compares the two.  Numba
compiles at the first call on a machine and keeps the result beside this file (or in its cache folder), and lets go of
Python's lock while a loop runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones.patches import LANES, add_shares, filtered, filtered_down, put, summed, widened
from vcodec.loops import KEPT

__all__ = ["compilable", "overlapped"]

Bytes = npt.NDArray[np.uint8]
Shorts = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Count = tuple[int, ...]
_EIGHT, _FOUR, _TWO = (0,) * 8, (0,) * 4, (0,) * 2  # their lengths are known where loops are compiled


def compilable(*planes: Tensor) -> bool:
    """Whether loops over floats serve such planes: here, in single precision, without gradients."""
    grad = torch.is_grad_enabled()
    return all(p.device.type == "cpu" and p.dtype == torch.float32 and not (grad and p.requires_grad) for p in planes)


@njit(cache=KEPT, nogil=True)
def _around(flat: Bytes, begin: int, h: int, w: int, top: int, left: int, size: int, out: Bytes, to: int) -> None:
    """A patch of size×size samples of the plane [h,w] that begins somewhere beside flat: out[to:], edges repeated."""
    for r in range(size):
        row = begin + min(max(top + r, 0), h - 1) * w
        for c in range(size):
            out[to + r * size + c] = flat[np.uint64(row + min(max(left + c, 0), w - 1))]  # not from the end, if below 0


@njit(cache=KEPT, nogil=True, forceinline=True)
def _read(
    flat: Bytes,
    at: int,
    pitch: int,
    apart: int,
    dy: int,
    dx: int,
    short: bool,
    taps: Shorts,
    work: Shorts,
    out: Shorts,
    whole: Count,
    part: Count,
) -> None:
    """A patch displaced by a phase, half as high if short; the filter across goes first."""
    before = len(part) - 1
    rows = len(part) if short else len(whole)
    if not dx and not dy:
        widened(out, flat, at, pitch, apart, rows, whole)
    elif not (dx and dy):
        step = pitch if dy else 1
        filtered(out, flat, at - before * step, pitch, apart, step, rows, taps, (dx + dy) * len(whole), whole)
    else:
        first, high = at - before * (pitch + 1), rows + len(whole) - 1
        summed(work, flat, first, pitch, apart, 1, high, taps, dx * len(whole), whole)
        if short:
            filtered_down(out, work, taps, dy * len(whole), whole, part)
        else:
            filtered_down(out, work, taps, dy * len(whole), whole, whole)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _overlap(
    flat: Bytes,
    begins: Ints,
    vectors: Ints,
    source: Ints,
    taps: Shorts,
    shares: Shorts,
    out: Shorts,
    whole: Count,
    part: Count,
) -> None:
    """Planes flat, begins [S], vectors [B,2,h,w], source [B,h,w], taps [phases·block], shares [4·8·block].

    flat is the first reference, from which the others begin so many samples away, wherever they lie in memory: planes
    [B,n,H,W], as out, n of them under one vector, whose rows of a block make LANES together.
    """
    block, half = len(whole), len(part)
    bits = 2 if block == 8 else 3  # of a phase
    mask = (1 << bits) - 1
    together, high, width = out.shape[1:]
    h, w = source.shape[1:]
    shown, apart, wide = out.reshape(-1), high * width, 2 * block - 1
    work, own, sum_, other, edge = (
        np.empty(2 * block * LANES, np.int16),
        np.empty(block * LANES, np.int16),
        np.empty(block * LANES, np.int16),
        np.empty(block * LANES, np.int16),
        np.empty(together * wide * wide, np.uint8),
    )
    edge_begins = edge.ctypes.data - flat.ctypes.data
    for b in range(len(source)):
        frame = b * together * apart
        for y in range(h):
            for x in range(w):
                vy, vx, s = vectors[b, 0, y, x], vectors[b, 1, y, x], source[b, y, x]
                mixed = False
                for side in range(-1, 4):  # itself, and those above, below, to the left and to the right
                    ny = y + (2 * side - 1 if 0 <= side < 2 else 0)
                    nx = x + (2 * side - 5 if side >= 2 else 0)
                    if ny < 0 or nx < 0 or ny >= h or nx >= w:
                        continue
                    oy, ox, o = vectors[b, 0, ny, nx], vectors[b, 1, ny, nx], source[b, ny, nx]
                    if side >= 0 and oy == vy and ox == vx and o == s:
                        continue
                    far, short = (half if side == 1 else 0), side == 0 or side == 1
                    top, left, dy, dx = y * block + far + (oy >> bits), x * block + (ox >> bits), oy & mask, ox & mask
                    at, pitch, between = begins[o] + frame, width, apart
                    up, aside = (half if dy else 0), (half if dx else 0)  # what filters read around
                    rows = half if short else block
                    if top < up or left < aside or top + rows + up > high or left + block + aside > width:
                        for i in range(together):
                            begin = at + i * apart
                            _around(flat, begin, high, width, top - half + 1, left - half + 1, wide, edge, i * wide * wide)
                        at, pitch, between = edge_begins + (half - 1) * (wide + 1), wide, wide * wide
                    else:
                        at += top * width + left
                    if side < 0:
                        _read(flat, at, pitch, between, dy, dx, short, taps, work, own, whole, part)
                        continue
                    _read(flat, at, pitch, between, dy, dx, short, taps, work, other, whole, part)
                    if not mixed:
                        sum_[:] = own
                        mixed = True
                    if short:
                        add_shares(sum_, own, far * LANES, other, shares, side * block * LANES, part)
                    else:
                        add_shares(sum_, own, 0, other, shares, side * block * LANES, whole)
                goal = frame + y * block * width + x * block
                if mixed:
                    put(shown, goal, width, apart, sum_, whole)
                else:
                    put(shown, goal, width, apart, own, whole)


@njit(cache=KEPT, nogil=True)
def _overlap_luma(
    flat: Bytes, begins: Ints, vectors: Ints, source: Ints, taps: Shorts, shares: Shorts, out: Shorts
) -> None:
    _overlap(flat, begins, vectors, source, taps, shares, out, _EIGHT, _FOUR)


@njit(cache=KEPT, nogil=True)
def _overlap_chroma(
    flat: Bytes, begins: Ints, vectors: Ints, source: Ints, taps: Shorts, shares: Shorts, out: Shorts
) -> None:
    _overlap(flat, begins, vectors, source, taps, shares, out, _FOUR, _TWO)


def _shares(upper: Shorts) -> Shorts:
    """What blocks above, below, to the left and to the right weigh, over 2¹⁵, as lanes lie: flat, of four whole blocks.

    upper [block/2,block], over 64: of the block above, in the half beside it.
    """
    half, block = upper.shape
    nothing = np.zeros_like(upper)
    left, right = np.concatenate([upper, nothing]).T, np.concatenate([nothing, upper[::-1]]).T
    sides = [np.concatenate([upper, nothing]), np.concatenate([upper[::-1], nothing]), left, right]
    return (np.stack([np.tile(side, LANES // block) for side in sides]) << 9).reshape(-1)


def overlapped(
    planes: Sequence[Bytes], vectors: Ints, source: Ints, taps: Shorts, upper: Shorts, out: Shorts
) -> None:
    """Blocks of references [B,n,H,W], each by its vector [B,2,h,w] in 1/len(taps) samples: out [B,n,H,W].

    source [B,h,w]: which reference; taps [phases,block] over 64; upper [block/2,block] over 64: weights of the block
    above.  n is LANES // block: 1 for luma, 2 for chroma.
    """
    begins = np.array([plane.ctypes.data - planes[0].ctypes.data for plane in planes])
    loop = _overlap_luma if taps.shape[1] == len(_EIGHT) else _overlap_chroma
    loop(planes[0].reshape(-1), begins, vectors, source, taps.reshape(-1), _shares(upper), out)
