"""What an encoder sees ahead in the frames of a chunk: motion between sources, and what each block will be used for.

    source frames ─► rough motion, frame to frame ─► where the search in the decoded frame starts
                                 └─► how much of a block comes from the frame before ─► importance, last frame to first

A block that the coming frames are predicted from is worth more bits than one that is gone in the next frame (after
x264's macroblock tree).  What comes after the chunk is taken to be like its last frame.
"""

from __future__ import annotations

import itertools
import operator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.backbones import motion
from vcodec.backbones.glances import relit, texture
from vcodec.scale import USUAL, level_of, nominal_step

__all__ = ["Advice", "Seen", "look_ahead", "rough_motion"]

_PRICE = 8.0  # sum of absolute differences, in 8-bit levels, that a bit of rough motion is worth
_HORIZON = 10  # frames that come after the chunk
_STRENGTH = 0.7  # weight grows as (1 + use) to this power
_USUAL = 6.0  # 1 + use of a block that weighs 1
_LEAST, _MOST = 0.25, 4.0  # weight
# Mean log2 of weight where a cascade becomes flatter than usual, at K = 1 and for each step of log2 K; how much flatter
# for one less; at most
_FLAT_BELOW, _FLATTER, _FLATTEST = (0.82, -0.083), 20.0, 6
_STILL, _BOOST = 0.9, 2  # mean log2 of weight from where a GOP's first frame is boosted, and by how much
_NOISE = 0.4  # of the nominal step: differences that coding does not see


class Advice(NamedTuple):
    """For one frame.

    start [1,2,H/16,W/16]: vectors to start from, quarter samples, None without a frame before;
    weight [1,1,H/8,W/8]: what squared error is worth there; lighter, lit: whether light differs from the last two
    frames', and whether it has ever changed in the GOP; before, now: planes [1,1,H,W], [1,2,H/2,W/2] of the frame
    before, and its own; flatness, boost: of the frame's quality (scale.Quality).
    """

    start: Tensor | None
    weight: Tensor
    lighter: bool = True
    lit: bool = True
    before: tuple[Tensor, Tensor] | None = None
    now: tuple[Tensor, Tensor] | None = None
    flatness: int = USUAL.flatness
    boost: int = USUAL.boost


class Seen(NamedTuple):
    """The frame before a chunk: its planes, its rough motion [1,2,H/16,W/16] (None: of none), and light."""

    luma: Tensor  # [1,1,H,W]
    chroma: Tensor  # [1,2,H/2,W/2]
    vectors: Tensor | None
    lighter: bool = False  # than the frame before it, or darker
    lit: bool = False  # as in its Advice


def look_ahead(luma: Tensor, chroma: Tensor, seen: Seen | None, k: int) -> tuple[list[Advice], Seen]:
    """Advice for the frames [T,1,H,W], [T,2,H/2,W/2] of a chunk, in 0..1, and what the next chunk's wants of them."""
    frames = motion.levels(luma)[:, 0]
    if seen is not None:
        frames = np.concatenate([motion.levels(seen.luma)[0], frames])
    first = len(frames) - len(luma)  # of the chunk
    starts: list[Tensor] = []  # of each frame but the first
    missed: list[Tensor] = []
    last = None if seen is None else seen.vectors
    lighter = [False if seen is None else seen.lighter]
    for i in range(1, len(frames)):
        last, left, changed = _rough(frames[i], frames[i - 1], last)
        starts.append(last)
        missed.append(left[0])
        lighter.append(changed)
    known: list[Tensor | None] = [*starts] if first else [None, *starts]
    lit = list(itertools.accumulate(lighter[1:], operator.or_, initial=seen is not None and seen.lit))
    weights = torch.ones(len(luma), 1, luma.shape[2] // 8, luma.shape[3] // 8, device=luma.device)
    flatness = USUAL.flatness
    if starts:
        weights = _weights(frames, starts, torch.stack(missed), first, _NOISE * nominal_step(level_of(k)))
        weights = weights.to(luma.device)
        flatness = _flatness(weights, level_of(k))
    planes = [None if seen is None else (seen.luma, seen.chroma)]
    planes += [(luma[i : i + 1], chroma[i : i + 1]) for i in range(len(luma))]
    advice = [
        Advice(
            None if v is None else v.to(luma.device),
            weights[i : i + 1],
            any(lighter[max(0, i + first - 1) : i + first + 1]),
            lit[i + first],
            planes[i],
            planes[i + 1],
            flatness,
            _boost(weights[i]) if v is None else USUAL.boost,
        )
        for i, v in enumerate(known)
    ]
    return advice, Seen(luma[-1:], chroma[-1:], last, lighter[-1], lit[-1])


def _weights(frames: npt.NDArray[np.uint8], starts: list[Tensor], missed: Tensor, first: int, noise: float) -> Tensor:
    """What squared error is worth [T,1,H/8,W/8] in frames[first:]."""
    rough = np.empty(missed.shape, np.float32)
    for frame, out in zip(frames[1:], rough, strict=True):
        texture(frame, out)
    # how much of a block comes from the frame before
    share = (1.0 - missed.square() / (torch.from_numpy(rough).square() + noise**2)).clamp(0.0, 1.0)
    use = _series(share[-1])
    uses = [use]
    for t in range(len(share) - 1, first - 1, -1):
        use = _carried((1.0 + use) * share[t], starts[t][0])
        uses.append(use)
    weight = ((1.0 + torch.stack(uses[::-1])) / _USUAL) ** _STRENGTH
    return _spread(weight[:, None].clamp(_LEAST, _MOST), 2)


def _flatness(weights: Tensor, level: float) -> int:
    """Of a chunk's cascade: what nothing is predicted from for long need not be better than the rest."""
    usual = _FLAT_BELOW[0] + _FLAT_BELOW[1] * level
    flatter = _FLATTER * (usual - float(weights.log2().mean()))
    return min(USUAL.flatness + max(round(flatter), 0), _FLATTEST)


def _boost(weight: Tensor) -> int:
    """Of a GOP's first frame: what stands still is made of it for long."""
    return _BOOST if float(weight.log2().mean()) > _STILL else USUAL.boost


def _spread(maps: Tensor, scale: int) -> Tensor:
    return F.interpolate(maps, scale_factor=scale, mode="nearest")


def rough_motion(now: Tensor, last: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor, bool]:
    """From a frame last to the next one, now [1,1,H,W]; before: what this gave for last and the frame before it.

    Returns whole-sample vectors [1,2,H/16,W/16] in quarters, the mean absolute difference [1,H/16,W/16] that they
    leave, in 8-bit levels, and whether light has changed.
    """
    here, there = (motion.levels(plane)[0, 0] for plane in (now, last))
    vectors, left, changed = _rough(here, there, before)
    return vectors.to(now.device), left.to(now.device), changed


def _rough(
    now: npt.NDArray[np.uint8], last: npt.NDArray[np.uint8], before: Tensor | None
) -> tuple[Tensor, Tensor, bool]:
    """As rough_motion, of planes [H,W] in 8-bit levels; on the CPU."""
    level, changed = relit(now, last)
    vectors, sums = motion.rough_start(level, last, before, _PRICE)
    return vectors, sums / 256.0, changed


def _series(share: Tensor) -> Tensor:
    """share + share² + … over the horizon."""
    return torch.stack([share**n for n in range(1, _HORIZON + 1)]).sum(0)


def _carried(amount: Tensor, vectors: Tensor) -> Tensor:
    """What lies in each block [h,w] of the frame before, of amounts that came from there by vectors [2,h,w]."""
    h, w = amount.shape
    y = torch.arange(h, device=amount.device).view(-1, 1) + vectors[0] / 64
    x = torch.arange(w, device=amount.device) + vectors[1] / 64
    top, left = y.floor(), x.floor()
    out = torch.zeros(h * w, device=amount.device)
    for down in (0, 1):
        for right in (0, 1):
            part = ((y - top) if down else 1 - (y - top)) * ((x - left) if right else 1 - (x - left)) * amount
            place = (top + down).clamp(0, h - 1) * w + (left + right).clamp(0, w - 1)
            out.index_add_(0, place.long().reshape(-1), part.reshape(-1))
    return out.view(h, w)
