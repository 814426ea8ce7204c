"""Block motion: what is sent of it, and the encoder's search.

Vectors are integers in quarter luma samples, one for each 8×8 block (rows, columns first: [B,2,h,w] is (dy, dx)).
A frame's grain says how fine they are: multiples of 1 << grain, which is what is sent.
They are sent as one vector for each 16×16 block and, for each of its four 8×8 blocks, a choice of whose vector to use.
A third component beside (dy, dx) is the source (vcodec/sources.py): the last frame, as it is or smoothed; or the
memory, an older picture that nothing moves in, so that (dy, dx) is (0, 0) there.

    choice 0  the block's own 16×16          1  the 16×16 beside it (left or right, on this quadrant's side)
           2  the 16×16 above or below it    3  the diagonal one
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from vcodec import helper
from vcodec.backbones import costs, matching, quadrants, settling, softening
from vcodec.backbones.compensation import LUMA_TAPS, OVERLAP
from vcodec.backbones.differences import unit_of
from vcodec.backbones.phases import interpolate
from vcodec.choices import chosen
from vcodec.grain import GRAINS, rounded
from vcodec.loops import KEPT

__all__ = ["Reference", "dense_vectors", "neighbours", "rough_start", "search"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_NONE, _TOP = np.float32(0.0), np.float32(255.0)


def levels(planes: Tensor) -> Bytes:
    """Samples in 0..1 -> 8-bit levels, as the search compares them: its sums are exact; bytes are left as they are."""
    if planes.dtype == torch.uint8:
        return planes.cpu().contiguous().numpy()
    given = planes.detach().float().cpu().contiguous().numpy()
    out = np.empty(given.shape, np.uint8)
    _round(given.reshape(-1), out.reshape(-1))
    return out


@njit(cache=KEPT, nogil=True)
def _round(values: npt.NDArray[np.float32], out: Bytes) -> None:
    for i in range(len(values)):
        out[i] = np.uint8(np.int32(np.rint(min(max(values[i] * _TOP, _NONE), _TOP))))


@njit(cache=KEPT, nogil=True)
def _widened(plane: Bytes, before: int, after: int) -> Bytes:
    """A plane [H,W] with so many samples more on its sides, edges repeated."""
    h, w = plane.shape
    out = np.empty((before + h + after, before + w + after), np.uint8)
    for y in range(h):
        given, line = plane[y], out[before + y]
        line[:before], line[before : before + w], line[before + w :] = given[0], given, given[w - 1]
    for y in range(before):
        out[y] = out[before]
    for y in range(before + h, len(out)):
        out[y] = out[before + h - 1]
    return out


class Reference(NamedTuple):
    """A luma plane in 8-bit levels, interpolated at every quarter sample or at none: what the search reads.

    phases [16,Hp,Wp] or [1,Hp,Wp].
    """

    phases: npt.NDArray[np.uint8]

    @staticmethod
    def of(luma: Tensor) -> Reference:
        """luma [1,1,H,W], in 0..1 or bytes."""
        plane = levels(luma)[0, 0]
        wide = _widened(plane, costs.PAD + 3, costs.PAD + 4)
        phases = np.empty((16, *(n + 2 * costs.PAD for n in plane.shape)), np.uint8)
        rows, taps = phases.shape[1], LUMA_TAPS.numpy()
        upper = helper.begun(lambda: interpolate(wide, taps, phases, 0, rows // 2))
        interpolate(wide, taps, phases, rows // 2, rows)
        upper()
        return Reference(phases)

    @staticmethod
    def whole(luma: Bytes) -> Reference:
        """luma [H,W], for vectors of whole samples only."""
        return Reference(_widened(luma, costs.PAD, costs.PAD)[None])


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
    if all(maps.device.type == "cpu" and maps.dtype == torch.int64 for maps in (coarse, choice)):
        out = torch.empty(*coarse.shape[:2], *choice.shape[1:], dtype=torch.int64)
        for frame in zip(coarse, choice, out, strict=True):
            chosen(*(maps.contiguous().numpy() for maps in frame))
        return out
    candidates = neighbours(coarse)
    index = choice.long()[:, None, None].expand(-1, 1, coarse.shape[1], -1, -1)
    return candidates.gather(1, index).squeeze(1)


# ---------------------------------------------------------------------------------------------------- search

_SOURCE_BITS = 3.0
_FIRST = 1  # grain to try first in a GOP
_TURNS = 2  # around all blocks


def rough_start(here: Bytes, there: Bytes, before: Tensor | None, price: float) -> tuple[Tensor, Tensor]:
    """Whole-sample vectors [1,2,H/16,W/16] (int64) from one frame to the next, and the sums they leave [1,H/16,W/16].

    here, there [H,W]: the next frame and the last; before: vectors that may serve; price: levels that a bit is worth.
    """
    found = np.zeros((1 if before is None else 2, 2, here.shape[0] // 16, here.shape[1] // 16), np.int64)
    matching.coarse_start(here, there, min(6, min(here.shape) // 8), found[0])
    if before is not None:
        found[1] = before[0].cpu().numpy()
    best = np.empty_like(found[0])
    sums = matching.refine_whole(here, Reference.whole(there).phases, found, best, price)
    return torch.from_numpy(best)[None], torch.from_numpy(sums)[None].float()


@njit(cache=KEPT, nogil=True)
def _kept(sums: Sums, best: Ints, grain: int, still: Sums, price: float) -> Flags:
    """Which 16×16 blocks [h,w] had better come from a picture that does not move; still: what they miss there."""
    h, w = still.shape
    gain = np.empty((h, w))  # what that saves, but for saying so
    for y in range(h):
        for x in range(w):
            gain[y, x] = sums[y, x] - still[y, x]
            for c in range(2):
                twice = costs.surroundings(best, best, c, y, x, grain)[5]
                gain[y, x] += price * (0.35 + 2.0 * np.log2(1.0 + abs(best[c, y, x] - twice / 2) / 2**grain))
    kept, before = np.zeros((h, w), np.bool_), np.zeros((h, w), np.bool_)
    for _ in range(3):  # a block among others of its kind says so for less
        before[:] = kept
        for y in range(h):
            for x in range(w):
                fellows = int(before[max(y - 1, 0), x]) + int(before[min(y + 1, h - 1), x])
                fellows += int(before[y, max(x - 1, 0)]) + int(before[y, min(x + 1, w - 1)])
                kept[y, x] = price * _SOURCE_BITS * (1 - fellows / 2) < gain[y, x]
    return kept


def _grain_of(vectors: Ints | None) -> int:
    """The coarsest grain that vectors [2,h,w] are in: about what the next frame's will be."""
    if vectors is None:
        return _FIRST
    bits = int(np.bitwise_or.reduce(vectors, axis=None))
    return max(g for g in GRAINS if not bits % (1 << g))


def _matched(now: Bytes, planes: Bytes, known: Ints, past: Ints | None, price: float, unit: float) -> tuple[Ints, int]:
    """Vectors [2,h,w] of a frame and their grain: the last frame's, or the next one to it while that costs less.

    known [n,2,h,w]: what may serve; past: the last frame's.
    """

    def before(grain: int) -> Ints:
        return costs.nowhere(known[0]) if past is None else rounded(past, grain) << grain

    def settled(vectors: Ints, grain: int, grouped: int) -> Sums:
        return settling.settled(now, planes, vectors, before(grain), price, grain, unit, _TURNS, grouped, noted)

    noted = costs.room_for_notes(known[0, 0].size)
    grain = _grain_of(past)
    best = np.empty_like(known[0])
    matching.begin(now, planes, rounded(known, grain) << grain, before(grain), best, price, grain)
    least = settled(best, grain, _TURNS)
    for way in (1, -1):
        started = grain
        while grain + way in GRAINS:
            next_to = grain + way
            other = rounded(best, next_to) << next_to
            if not settling.hoped(now, planes, other, before(next_to), price, next_to, unit, least, noted, way < 0):
                break
            found = settled(other, next_to, 1)
            if found.sum() > least.sum() or (found.sum() == least.sum() and way < 0):
                break
            best, least, grain = other, found, next_to
        if grain != started:
            break
    return best, grain


def search(
    cur: Tensor,
    ref: Reference,
    start: Tensor,
    price: float,
    step: float,
    beside: Tensor | None = None,
    before: Tensor | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Vectors of a frame by block matching, smooth where that costs little.

    cur [1,1,H,W] in 0..1 with H, W multiples of 16; start: vectors to begin with [1,2,H/16,W/16];
    price: sum of absolute differences that one bit is worth; step: of quantization, 8-bit levels;
    beside [1,1,H,W], bytes: a picture that may be taken unmoved; before: the last frame's coarse.
    Returns coarse [1,3,H/16,W/16] and choice [1,H/8,W/8] (int64), and the grain.
    """
    now, price, unit = levels(cur)[0, 0], price * 255.0, unit_of(step)
    others = [start[0].long(), torch.zeros_like(start[0]).long()]  # noise moves, between sources; much stands still
    if before is not None:
        others.append(before[0, :2].long())
    known = torch.stack(others).cpu().numpy()
    best, grain = _matched(now, ref.phases, known, None if before is None else known[-1], price, unit)
    sums = matching.misses(now, ref.phases, best)
    coarse = np.zeros((3, *sums.shape), np.int64)
    coarse[:2] = best
    other = now
    if beside is not None:
        other = levels(beside)[0, 0]
        kept = _kept(sums, best, grain, matching.unmoved(now, other), price)
        coarse[2] = kept
        coarse[:2] *= ~kept
    measure = unit, settling.CODING * price
    softening.choose_sources(now, ref.phases, coarse, matching.VECTORS * price, measure)
    choice = np.zeros([2 * n for n in sums.shape], np.int64)
    quadrants.choose(now, (ref.phases, other), coarse, OVERLAP.numpy(), price, unit, choice)
    return torch.from_numpy(coarse)[None].to(cur.device), torch.from_numpy(choice)[None].to(cur.device), grain
