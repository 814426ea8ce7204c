"""Motion compensation: planes displaced block by block, blocks overlapping (H.263, annex F).

    own       each 8×8 block by its own vector
    overlap   its upper half also by the vector of the block above, its lower half by that of the block below, and
              left and right alike: the differences are added under weights that fall away from the border

Where neighbours share a vector nothing is added; only strips beside another vector are interpolated once more.
Interpolation filters are HEVC's DCT-IF (8 taps luma, 4 taps chroma; H.265 §8.5.3.3.3): integers over 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LUMA_TAPS", "MARGIN", "clamped", "compensate"]

MARGIN = 16  # luma samples a block may reach outside the frame
_RUN = 512  # blocks interpolated at a time: what fits a cache

LUMA_TAPS = torch.tensor(
    [
        [0, 0, 0, 64, 0, 0, 0, 0],
        [-1, 4, -10, 58, 17, -5, 1, 0],
        [-1, 4, -11, 40, 40, -11, 4, -1],
        [0, 1, -5, 17, 58, -10, 4, -1],
    ]
)
_CHROMA_TAPS = torch.tensor(
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
_ABOVE = torch.tensor([[18, 20, 21, 22], [10, 10, 11, 12], [6, 6, 6, 7], [3, 4, 4, 4]]) / 64
_UPPER = torch.cat([_ABOVE, _ABOVE.flip(1)], 1)
_WEIGHTS = {8: _UPPER, 4: F.avg_pool2d(_UPPER[None], 2)[0]}  # [block/2, block]


def clamped(vectors: Tensor, block: int, shape: tuple[int, int]) -> Tensor:
    """Vectors [...,2,h,w] limited so that no block reads outside the padded reference (normative)."""
    h, w = vectors.shape[-2:]
    top = torch.arange(h, device=vectors.device)[:, None] * block * 4
    left = torch.arange(w, device=vectors.device)[None, :] * block * 4
    reach = 4 * MARGIN
    dy = torch.minimum(torch.maximum(vectors[..., 0, :, :], -reach - top), shape[0] * 4 + reach - block * 4 - top)
    dx = torch.minimum(torch.maximum(vectors[..., 1, :, :], -reach - left), shape[1] * 4 + reach - block * 4 - left)
    return torch.stack([dy, dx], -3)


def compensate(
    luma: Tensor, chroma: Tensor, vectors: Tensor, memory: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] displaced by vectors [B,2,H/8,W/8]: the prediction, same shapes.

    memory: planes for the blocks whose vector has a third component of 1.
    """
    b, _, h, w = luma.shape
    v = clamped(vectors.long(), 8, (h, w))
    source = torch.zeros_like(v[:, 0]) if memory is None else vectors[:, 2].long()
    planes, colours = [luma], [chroma]
    if memory is not None:
        planes.append(memory[0])
        colours.append(memory[1])
    out = _overlapped([p[:, 0] for p in planes], v, source, 8, LUMA_TAPS, 3)
    # U and V of a frame stand side by side in the batch
    both, source = v.repeat_interleave(2, 0), source.repeat_interleave(2, 0)
    out_c = _overlapped([c.reshape(2 * b, h // 2, w // 2) for c in colours], both, source, 4, _CHROMA_TAPS, 1)
    return out[:, None], out_c.view(b, 2, h // 2, w // 2)


class _Samples(NamedTuple):
    """Padded planes as one run of samples, and the filters over them."""

    flat: Tensor
    pitch: int
    taps: Tensor  # [phases, length]

    def read(self, start: Tensor, down: Tensor, across: Tensor, rows: int, cols: int) -> Tensor:
        """Patches whose windows begin at ``start`` [n], at phases down, across [n] -> [rows,cols,n].

        Each window is gathered once; the two separable filters then run over all patches at a time, tap by tap, in a
        fixed order (the result does not depend on threads).
        """
        length = self.taps.shape[1]
        y, x = (torch.arange(n + length - 1, device=start.device) for n in (rows, cols))
        inside = (y.view(-1, 1) * self.pitch + x).reshape(-1, 1)
        columns = (start[None], self.taps[across].t().contiguous(), self.taps[down].t().contiguous())
        done = []
        for places, a, d in zip(*(torch.split(t, _RUN, 1) for t in columns)):
            window = self.flat.index_select(0, (places + inside).reshape(-1)).view(y.numel(), x.numel(), -1)
            wide = window[:, :cols] * a[0]
            for i in range(1, length):
                wide = torch.addcmul(wide, window[:, i : i + cols], a[i])
            patch = wide[:rows] * d[0]
            for i in range(1, length):
                patch = torch.addcmul(patch, wide[i : i + rows], d[i])
            done.append(patch)
        return torch.cat(done, 2)


def _overlapped(
    planes: Sequence[Tensor], vectors: Tensor, source: Tensor, block: int, taps: Tensor, before: int
) -> Tensor:
    """Blocks of planes [B,H,W], source [B,h,w] says of which, displaced by vectors [B,2,h,w] -> [B,H,W].

    Vectors are in 1/len(taps) samples; a filter reads ``before`` samples before its place.
    """
    b, h, w = source.shape
    phases, length = taps.shape
    pad = MARGIN * block // 8 + length
    wide = torch.cat([F.pad(p[:, None], (pad,) * 4, mode="replicate")[:, 0] for p in planes])
    pitch = wide.shape[2]
    samples = _Samples(wide.reshape(-1), pitch, taps.to(wide) / 64)
    device = source.device
    top = (torch.arange(h, device=device).view(1, h, 1) * block + pad - before) * pitch
    place = top + torch.arange(w, device=device) * block + pad - before  # of a block that does not move
    frame = (torch.arange(b, device=device).view(b, 1, 1) + source * b) * wide.shape[1] * pitch
    down, across = (torch.remainder(vectors[:, i], phases) for i in (0, 1))
    whole = torch.div(vectors, phases, rounding_mode="floor")
    move = frame + whole[:, 0] * pitch + whole[:, 1]
    place, move, down, across = (t.expand(b, h, w).reshape(-1) for t in (place, move, down, across))
    own = samples.read(place + move, down, across, block, block)
    added = []
    weights = _WEIGHTS[block].to(own)
    for axis, half in ((0, block // 2), (1, block // 2)):
        for this, other, lower in _borders((move * phases + down) * phases + across, (b, h, w), axis):
            at = half if lower else 0
            start = place[this] + move[other] + at * (pitch if axis == 0 else 1)
            shape = (half, block) if axis == 0 else (block, half)
            strip = samples.read(start, down[other], across[other], *shape)
            share = weights.flip(0) if lower else weights
            mine = own.narrow(axis, at, half).index_select(2, this)
            added.append((axis, at, half, this, (strip - mine) * (share if axis == 0 else share.t())[:, :, None]))
    for axis, at, half, this, difference in added:
        own.narrow(axis, at, half).index_add_(2, this, difference)
    return own.view(block, block, b, h, w).permute(2, 3, 0, 4, 1).reshape(b, h * block, w * block)


def _borders(key: Tensor, shape: tuple[int, int, int], axis: int) -> list[tuple[Tensor, Tensor, bool]]:
    """Blocks beside one with another vector: (their numbers, the others', whether that is below or to the right)."""
    grid = key.view(shape)
    number = torch.arange(key.numel(), device=key.device).view(shape)
    n = shape[axis + 1] - 1
    first, second = (number.narrow(axis + 1, i, n) for i in (0, 1))
    differ = grid.narrow(axis + 1, 0, n) != grid.narrow(axis + 1, 1, n)
    a, b = first[differ], second[differ]
    return [(b, a, False), (a, b, True)] if a.numel() else []
