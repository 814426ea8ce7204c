"""Bytes and samples in 0..1, compiled for this CPU: one pass over a picture where tensors take several.

Each does to a sample, in 32-bit floats, what the operations of tensors would, in their order: the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones.exact import GREY, WHITE
from vcodec.loops import KEPT

__all__ = ["all_grey", "compiled", "in_floats", "luma_squares", "missing_blocks", "packed_bytes", "squares"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Shorts = npt.NDArray[np.int16]
_LEVELS, _PARTS = np.float32(255.0), np.float32(WHITE)


def compiled(pictures: Tensor) -> bool:
    """Whether loops see to it: of one picture, here."""
    return len(pictures) == 1 and pictures.device.type == "cpu"


def in_floats(planes: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Bytes -> samples in 0..1, in tensors."""
    return planes[0] / 255.0, planes[1] / 255.0


def all_grey(chroma: Tensor) -> Tensor:
    """Whether all of chroma [B,2,h,w] in 0..1 is GREY [B]; its first row mostly tells that it is not."""
    for part in (chroma[:, :, :1], chroma):
        grey: Tensor = (part.mul(255.0).round() == GREY).flatten(1).all(1)
        if not grey.any():
            break
    return grey


@njit(cache=KEPT, nogil=True)
def _divided(row: Bytes, step: int, out: Floats) -> None:
    """Every ``step``th byte of a row as a sample; the last one again where there are no more."""
    count = min((len(row) + step - 1) // step, len(out))
    if step == 2:
        for x in range(count):
            out[x] = np.float32(row[2 * x]) / _LEVELS
    else:
        for x in range(count):
            out[x] = np.float32(row[x]) / _LEVELS
    for x in range(count, len(out)):
        out[x] = np.float32(row[len(row) - 1]) / _LEVELS


@njit(cache=KEPT, nogil=True)
def _packed(y: Bytes, u: Bytes, v: Bytes, out: Floats) -> None:
    """A frame [6,h,w] of a clip."""
    for row in range(out.shape[1]):
        for down in range(2):
            line = y[min(2 * row + down, len(y) - 1)]
            _divided(line, 2, out[2 * down, row])
            _divided(line[1:] if len(line) > 1 else line, 2, out[2 * down + 1, row])
        _divided(u[min(row, len(u) - 1)], 1, out[4, row])
        _divided(v[min(row, len(v) - 1)], 1, out[5, row])


def packed_bytes(frames: Sequence[tuple[Bytes, ...]], height: int, width: int) -> Tensor:
    """4:2:0 frames as a clip [1,6,T,height/2,width/2] in 0..1, bottom and right edges repeated."""
    clip = torch.empty(len(frames), 6, height // 2, width // 2)
    for (y, u, v), frame in zip(frames, clip, strict=True):
        y, u, v = (np.ascontiguousarray(plane) for plane in (y, u, v))
        _packed(y, u, v, frame.numpy())
    return clip.transpose(0, 1)[None]


@njit(cache=KEPT, nogil=True)
def _missing(plane: Floats, parts: Shorts, block: int, out: Floats) -> None:
    """A plane [H,W] less its prediction, by the samples of blocks: out [block²,H/block,W/block]."""
    missed = np.empty(plane.shape[1], np.float32)
    for y in range(len(plane)):
        given, predicted = plane[y], parts[y]
        for x in range(len(missed)):
            missed[x] = given[x] - np.float32(predicted[x]) / _PARTS
        for c in range(block):
            goal = out[y % block * block + c, y // block]
            if block == 8:
                for x in range(len(goal)):
                    goal[x] = missed[8 * x + c]
            else:
                for x in range(len(goal)):
                    goal[x] = missed[4 * x + c]


def missing_blocks(planes: tuple[Tensor, Tensor], parts: tuple[Tensor, Tensor]) -> Tensor:
    """Blocks [1,96,H/8,W/8] of what a frame's prediction, int16 in parts of a level, misses of it."""
    (luma, chroma), (y, (u, v)) = planes, (parts[0][0, 0], parts[1][0])
    out = torch.empty(1, 96, y.shape[0] // 8, y.shape[1] // 8)
    blocks, first = out[0].numpy(), 0
    for plane, part, block in ((luma[0, 0], y, 8), (chroma[0, 0], u, 4), (chroma[0, 1], v, 4)):
        goal = blocks[first : first + block * block]
        _missing(plane.contiguous().numpy(), part.contiguous().numpy(), block, goal)
        first += block * block
    return out


@njit(cache=KEPT, nogil=True)
def _squares(plane: Floats, levels: Bytes, out: Floats) -> None:
    for y in range(len(plane)):
        given, shown, goal = plane[y], levels[y], out[y]
        for x in range(len(goal)):
            off = given[x] - np.float32(shown[x]) / _LEVELS
            goal[x] = off * off


@njit(cache=KEPT, nogil=True)
def _luma_squares(phase: Floats, levels: Bytes, first: int, out: Floats) -> None:
    """As _squares of every other byte of every other row, levels [H,W], from ``first`` on in a row."""
    for y in range(len(phase)):
        given, shown, goal = phase[y], levels[2 * y, first:], out[y]
        for x in range(len(goal)):
            off = given[x] - np.float32(shown[2 * x]) / _LEVELS
            goal[x] = off * off


def squares(planes: Tensor, levels: Tensor) -> Tensor:
    """Squared differences [B,n,H,W] of samples and bytes."""
    if not compiled(levels):
        return (planes - levels / 255.0).square()
    out = torch.empty(levels.shape)
    for plane, shown, goal in zip(planes[0], levels[0], out[0], strict=True):
        _squares(plane.contiguous().numpy(), shown.contiguous().numpy(), goal.numpy())
    return out


def luma_squares(clip: Tensor, luma: Bytes) -> Tensor:
    """Squared differences [4,H/2,W/2] of the luma of a clip's only frame [1,6,1,H/2,W/2] and bytes [H,W]."""
    out = torch.empty(4, *clip.shape[3:])
    for i, goal in enumerate(out):
        _luma_squares(clip[0, i, 0].cpu().contiguous().numpy(), luma[i // 2 :], i % 2, goal.numpy())
    return out
