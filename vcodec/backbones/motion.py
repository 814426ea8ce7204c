"""Block motion: compensation on both sides of the codec, and the encoder's search.

Vectors are integers in quarter luma samples, one for each 8×8 block (rows, columns first: [B,2,h,w] is (dy, dx)).
They are sent as one vector for each 16×16 block and, for each of its four 8×8 blocks, a choice of whose vector to use.
A third component beside (dy, dx) is the source: 0 for the last frame; 1 for the memory, an older picture that nothing
moves in, so that (dy, dx) is (0, 0) there.

    choice 0  the block's own 16×16          1  the 16×16 beside it (left or right, on this quadrant's side)
           2  the 16×16 above or below it    3  the diagonal one

Interpolation filters are HEVC's DCT-IF (8 taps luma, 4 taps chroma; H.265 §8.5.3.3.3): integers over 64.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec import helper

__all__ = ["MARGIN", "Reference", "compensate", "dense_vectors", "search"]

MARGIN = 16  # luma samples a block may reach outside the frame
_PAD = MARGIN + 4  # plus the reach of the filters
_RUN = 1024  # blocks interpolated at a time
RANGE = 255  # largest vector component, quarter samples

_LUMA = torch.tensor(
    [
        [0, 0, 0, 64, 0, 0, 0, 0],
        [-1, 4, -10, 58, 17, -5, 1, 0],
        [-1, 4, -11, 40, 40, -11, 4, -1],
        [0, 1, -5, 17, 58, -10, 4, -1],
    ]
)
_CHROMA = torch.tensor(
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


class Reference(NamedTuple):
    """A decoded luma plane, interpolated at every quarter sample: what the search reads.

    phases [B,16,Hp,Wp]; shape = (H, W) of the frame.
    """

    phases: Tensor
    shape: tuple[int, int]

    @staticmethod
    def of(luma: Tensor) -> Reference:
        """luma [B,1,H,W]."""
        weight = torch.einsum("at,bs->abts", _LUMA.double(), _LUMA.double()).reshape(16, 1, 8, 8) / 4096
        wide = F.pad(luma, (_PAD + 3, _PAD + 4, _PAD + 3, _PAD + 4), mode="replicate")
        return Reference(F.conv2d(wide, weight.to(luma)), (luma.shape[2], luma.shape[3]))


def _clamped(vectors: Tensor, block: int, shape: tuple[int, int]) -> Tensor:
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


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _corners(batch: int, h: int, w: int, block: int, plane: tuple[int, int], rows: int, device: torch.device) -> Tensor:
    """Where every so many-th row of each block begins in the 16 padded planes of each picture: [B,h,block/rows,w]."""
    high, wide = plane
    picture = torch.arange(batch, device=device).view(-1, 1, 1, 1) * (16 * high * wide)
    top = torch.arange(0, h * block, rows, device=device).view(1, h, block // rows, 1) + _PAD
    left = torch.arange(w, device=device) * block + _PAD
    return picture + top * wide + left


def _interpolate(plane: Tensor, dy: Tensor, dx: Tensor, block: int, taps: Tensor, before: int) -> Tensor:
    """Blocks of a plane [B,H,W] displaced by dy, dx [B,h,w] in 1/len(taps) samples -> [B,h*block,w*block].

    Every block's patch is gathered once; the two separable filters then run over many blocks at a time, tap by tap, in
    a fixed order (the result does not depend on threads).  Where a displacement is of whole samples its filter changes
    nothing and is left out, with the samples around the block that it would have read.
    """
    sub, length = taps.shape
    b, h, w = dy.shape
    pad = MARGIN * block // 8 + length
    wide = F.pad(plane[:, None], (pad, pad, pad, pad), mode="replicate")[:, 0]
    hp, wp = wide.shape[1:]
    top = torch.arange(h, device=plane.device).view(1, h, 1) * block + pad
    left = torch.arange(w, device=plane.device).view(1, 1, w) * block + pad
    frame = torch.arange(b, device=plane.device).view(b, 1, 1) * hp
    row = frame + top + torch.div(dy, sub, rounding_mode="floor")
    start = (row * wp + left + torch.div(dx, sub, rounding_mode="floor")).reshape(-1)
    down, across = torch.remainder(dy, sub).reshape(-1), torch.remainder(dx, sub).reshape(-1)
    kind = 2 * (down > 0) + (across > 0)
    places = [(kind == k).nonzero()[:, 0] for k in range(4)]
    order = torch.cat(places)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=plane.device)
    weights = (taps.to(plane) / 64).t().contiguous()  # [taps, phases]
    flat = wide.reshape(-1)
    done = []
    for (vertical, horizontal), of_kind in zip(((0, 0), (0, 1), (1, 0), (1, 1)), places):
        rows, cols = (
            torch.arange(-before * moves, block + (length - 1 - before) * moves, device=plane.device)
            for moves in (vertical, horizontal)
        )
        inside = (rows.view(-1, 1) * wp + cols).reshape(-1, 1)
        for part in torch.split(of_kind, _RUN) if of_kind.numel() else ():  # what fits a cache
            x = flat.index_select(0, (inside + start.index_select(0, part)).reshape(-1)).view(len(rows), len(cols), -1)
            if horizontal:
                x = _filtered(x, weights.index_select(1, across.index_select(0, part)), 1, block)
            if vertical:
                x = _filtered(x, weights.index_select(1, down.index_select(0, part)), 0, block)
            done.append(x.view(block * block, -1))
    blocks = torch.cat(done, 1).index_select(1, back).view(block, block, b, h, w)
    return blocks.permute(2, 3, 0, 4, 1).reshape(b, h * block, w * block)


def _filtered(x: Tensor, weights: Tensor, dim: int, block: int) -> Tensor:
    """One filter over patches [rows,cols,n], weights [taps,n]: ``block`` samples along a dimension."""
    out = x.narrow(dim, 0, block) * weights[0]
    for i in range(1, len(weights)):
        out.addcmul_(x.narrow(dim, i, block), weights[i])
    return out


def compensate(
    luma: Tensor, chroma: Tensor, vectors: Tensor, memory: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] displaced by vectors [B,2,H/8,W/8]: the prediction, same shapes.

    memory: planes for the blocks whose vector has a third component of 1.
    """
    b, _, h, w = luma.shape
    v = _clamped(vectors.long(), 8, (h, w))
    out = _interpolate(luma[:, 0], v[:, 0], v[:, 1], 8, _LUMA, 3)
    both = v.repeat_interleave(2, 0)  # U and V of a frame stand side by side in the batch
    out_c = _interpolate(chroma.reshape(2 * b, h // 2, w // 2), both[:, 0], both[:, 1], 4, _CHROMA, 1)
    moved, moved_c = out[:, None], out_c.view(b, 2, h // 2, w // 2)
    if memory is None:
        return moved, moved_c
    kept = vectors[:, 2:].bool()
    kept_y, kept_c = (kept.repeat_interleave(n, 2).repeat_interleave(n, 3) for n in (8, 4))
    return torch.where(kept_y, memory[0], moved), torch.where(kept_c, memory[1], moved_c)


def neighbours(coarse: Tensor) -> Tensor:
    """For each 8×8 block its four candidates: [B,3,h16,w16] -> [B,4,3,2*h16,2*w16], ordered as the choices are."""
    h, w = coarse.shape[2:]
    p = F.pad(coarse.float(), (1, 1, 1, 1), mode="replicate").to(coarse.dtype)
    ys = torch.arange(h, device=coarse.device).repeat_interleave(2) + 1
    xs = torch.arange(w, device=coarse.device).repeat_interleave(2) + 1
    ys_side = ys + torch.tensor([-1, 1], device=coarse.device).repeat(h)
    xs_side = xs + torch.tensor([-1, 1], device=coarse.device).repeat(w)
    picks = [(ys, xs), (ys, xs_side), (ys_side, xs), (ys_side, xs_side)]
    return torch.stack([p[:, :, a][:, :, :, b] for a, b in picks], 1)


def dense_vectors(coarse: Tensor, choice: Tensor) -> Tensor:
    """Vector of each 8×8 block [B,3,...] from coarse [B,3,h16,w16] and choice [B,2*h16,2*w16] in 0..3."""
    candidates = neighbours(coarse)
    index = choice.long()[:, None, None].expand(-1, 1, coarse.shape[1], -1, -1)
    return candidates.gather(1, index).squeeze(1)


# ---------------------------------------------------------------------------------------------------- search


def _coarse_start(cur: Tensor, ref: Tensor, reach: int) -> Tensor:
    """Every other displacement at a quarter of the size: [B,1,H,W] -> vectors [B,2,H/16,W/16] in quarter samples."""
    c = F.avg_pool2d(cur, 4)[:, 0]
    r = F.pad(F.avg_pool2d(ref, 4), (reach,) * 4, mode="replicate")[:, 0].contiguous()
    b, h, w = c.shape
    side = 2 * reach + 1
    pitch = r.shape[2]
    away = (torch.arange(side, device=cur.device) - reach).abs()
    best = torch.full((b, h // 4, w // 4), torch.inf, device=cur.device)
    found = torch.zeros(b, h // 4, w // 4, dtype=torch.int64, device=cur.device)
    for y in range(0, side, 2):
        # the rows of every other horizontal displacement at once
        moved = r.as_strided((side // 2 + 1, b, h, w), (2, r.stride(0), pitch, 1), r.storage_offset() + y * pitch)
        sad = (c - moved).abs_().view(-1, b, h // 4, 4, w // 4, 4).sum(5).sum(3)
        sad += 0.002 * (away[::2] + abs(y - reach)).view(-1, 1, 1, 1)
        least, at = sad.min(0)
        found = torch.where(least < best, 2 * at + y * side, found)
        best = torch.minimum(least, best)
    rows = torch.div(found, side, rounding_mode="floor") - reach
    return torch.stack([rows, found % side - reach], 1) * 16


def _vector_bits(delta: Tensor) -> Tensor:
    """About what a vector costs that is off by ``delta`` [...,2,h,w] quarter samples (exp-Golomb-like)."""
    return (0.35 + 2.0 * torch.log2(1.0 + delta.abs())).sum(-3)


def _middle(vectors: Tensor) -> Tensor:
    """Mean of the middle two of each vector's four neighbours, per component [B,2,h,w]."""
    p = F.pad(vectors, (1, 1, 1, 1), mode="replicate")
    up, down, left, right = p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:]
    low = torch.minimum(torch.minimum(up, down), torch.minimum(left, right))
    high = torch.maximum(torch.maximum(up, down), torch.maximum(left, right))
    return (up + down + left + right - low - high) / 2


class _Matcher:
    """Best vectors so far of one frame's 16×16 blocks, and their cost."""

    def __init__(self, cur: Tensor, ref: Reference, start: Tensor, price: float, rows: int) -> None:
        """rows: every so many-th row of a block is compared."""
        self.cur, self.ref, self.price, self.rows = cur[:, 0, ::rows], ref, price, rows
        self.best = start.float()
        self.sad = self.sums(self.best[None], 16)[0]

    def sums(self, vectors: Tensor, block: int) -> Tensor:
        """Sums of absolute differences of each block under vectors [n,B,2,h,w], n a block: [n,B,h,w]."""
        v = _clamped(vectors.long(), block, self.ref.shape)
        b, _, high, wide = self.ref.phases.shape
        h, w = v.shape[-2:]
        phase = (v[:, :, 0] & 3) * 4 + (v[:, :, 1] & 3)
        offset = (phase * high + (v[:, :, 0] >> 2)) * wide + (v[:, :, 1] >> 2)
        corners = _corners(b, h, w, block, (high, wide), self.rows, v.device)
        flat = self.ref.phases.reshape(-1)
        runs = flat.as_strided((flat.numel() - block + 1, block), (1, 1))  # each block's rows are runs of samples
        moved = runs.index_select(0, (offset[:, :, :, None] + corners).reshape(-1))
        now = self.cur.view(1, b, h, block // self.rows, w, block)
        differences = moved.view(-1, b, h, block // self.rows, w, block).sub_(now).abs_()
        total: Tensor = differences.sum(3).sum(-1) * self.rows
        return total

    def consider(self, candidates: Tensor) -> None:
        """Take the cheapest of each block's candidates [n,B,2,h,w] where it is cheaper than what it has."""
        around = _middle(self.best)
        vectors = candidates.clamp(-RANGE, RANGE)
        sad = self.sums(vectors, 16)
        least, at = (sad + self.price * _vector_bits(vectors - around)).min(0)
        better = least < self.sad + self.price * _vector_bits(self.best - around)
        chosen = vectors.gather(0, at[None, :, None].expand(-1, -1, 2, -1, -1))[0]
        self.sad = torch.where(better, sad.gather(0, at[None])[0], self.sad)
        self.best = torch.where(better[:, None], chosen, self.best)

    def ring(self, steps: list[tuple[int, int]], scale: int) -> None:
        """Try vectors around the best ones."""
        offsets = torch.tensor(steps, dtype=torch.float32, device=self.best.device).view(-1, 1, 2, 1, 1) * scale
        self.consider(self.best + offsets)

    def spread(self) -> None:
        """Try each neighbour's vector, then what the four of them predict."""
        p = F.pad(self.best, (1, 1, 1, 1), mode="replicate")
        self.consider(torch.stack([p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:]]))
        for _ in range(2):
            self.consider(torch.floor(_middle(self.best))[None])


_SOURCE_BITS = 3.0
_CROSS = [(-1, 0), (1, 0), (0, -1), (0, 1)]
_CORNERS = [(-1, -1), (-1, 1), (1, -1), (1, 1)]


def _kept(m: _Matcher, still: Tensor) -> Tensor:
    """Which 16×16 blocks [B,h,w] had better come from a picture that does not move; still: what they miss there."""
    moving = m.sad + m.price * _vector_bits(m.best - _middle(m.best))
    kept = torch.zeros_like(still, dtype=torch.bool)
    for _ in range(3):  # a block among others of its kind says so for less
        p = F.pad(kept.float()[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        fellows = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]
        kept = still + m.price * _SOURCE_BITS * (1 - fellows / 2) < moving
    return kept


def search(
    cur: Tensor, ref_luma: Tensor, previous: Tensor | None, price: float, beside: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Vectors of a frame by block matching, smooth where that costs little.

    cur, ref_luma [B,1,H,W] with H, W multiples of 16, on one scale; previous: the last frame's coarse vectors;
    price: sum of absolute differences that one bit is worth; beside [B,1,H,W]: a picture that may be taken unmoved.
    Returns coarse [B,3,H/16,W/16] and choice [B,H/8,W/8] (int64).
    """
    height, width = cur.shape[2:]
    reference = helper.begun(lambda: Reference.of(ref_luma))
    start = _coarse_start(cur, ref_luma, min(6, min(height, width) // 8))
    ref = reference()
    rough = _Matcher(cur, ref, torch.zeros_like(start), price, rows=4)
    rough.consider(torch.stack([start.float()] if previous is None else [start.float(), previous[:, :2].float()]))
    rough.ring(_CROSS + _CORNERS, 16)
    rough.ring(_CROSS, 8)
    m = _Matcher(cur, ref, rough.best, price, rows=2)
    m.ring(_CROSS, 4)
    m.spread()
    m.ring(_CROSS + _CORNERS, 4)
    m.ring(_CROSS + _CORNERS, 2)
    m.ring(_CROSS, 1)
    m.spread()
    if beside is None:
        kept, small = torch.zeros_like(m.sad, dtype=torch.bool), None
    else:
        small = F.avg_pool2d((cur - beside).abs(), 8)[:, 0] * 64
        kept = _kept(m, F.avg_pool2d(small[:, None], 2)[:, 0] * 4)
    coarse = torch.cat([m.best.long() * ~kept[:, None], kept[:, None].long()], 1)
    candidates = neighbours(coarse)
    same = (candidates == candidates[:, :1]).all(2)  # one vector twice: the first choice stands for both
    extra = torch.tensor([0.4, 3.0, 3.0, 3.0], device=cur.device).view(1, 4, 1, 1) * m.price
    cost = m.sums(candidates[:, :, :2].transpose(0, 1), 8).transpose(0, 1)
    if small is not None:
        cost = torch.where(candidates[:, :, 2] > 0, small[:, None], cost)
    cost = cost + extra
    cost[:, 1:].masked_fill_(same[:, 1:], torch.inf)
    choice = cost.argmin(1)
    return coarse, choice
