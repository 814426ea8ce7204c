"""Block motion: what is sent of it, and the encoder's search.

Vectors are integers in quarter luma samples, one for each 8×8 block (rows, columns first: [B,2,h,w] is (dy, dx)).
They are sent as one vector for each 16×16 block and, for each of its four 8×8 blocks, a choice of whose vector to use.
A third component beside (dy, dx) is the source: 0 for the last frame; 1 for the memory, an older picture that nothing
moves in, so that (dy, dx) is (0, 0) there.

    choice 0  the block's own 16×16          1  the 16×16 beside it (left or right, on this quadrant's side)
           2  the 16×16 above or below it    3  the diagonal one
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.backbones.compensation import LUMA_TAPS, MARGIN, clamped

__all__ = ["CORNERS", "CROSS", "Matcher", "Reference", "coarse_start", "dense_vectors", "neighbours", "search"]

_PAD = MARGIN + 4  # plus the reach of the filters
RANGE = 255  # largest vector component, quarter samples


class Reference(NamedTuple):
    """A luma plane, interpolated at every quarter sample or at none: what the search reads.

    phases [B,16,Hp,Wp] or [B,1,Hp,Wp]; shape = (H, W) of the frame.
    """

    phases: Tensor
    shape: tuple[int, int]

    @staticmethod
    def of(luma: Tensor) -> Reference:
        """luma [B,1,H,W]."""
        weight = torch.einsum("at,bs->abts", LUMA_TAPS.double(), LUMA_TAPS.double()).reshape(16, 1, 8, 8) / 4096
        wide = F.pad(luma, (_PAD + 3, _PAD + 4, _PAD + 3, _PAD + 4), mode="replicate")
        return Reference(F.conv2d(wide, weight.to(luma)), (luma.shape[2], luma.shape[3]))

    @staticmethod
    def whole(luma: Tensor) -> Reference:
        """luma [B,1,H,W], for vectors of whole samples only."""
        return Reference(F.pad(luma, (_PAD,) * 4, mode="replicate"), (luma.shape[2], luma.shape[3]))


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _corners(
    grid: tuple[int, int, int], block: int, planes: tuple[int, int, int], rows: int, device: torch.device
) -> Tensor:
    """Where every so many-th row of each block begins in the padded planes of each picture: [B,h,block/rows,w]."""
    (batch, h, w), (phases, high, wide) = grid, planes
    picture = torch.arange(batch, device=device).view(-1, 1, 1, 1) * (phases * high * wide)
    top = torch.arange(0, h * block, rows, device=device).view(1, h, block // rows, 1) + _PAD
    left = torch.arange(w, device=device) * block + _PAD
    return picture + top * wide + left


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


def coarse_start(cur: Tensor, ref: Tensor, reach: int) -> Tensor:
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


class Matcher:
    """Best vectors so far of one frame's 16×16 blocks, and their cost."""

    def __init__(self, cur: Tensor, ref: Reference, start: Tensor, price: float, rows: int) -> None:
        """rows: every so many-th row of a block is compared."""
        self.cur, self.ref, self.price, self.rows = cur[:, 0, ::rows], ref, price, rows
        self.limit = RANGE if ref.phases.shape[1] > 1 else RANGE - RANGE % 4
        self.best = start.float()
        self.sad = self.sums(self.best[None], 16)[0]

    def sums(self, vectors: Tensor, block: int) -> Tensor:
        """Sums of absolute differences of each block under vectors [n,B,2,h,w], n a block: [n,B,h,w]."""
        v = clamped(vectors.long(), block, self.ref.shape)
        b, phases, high, wide = self.ref.phases.shape
        h, w = v.shape[-2:]
        phase = (v[:, :, 0] & 3) * 4 + (v[:, :, 1] & 3)
        offset = (phase * high + (v[:, :, 0] >> 2)) * wide + (v[:, :, 1] >> 2)
        corners = _corners((b, h, w), block, (phases, high, wide), self.rows, v.device)
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
        vectors = candidates.clamp(-self.limit, self.limit)
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

    def borrow(self) -> None:
        """Try each neighbour's vector."""
        p = F.pad(self.best, (1, 1, 1, 1), mode="replicate")
        self.consider(torch.stack([p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:]]))

    def spread(self) -> None:
        """Try each neighbour's vector, then what the four of them predict."""
        self.borrow()
        for _ in range(2):
            self.consider(torch.floor(_middle(self.best))[None])


_SOURCE_BITS = 3.0
CROSS = [(-1, 0), (1, 0), (0, -1), (0, 1)]
CORNERS = [(-1, -1), (-1, 1), (1, -1), (1, 1)]


def _kept(m: Matcher, still: Tensor) -> Tensor:
    """Which 16×16 blocks [B,h,w] had better come from a picture that does not move; still: what they miss there."""
    moving = m.sad + m.price * _vector_bits(m.best - _middle(m.best))
    kept = torch.zeros_like(still, dtype=torch.bool)
    for _ in range(3):  # a block among others of its kind says so for less
        p = F.pad(kept.float()[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        fellows = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]
        kept = still + m.price * _SOURCE_BITS * (1 - fellows / 2) < moving
    return kept


def search(
    cur: Tensor, ref: Reference, start: Tensor, price: float, beside: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Vectors of a frame by block matching, smooth where that costs little.

    cur [B,1,H,W] with H, W multiples of 16, on ref's scale; start: vectors to begin with [B,2,H/16,W/16];
    price: sum of absolute differences that one bit is worth; beside [B,1,H,W]: a picture that may be taken unmoved.
    Returns coarse [B,3,H/16,W/16] and choice [B,H/8,W/8] (int64).
    """
    m = Matcher(cur, ref, start, price, rows=2)
    m.consider(torch.zeros_like(m.best)[None])  # noise moves, between sources; what stands still had better stay
    m.spread()
    m.ring(CROSS + CORNERS, 4)
    m.ring(CROSS + CORNERS, 2)
    m.ring(CROSS, 1)
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
