"""Motion compensation, compiled for this CPU: tensor operations are slower, memory being slower than arithmetic.

Its twin in tensors (compensation.py) serves training and other devices, and gives the same values; a test compares the
two.  Numba compiles at the first call on a machine and keeps the result beside this file
(or in its cache folder), and lets go of Python's lock while a loop runs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.loops import KEPT

__all__ = ["OVERLAPPED", "compilable"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
ZERO = np.float32(0.0)


def compilable(*planes: Tensor) -> bool:
    """Whether these loops serve such planes: here, in single precision, without gradients."""
    grad = torch.is_grad_enabled()
    return all(p.device.type == "cpu" and p.dtype == torch.float32 and not (grad and p.requires_grad) for p in planes)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _read(
    plane: Floats,
    place: tuple[int, int],
    phase: tuple[int, int],
    shape: tuple[int, int],
    taps: Floats,
    length: int,
    work: Floats,
    out: Floats,
) -> None:
    """A patch of a padded plane, displaced by phase; the filter across goes first, as in tensors."""
    rows, cols = shape
    before = length // 2 - 1
    first, high = place[0], rows
    if phase[0]:
        first, high = first - before, rows + length - 1
    weights = taps[phase[1]]
    for r in range(high):
        goal = work[r] if phase[0] else out[r]
        if phase[1]:
            line = plane[first + r, place[1] - before : place[1] - before + cols + length + 1]
            for c in range(0, cols, 4):
                x0, x1, x2, x3 = ZERO, ZERO, ZERO, ZERO
                for t in range(length):
                    w = weights[t]
                    x0 += line[c + t] * w
                    x1 += line[c + t + 1] * w
                    x2 += line[c + t + 2] * w
                    x3 += line[c + t + 3] * w
                goal[c], goal[c + 1], goal[c + 2], goal[c + 3] = x0, x1, x2, x3
        else:
            line = plane[first + r, place[1] : place[1] + cols]
            for c in range(cols):
                goal[c] = line[c]
    if phase[0]:
        weights = taps[phase[0]]
        for r in range(rows):
            for c in range(0, cols, 4):
                x0, x1, x2, x3 = ZERO, ZERO, ZERO, ZERO
                for t in range(length):
                    w = weights[t]
                    x0 += work[r + t, c] * w
                    x1 += work[r + t, c + 1] * w
                    x2 += work[r + t, c + 2] * w
                    x3 += work[r + t, c + 3] * w
                out[r, c], out[r, c + 1], out[r, c + 2], out[r, c + 3] = x0, x1, x2, x3


@njit(cache=KEPT, nogil=True, forceinline=True)
def _overlap(
    planes: Floats, pad: int, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats, block: int
) -> None:
    half, phases = block // 2, 32 // block  # as many taps as a block has samples
    batch, h, w = source.shape
    work = np.empty((2 * block + 8, block), np.float32)
    own = np.empty((block, block), np.float32)
    beside = np.empty((block, block), np.float32)
    for b in range(batch):
        for y in range(h):
            for x in range(w):
                top, left = y * block + pad, x * block + pad
                dy, dx, s = vectors[b, 0, y, x], vectors[b, 1, y, x], source[b, y, x]
                place, phase = (top + dy // phases, left + dx // phases), (dy % phases, dx % phases)
                _read(planes[s, b], place, phase, (block, block), taps, block, work, own)
                goal = out[b, y * block : (y + 1) * block, x * block : (x + 1) * block]
                for r in range(block):
                    for c in range(block):
                        goal[r, c] = own[r, c]
                for side in range(4):
                    ny = y + (2 * side - 1 if side < 2 else 0)
                    nx = x + (0 if side < 2 else 2 * side - 5)
                    if ny < 0 or nx < 0 or ny >= h or nx >= w:
                        continue
                    oy, ox, o = vectors[b, 0, ny, nx], vectors[b, 1, ny, nx], source[b, ny, nx]
                    if oy == dy and ox == dx and o == s:
                        continue
                    at = (side % 2) * half
                    place, phase = (top + oy // phases, left + ox // phases), (oy % phases, ox % phases)
                    if side < 2:
                        _read(planes[o, b], (place[0] + at, place[1]), phase, (half, block), taps, block, work, beside)
                        for r in range(half):
                            share = weights[half - 1 - r] if at else weights[r]
                            for c in range(block):
                                goal[at + r, c] += (beside[r, c] - own[at + r, c]) * share[c]
                    else:
                        _read(planes[o, b], (place[0], place[1] + at), phase, (block, half), taps, block, work, beside)
                        for c in range(half):
                            share = weights[half - 1 - c] if at else weights[c]
                            for r in range(block):
                                goal[r, at + c] += (beside[r, c] - own[r, at + c]) * share[r]


@njit(cache=KEPT, nogil=True)
def _overlap_luma(
    planes: Floats, pad: int, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    _overlap(planes, pad, vectors, source, taps, weights, out, 8)


@njit(cache=KEPT, nogil=True)
def _overlap_chroma(
    planes: Floats, pad: int, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    _overlap(planes, pad, vectors, source, taps, weights, out, 4)


OVERLAPPED = {8: _overlap_luma, 4: _overlap_chroma}
