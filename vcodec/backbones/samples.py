"""Bytes and samples in 0..1, compiled for this CPU: one pass over a picture where tensors take several.

Each does to a sample, in 32-bit floats, what the operations of tensors would, in their order: the same bits.  Planes of
a source may be bytes, or samples that need not be 255ths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones.exact import GREY, WHITE
from vcodec.backbones.layers import unpack_yuv420
from vcodec.loops import KEPT

__all__ = ["all_grey", "compiled", "errors", "in_floats", "luma_error", "missing_blocks", "packed_bytes", "unpacked"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Shorts = npt.NDArray[np.int16]
Share = tuple[np.float32, np.float32]
_LEVELS, _NONE = np.float32(255.0), np.float32(0.0)


def _share(white: int) -> Share:
    """1 / white in two parts, the first in 12 bits or so.

    Times both, added, an integer of 16 bits comes to what division gives, to the last bit; a test tries all.
    """
    scale = 2.0 ** (white.bit_length() + 12)
    first = np.float32(round(scale / white) / scale)
    return first, np.float32(1.0 / white - float(first))


_OF_LEVELS, _OF_PARTS, _OF_SAMPLES = _share(255), _share(WHITE), _share(1)


def compiled(pictures: Tensor) -> bool:
    """Whether loops see to it: of one picture, here."""
    return len(pictures) == 1 and pictures.device.type == "cpu"


def in_floats(planes: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Bytes -> samples in 0..1, in tensors; what are samples stays."""
    luma, chroma = (plane if plane.is_floating_point() else plane / 255.0 for plane in planes)
    return luma, chroma


def all_grey(chroma: Tensor) -> Tensor:
    """Whether all of chroma [B,2,h,w], in 0..1 or bytes, is GREY [B]; its first row mostly tells that it is not."""
    for part in (chroma[:, :, :1], chroma):
        levels = part.mul(255.0).round() if part.is_floating_point() else part
        grey: Tensor = (levels == GREY).flatten(1).all(1)
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


@njit(cache=KEPT, nogil=True, forceinline=True)
def _byte(sample: np.float32) -> np.uint8:
    return np.uint8(np.int32(np.rint(min(max(sample * _LEVELS, _NONE), _LEVELS))))


@njit(cache=KEPT, nogil=True, forceinline=True)
def _sample(value: Any, share: Share) -> np.float32:
    """A value, of which 1 is such a share."""
    return np.float32(value) * share[0] + np.float32(value) * share[1]


@njit(cache=KEPT, nogil=True)
def _unpacked(frame: Floats, luma: Bytes, chroma: Bytes) -> bool:
    """A frame [6,h,w] of a clip -> planes [2h,2w] and [2,h,w]; whether that is all it holds."""
    others = 0
    for row in range(frame.shape[1]):
        for down in range(2):
            first, second, line = frame[2 * down, row], frame[2 * down + 1, row], luma[2 * row + down]
            some = np.int32(0)
            for x in range(len(first)):
                one, two = _byte(first[x]), _byte(second[x])
                line[2 * x], line[2 * x + 1] = one, two
                some += np.int32(_sample(one, _OF_LEVELS) != first[x]) + np.int32(_sample(two, _OF_LEVELS) != second[x])
            given, line, more = frame[4 + down, row], chroma[down, row], np.int32(0)
            for x in range(len(given)):
                line[x] = _byte(given[x])
                more += np.int32(_sample(line[x], _OF_LEVELS) != given[x])
            others += int(some + more)
    return others == 0


def unpacked(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Planes [T,1,H,W] and [T,2,H/2,W/2] of a clip [1,6,T,H/2,W/2]: bytes where that is all it holds, else samples."""
    _, _, count, h, w = clip.shape
    if compiled(clip) and clip.dtype == torch.float32:
        luma = torch.empty(count, 1, 2 * h, 2 * w, dtype=torch.uint8)
        chroma = torch.empty(count, 2, h, w, dtype=torch.uint8)
        frames = (frame.contiguous().numpy() for frame in clip[0].transpose(0, 1))
        if all(_unpacked(f, y.numpy(), c.numpy()) for f, y, c in zip(frames, luma[:, 0], chroma, strict=True)):
            return luma, chroma
    return unpack_yuv420(clip[0].transpose(0, 1))


@njit(cache=KEPT, nogil=True)
def _missing(plane: Floats | Bytes, share: Share, parts: Shorts, block: int, out: Floats) -> None:
    """A plane [H,W] less its prediction, by the samples of blocks: out [block²,H/block,W/block]."""
    missed = np.empty(plane.shape[1], np.float32)
    for y in range(len(plane)):
        given, predicted = plane[y], parts[y]
        for x in range(len(missed)):
            missed[x] = _sample(given[x], share) - _sample(predicted[x], _OF_PARTS)
        for c in range(block):
            goal = out[y % block * block + c, y // block]
            if block == 8:
                for x in range(len(goal)):
                    goal[x] = missed[8 * x + c]
            else:
                for x in range(len(goal)):
                    goal[x] = missed[4 * x + c]


def _array(plane: Tensor) -> tuple[Floats | Bytes, Share]:
    """A plane, and what share of a sample 1 is in it."""
    return plane.contiguous().numpy(), _OF_SAMPLES if plane.is_floating_point() else _OF_LEVELS


def missing_blocks(planes: tuple[Tensor, Tensor], parts: tuple[Tensor, Tensor]) -> Tensor:
    """Blocks [1,96,H/8,W/8] of what a frame's prediction, int16 in parts of a level, misses of it."""
    (luma, chroma), (y, (u, v)) = planes, (parts[0][0, 0], parts[1][0])
    out = torch.empty(1, 96, y.shape[0] // 8, y.shape[1] // 8)
    blocks, first = out[0].numpy(), 0
    for plane, part, block in ((luma[0, 0], y, 8), (chroma[0, 0], u, 4), (chroma[0, 1], v, 4)):
        goal = blocks[first : first + block * block]
        _missing(*_array(plane), part.contiguous().numpy(), block, goal)
        first += block * block
    return out


@njit(cache=KEPT, nogil=True)
def _squares(plane: Bytes, levels: Bytes) -> int:
    """Sum of squared differences of two planes [H,W]."""
    total = 0
    for y in range(len(plane)):
        given, shown = plane[y], levels[y]
        for x in range(len(given)):
            off = np.int32(given[x]) - np.int32(shown[x])
            total += int(off * off)
    return total


def errors(planes: Tensor, levels: Tensor) -> Tensor:
    """Mean squared differences [B,n], 8-bit levels, of planes [B,n,H,W], in 0..1 or bytes, from bytes."""
    if not compiled(levels) or planes.is_floating_point():
        return (in_floats((planes, planes))[0] - levels / 255.0).square().mean((2, 3)) * 255.0**2
    pairs = zip(planes.contiguous().numpy()[0], levels.contiguous().numpy()[0], strict=True)
    return torch.tensor([[_squares(plane, shown) / plane.size for plane, shown in pairs]])


@njit(cache=KEPT, nogil=True)
def _error(frame: Floats, luma: Bytes, sums: npt.NDArray[np.float64]) -> None:
    """Add squared differences of the luma of a clip's frame [6,H/2,W/2] from bytes [H,W], by columns [W]."""
    line = np.empty(luma.shape[1], np.float32)
    for y in range(len(luma)):
        first, second, shown = frame[2 * (y & 1), y >> 1], frame[2 * (y & 1) + 1, y >> 1], luma[y]
        for x in range(len(first)):
            line[2 * x], line[2 * x + 1] = first[x], second[x]
        for x in range(len(line)):
            off = line[x] - _sample(shown[x], _OF_LEVELS)
            sums[x] += np.float64(off * off)


def luma_error(clip: Tensor, luma: Bytes) -> float:
    """Mean squared difference of the luma of a clip's only frame [1,6,1,H/2,W/2] from bytes [H,W], 1 being white."""
    sums = np.zeros(luma.shape[1])
    _error(clip[0, :, 0].cpu().contiguous().numpy(), luma, sums)
    return float(sums.sum() / luma.size)
