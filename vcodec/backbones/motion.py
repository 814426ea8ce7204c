"""Block motion: compensation on both sides of the codec, and the encoder's search.

Vectors are integers in quarter luma samples, one for each 8×8 block (rows, columns first: [B,2,h,w] is (dy, dx)).
They are sent as one vector for each 16×16 block and, for each of its four 8×8 blocks, a choice of whose vector to use:

    choice 0  the block's own 16×16          1  the 16×16 beside it (left or right, on this quadrant's side)
           2  the 16×16 above or below it    3  the diagonal one

Interpolation filters are HEVC's DCT-IF (8 taps luma, 4 taps chroma; H.265 §8.5.3.3.3): integers over 64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["MARGIN", "Reference", "compensate", "dense_vectors", "search"]

MARGIN = 16  # luma samples a block may reach outside the frame
_PAD = MARGIN + 4  # plus the reach of the filters
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
    """Vectors [B,2,h,w] limited so that no block reads outside the padded reference (normative)."""
    h, w = vectors.shape[2:]
    top = torch.arange(h, device=vectors.device)[:, None] * block * 4
    left = torch.arange(w, device=vectors.device)[None, :] * block * 4
    reach = 4 * MARGIN
    dy = torch.minimum(torch.maximum(vectors[:, 0], -reach - top), shape[0] * 4 + reach - block * 4 - top)
    dx = torch.minimum(torch.maximum(vectors[:, 1], -reach - left), shape[1] * 4 + reach - block * 4 - left)
    return torch.stack([dy, dx], 1)


def _fetch(up: Tensor, dy: Tensor, dx: Tensor, block: int, sub: int, pad: int) -> Tensor:
    """Samples of each block displaced by (dy, dx) in 1/sub samples: up [B,P,Hp,Wp], dy/dx [B,h,w] -> [B,h*block,w*block]."""
    b, phases, hp, wp = up.shape
    h, w = dy.shape[1:]
    phase = torch.remainder(dy, sub) * sub + torch.remainder(dx, sub)
    offset = (phase * hp + torch.div(dy, sub, rounding_mode="floor")) * wp + torch.div(dx, sub, rounding_mode="floor")
    offset = offset + torch.arange(b, device=up.device)[:, None, None] * (phases * hp * wp)
    rows = torch.arange(h * block, device=up.device).view(1, h, block, 1, 1) + pad
    cols = torch.arange(w * block, device=up.device).view(1, 1, 1, w, block) + pad
    index = offset.view(b, h, 1, w, 1) + (rows * wp + cols)
    return up.reshape(-1).index_select(0, index.reshape(-1)).view(b, h * block, w * block)


def _interpolate(plane: Tensor, dy: Tensor, dx: Tensor, block: int, taps: Tensor, before: int) -> Tensor:
    """Blocks of a plane [B,H,W] displaced by dy, dx [B,h,w] in 1/len(taps) samples -> [B,h*block,w*block].

    Every block's patch is gathered once; the two separable filters then run over all blocks at a time, tap by tap, in a
    fixed order (the result does not depend on threads).
    """
    sub, length = taps.shape
    b, h, w = dy.shape
    pad = MARGIN * block // 8 + length
    wide = F.pad(plane[:, None], (pad, pad, pad, pad), mode="replicate")[:, 0]
    hp, wp = wide.shape[1:]
    side = block + length - 1
    top = torch.arange(h, device=plane.device).view(1, h, 1) * block + pad - before
    left = torch.arange(w, device=plane.device).view(1, 1, w) * block + pad - before
    frame = torch.arange(b, device=plane.device).view(b, 1, 1) * hp
    row = frame + top + torch.div(dy, sub, rounding_mode="floor")
    start = (row * wp + left + torch.div(dx, sub, rounding_mode="floor")).reshape(1, -1)
    within = torch.arange(side, device=plane.device)
    index = start + (within.view(-1, 1) * wp + within.view(1, -1)).reshape(-1, 1)
    patch = wide.reshape(-1).index_select(0, index.reshape(-1)).view(side, side, -1)
    weights = taps.to(plane) / 64
    across = weights[torch.remainder(dx, sub).reshape(-1)].t()  # [taps, blocks]
    down = weights[torch.remainder(dy, sub).reshape(-1)].t()
    x = patch[:, :block] * across[0]
    for i in range(1, length):
        x = torch.addcmul(x, patch[:, i : i + block], across[i])
    y = x[:block] * down[0]
    for i in range(1, length):
        y = torch.addcmul(y, x[i : i + block], down[i])
    return y.view(block, block, b, h, w).permute(2, 3, 0, 4, 1).reshape(b, h * block, w * block)


def compensate(luma: Tensor, chroma: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] displaced by vectors [B,2,H/8,W/8]: the prediction, same shapes."""
    b, _, h, w = luma.shape
    v = _clamped(vectors.long(), 8, (h, w))
    out = _interpolate(luma[:, 0], v[:, 0], v[:, 1], 8, _LUMA, 3)
    both = v.repeat_interleave(2, 0)  # U and V of a frame stand side by side in the batch
    out_c = _interpolate(chroma.reshape(2 * b, h // 2, w // 2), both[:, 0], both[:, 1], 4, _CHROMA, 1)
    return out[:, None], out_c.view(b, 2, h // 2, w // 2)


def neighbours(coarse: Tensor) -> Tensor:
    """For each 8×8 block its four candidates: [B,2,h16,w16] -> [B,4,2,2*h16,2*w16], ordered as the choices are."""
    h, w = coarse.shape[2:]
    p = F.pad(coarse.float(), (1, 1, 1, 1), mode="replicate").to(coarse.dtype)
    ys = torch.arange(h, device=coarse.device).repeat_interleave(2) + 1
    xs = torch.arange(w, device=coarse.device).repeat_interleave(2) + 1
    ys_side = ys + torch.tensor([-1, 1], device=coarse.device).repeat(h)
    xs_side = xs + torch.tensor([-1, 1], device=coarse.device).repeat(w)
    picks = [(ys, xs), (ys, xs_side), (ys_side, xs), (ys_side, xs_side)]
    return torch.stack([p[:, :, a][:, :, :, b] for a, b in picks], 1)


def dense_vectors(coarse: Tensor, choice: Tensor) -> Tensor:
    """Vector of each 8×8 block from coarse [B,2,h16,w16] and choice [B,2*h16,2*w16] in 0..3."""
    candidates = neighbours(coarse)
    index = choice.long()[:, None, None].expand(-1, 1, 2, -1, -1)
    return candidates.gather(1, index).squeeze(1)


# ---------------------------------------------------------------------------------------------------- search


def _block_sums(x: Tensor, n: int) -> Tensor:
    """Sums over n×n blocks of [B,H,W]."""
    b, h, w = x.shape
    return x.view(b, h // n, n, w // n, n).sum((2, 4))


def _coarse_start(cur: Tensor, ref: Tensor, reach: int) -> Tensor:
    """Full search at a quarter of the size: luma [B,1,H,W] -> vectors [B,2,H/16,W/16] in quarter samples."""
    c = F.avg_pool2d(cur, 4)[:, 0]
    r = F.pad(F.avg_pool2d(ref, 4), (reach,) * 4, mode="replicate")[:, 0]
    h, w = c.shape[1:]
    steps = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    costs = []
    for y, x in steps:
        diff = (c - r[:, reach + y : reach + y + h, reach + x : reach + x + w]).abs()
        costs.append(_block_sums(diff, 4) + 0.002 * (abs(y) + abs(x)))
    best = torch.stack(costs, 0).argmin(0)
    table = torch.tensor(steps, device=cur.device) * 16
    return table[best].permute(0, 3, 1, 2)


def _vector_bits(delta: Tensor) -> Tensor:
    """About what a vector component costs that is off by ``delta`` quarter samples (exp-Golomb-like)."""
    return 0.35 + 2.0 * torch.log2(1.0 + delta.abs().float())


def _field_cost(vectors: Tensor, around: Tensor) -> Tensor:
    """Bits of each vector given the median of its four neighbours in the current field: [B,h,w]."""
    p = F.pad(around.float(), (1, 1, 1, 1), mode="replicate")
    four = torch.stack([p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:]])
    middle = four.sort(0).values[1:3].mean(0)
    return _vector_bits(vectors - middle).sum(1)


def search(
    cur: Tensor, ref: Reference, ref_luma: Tensor, previous: Tensor | None, price: float
) -> tuple[Tensor, Tensor]:
    """Vectors of a frame by block matching, smooth where that costs little.

    cur, ref_luma [B,1,H,W] with H, W multiples of 16, on one scale; previous: the last frame's coarse vectors;
    price: sum of absolute differences that one bit is worth.
    Returns coarse [B,2,H/16,W/16] and choice [B,H/8,W/8] (int64).
    """
    b, _, height, width = cur.shape
    luma = cur[:, 0]

    def errors(vectors: Tensor, block: int) -> Tensor:
        v = _clamped(vectors, block, ref.shape)
        return (luma - _fetch(ref.phases, v[:, 0], v[:, 1], block, 4, _PAD)).abs()

    start = _coarse_start(cur, ref_luma, min(6, min(height, width) // 8))
    best = torch.zeros_like(start)
    best_sad = _block_sums(errors(best, 16), 16)

    def consider(candidate: Tensor) -> None:
        nonlocal best, best_sad
        candidate = candidate.clamp(-RANGE, RANGE)
        sad = _block_sums(errors(candidate, 16), 16)
        cost = sad + price * _field_cost(candidate, best)
        better = cost < best_sad + price * _field_cost(best, best)
        best = torch.where(better[:, None], candidate, best)
        best_sad = torch.where(better, sad, best_sad)

    def spread() -> None:
        p = F.pad(best.float(), (1, 1, 1, 1), mode="replicate").long()
        for c in (p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:]):
            consider(c)

    consider(start)
    if previous is not None:
        consider(previous.long())
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    for scale in (8, 4):
        centre = best
        for y, x in ring:
            consider(centre + torch.tensor([y, x], device=cur.device).view(1, 2, 1, 1) * scale)
    spread()
    for scale in (4, 2, 1):
        centre = best
        for y, x in ring:
            consider(centre + torch.tensor([y, x], device=cur.device).view(1, 2, 1, 1) * scale)
    spread()

    candidates = neighbours(best)
    costs = []
    for i in range(4):
        sad = _block_sums(errors(candidates[:, i], 8), 8)
        same = (candidates[:, i] == candidates[:, 0]).all(1)
        bits = 0.4 if i == 0 else 3.0
        costs.append(sad + price * bits + (same.float() * 1e9 if i else 0.0))
    choice = torch.stack(costs).argmin(0)
    return best, choice
