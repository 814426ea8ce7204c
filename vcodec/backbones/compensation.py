"""Motion compensation: planes displaced block by block, blocks overlapping (H.263, annex F).

    own       each 8×8 block by its own vector
    overlap   its upper half also by the vector of the block above, its lower half by that of the block below, and
              left and right alike: the differences are added under weights that fall away from the border

Where neighbours share a vector nothing is added; only strips beside another vector are interpolated once more.
Interpolation filters are HEVC's DCT-IF (8 taps luma, 4 taps chroma; H.265 §8.5.3.3.3): integers over 64.

Bytes give integers in parts of a level, 32 of them (PARTS), the same on every machine: what the filters make of a patch
is rounded once, and so is what each neighbour adds.  Floats, as training has them, are not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec import helper
from vcodec.backbones.compiled import Weights, overlapped
from vcodec.backbones.exact import PARTS

__all__ = ["CHROMA_TAPS", "LUMA_TAPS", "MARGIN", "OVERLAP", "SHARES", "clamped", "compensate"]

MARGIN = 16  # luma samples a block may reach outside the frame
_RUN = 1024  # blocks interpolated at a time: what fits a cache

LUMA_TAPS = torch.tensor(
    [
        [0, 0, 0, 64, 0, 0, 0, 0],
        [-1, 4, -10, 58, 17, -5, 1, 0],
        [-1, 4, -11, 40, 40, -11, 4, -1],
        [0, 1, -5, 17, 58, -10, 4, -1],
    ]
)
CHROMA_TAPS = torch.tensor(
    [
        [0, 64, 0, 0],
        [-2, 58, 10, -2],
        [-4, 54, 16, -2],
        [-6, 46, 28, -4],
        [-4, 36, 36, -4],
        [-4, 28, 46, -6],
        [-2, 16, 54, -4],
        [-2, 10, 58, -2],
    ]
)
# The upper left quarter of a block: what the prediction by the vector above weighs.  Least squares on held-back
# clips; the table of H.263 falls off less.
_ABOVE = torch.tensor([[18, 20, 21, 22], [10, 10, 11, 12], [6, 6, 6, 7], [3, 4, 4, 4]])
OVERLAP = torch.cat([_ABOVE, _ABOVE.flip(1)], 1)  # [4,8] over 64
SHARES = {8: OVERLAP, 4: torch.tensor([[15, 17, 17, 15], [5, 5, 5, 5]])}  # [block/2,block]: means of 2×2 for colour


def clamped(vectors: Tensor, block: int, shape: tuple[int, int]) -> Tensor:
    """Vectors [...,2,h,w] limited so that no block reads outside the padded reference (normative)."""
    least, most = _limits(vectors.shape[-2], vectors.shape[-1], block, shape, vectors.device)
    return vectors[..., :2, :, :].clamp(least, most)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _limits(h: int, w: int, block: int, shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Least and largest vector [2,h,w] of each block."""
    top, left = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    corner = torch.stack([top, left]) * block * 4
    size = torch.tensor(shape, device=device).view(2, 1, 1)
    return -4 * MARGIN - corner, (size + MARGIN - block) * 4 - corner


def compensate(references: Sequence[tuple[Tensor, Tensor]], vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] displaced by vectors [B,2 or 3,H/8,W/8]: the prediction, same shapes.

    A third component of the vectors says by which of the references a block is predicted.  Bytes give 16-bit integers
    over PARTS, floats floats.
    """
    planes, colours = zip(*references, strict=True)
    v = clamped(vectors.long(), 8, (planes[0].shape[2], planes[0].shape[3]))
    source = torch.zeros_like(v[:, 0]) if len(planes) == 1 else vectors[:, 2].long()
    move = _overlapped_bytes if _compiles(planes[0]) else _overlapped
    moved = helper.begun(lambda: move(colours, v, source, CHROMA_TAPS))
    return move(planes, v, source, LUMA_TAPS), moved()


def _compiles(plane: Tensor) -> bool:
    return plane.device.type == "cpu" and plane.dtype == torch.uint8


def _overlapped_bytes(planes: Sequence[Tensor], vectors: Tensor, source: Tensor, taps: Tensor) -> Tensor:
    """As ``_overlapped``, by the compiled loops."""
    given = [np.ascontiguousarray(plane.numpy()) for plane in planes]
    out = torch.empty(given[0].shape, dtype=torch.int16)
    maps = vectors.contiguous().numpy(), source.contiguous().numpy()
    overlapped(given, *maps, _weights(taps.shape[1]), out.numpy())
    return out


@cache
def _weights(block: int) -> Weights:
    taps = LUMA_TAPS if block == LUMA_TAPS.shape[1] else CHROMA_TAPS
    return Weights.of(taps.short().numpy(), SHARES[block].short().numpy())


class _Samples(NamedTuple):
    """Padded planes as one run of samples, and the filters over them."""

    flat: Tensor
    pitch: int
    taps: Tensor  # [length, phases]
    rounds: bool

    def read(self, start: Tensor, down: Tensor, across: Tensor, shape: tuple[int, int]) -> Tensor:
        """Patches of one shape that begin at ``start`` [n], at phases down, across [n] -> [rows,cols,n].

        Each patch is gathered once, with what the filters read around it; the two separable filters then run over many
        patches at a time, tap by tap, in a fixed order (the result does not depend on threads).  Where a phase is 0 its
        filter changes nothing and is left out.
        """
        kind = 2 * (down > 0) + (across > 0)
        found = [(kind == k).nonzero()[:, 0] for k in range(4)]
        order = torch.cat(found)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        done = []
        for k, of_kind in enumerate(found):
            if not of_kind.numel():
                continue
            rows, cols = (self._window(n, filtered) for n, filtered in zip(shape, (k & 2, k & 1)))
            inside = (rows.view(-1, 1) * self.pitch + cols).reshape(-1, 1)
            for part in torch.split(of_kind, _RUN):
                x = self.flat.index_select(0, (inside + start.index_select(0, part)).reshape(-1))
                x = x.view(len(rows), len(cols), -1)
                if k & 1:
                    x = _filtered(x, self.taps.index_select(1, across.index_select(0, part)), 1, shape[1])
                if k & 2:
                    x = _filtered(x, self.taps.index_select(1, down.index_select(0, part)), 0, shape[0])
                done.append(self._settled(x, (k + 1) // 2).reshape(shape[0] * shape[1], -1))
        return torch.cat(done, 1).index_select(1, back).view(*shape, -1)

    def _settled(self, x: Tensor, filters: int) -> Tensor:
        """What so many filters made of samples: of levels, and taps over 64, whole parts."""
        return (x * (PARTS / 64**filters) + 0.5).floor_() if self.rounds else x

    def _window(self, size: int, filtered: int) -> Tensor:
        """Places along one dimension that ``size`` samples are made of."""
        reach = len(self.taps) - 1 if filtered else 0
        first = -(reach // 2)
        return torch.arange(first, first + size + reach, device=self.flat.device)


def _filtered(x: Tensor, weights: Tensor, dim: int, size: int) -> Tensor:
    """One filter over patches [rows,cols,n], weights [taps,n]: ``size`` samples along a dimension."""
    out = x.narrow(dim, 0, size) * weights[0]
    for i in range(1, len(weights)):
        out.addcmul_(x.narrow(dim, i, size), weights[i])
    return out


def _overlapped(planes: Sequence[Tensor], vectors: Tensor, source: Tensor, taps: Tensor) -> Tensor:
    """Blocks of planes [B,n,H,W], source [B,h,w] says of which, displaced by vectors [B,2,h,w] -> [B,n,H,W].

    Blocks are as large as filters are long.  Vectors are in 1/len(taps) samples.
    """
    phases, block = taps.shape
    rounds, shape = planes[0].dtype == torch.uint8, planes[0].shape
    kind = torch.float32 if rounds else planes[0].dtype  # which holds 24 bits: every integer on the way
    planes = [p.to(kind).flatten(0, 1) for p in planes]  # U and V of a frame stand side by side in the batch
    vectors, source = vectors.repeat_interleave(shape[1], 0), source.repeat_interleave(shape[1], 0)
    b, h, w = source.shape
    pad = MARGIN * block // 8 + block
    wide = torch.cat([F.pad(p[:, None], (pad,) * 4, mode="replicate")[:, 0] for p in planes])
    pitch = wide.shape[2]
    whole_taps = taps.t().to(wide).contiguous()
    samples = _Samples(wide.reshape(-1), pitch, whole_taps if rounds else whole_taps / 64, rounds)
    device = source.device
    top = (torch.arange(h, device=device).view(1, h, 1) * block + pad) * pitch
    place = top + torch.arange(w, device=device) * block + pad  # of a block that does not move
    frame = (torch.arange(b, device=device).view(b, 1, 1) + source * b) * wide.shape[1] * pitch
    down, across = (torch.remainder(vectors[:, i], phases) for i in (0, 1))
    whole = torch.div(vectors, phases, rounding_mode="floor")
    move = frame + whole[:, 0] * pitch + whole[:, 1]
    place, move, down, across = (t.expand(b, h, w).reshape(-1) for t in (place, move, down, across))
    own = samples.read(place + move, down, across, (block, block))
    weights = SHARES[block].to(own) / 64
    key, half, added = (move * phases + down) * phases + across, block // 2, []
    for axis, beside in ((0, pitch), (1, 1)):
        first, second = _borders(key.view(b, h, w), axis + 1)
        if not first.numel():
            continue
        # the second of two blocks has the first's vector in its upper (left) half, the first the second's in its lower
        this, other = torch.cat([second, first]), torch.cat([first, second])
        start = place[this] + move[other]
        start[len(second) :] += half * beside
        strips = samples.read(start, down[other], across[other], (half, block) if axis == 0 else (block, half))
        for at, share, blocks, strip in zip((0, half), (weights, weights.flip(0)), (second, first), strips.chunk(2, 2)):
            mine = own.narrow(axis, at, half).index_select(2, blocks)
            more = (strip - mine) * (share if axis == 0 else share.t())[:, :, None]
            added.append((axis, at, blocks, (more + 0.5).floor_() if rounds else more))
    for axis, at, blocks, difference in added:
        own.narrow(axis, at, half).index_add_(2, blocks, difference)
    out = own.view(block, block, b, h, w).permute(2, 3, 0, 4, 1).reshape(shape)
    return out.short() if rounds else out


def _borders(key: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Numbers of neighbours along a dimension of [B,h,w] whose keys differ: the upper or left ones, and the others."""
    number = torch.arange(key.numel(), device=key.device).view(key.shape)
    n = key.shape[dim] - 1
    differ = key.narrow(dim, 0, n) != key.narrow(dim, 1, n)
    return number.narrow(dim, 0, n)[differ], number.narrow(dim, 1, n)[differ]
