"""Layers of a clip: pictures that move as a whole over black, the brightest seen; and the encoder's search for them.

    frame t = max over layers i of  picture i shifted by path i at t        (zero where no layer reaches)

A frame is never darker than a layer that is in it.  So a layer's picture is the minimum, over all frames, of the frames
shifted back along its path; and on a wrong path this minimum loses what on the right one it keeps.  That is how paths
are found: frame by frame, keeping the few that lose least.  A second layer starts from what the first leaves over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Layers", "find_layers", "render"]

_REACH = 8  # samples a layer may move from one frame to the next, in either direction
_BEAM = 6  # paths kept at a time
_GAIN = 0.7  # a layer must leave no more than this of the squared error
_DARK = 2.0  # levels that count as black, and by which what is left over must be brighter
_TURN = 1e-4  # what a change of velocity by one sample costs, of the layer's brightness


class Layers(NamedTuple):
    """pictures [n,H,W] in 8-bit levels, each in its canvas's top left corner; paths [n,T,2] of that corner (row,
    column); sizes [n,2] of what is not black (rows, columns)."""

    pictures: Tensor
    paths: Tensor
    sizes: Tensor


class _Path(NamedTuple):
    """A path on its way: where it is against its start, how it got there, and the minimum along it so far."""

    score: float
    steps: tuple[tuple[int, int], ...]
    velocity: tuple[int, int]
    least: Tensor


def render(pictures: Tensor, paths: Tensor) -> Tensor:
    """Pictures [n,H,W] along integer paths [n,T,2] -> frames [T,H,W]."""
    h, w = pictures.shape[1:]
    frames = pictures.new_zeros(paths.shape[1], h, w)
    for picture, path in zip(pictures, paths.tolist()):
        for frame, (y, x) in zip(frames, path):
            y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + h, h), min(x + w, w)
            if y0 < y1 and x0 < x1:
                part = frame[y0:y1, x0:x1]
                torch.maximum(part, picture[y0 - y : y1 - y, x0 - x : x1 - x], out=part)
    return frames


def find_layers(frames: Tensor, count: int, most: int) -> Layers:
    """At most ``count`` layers of frames [T,H,W] in 8-bit levels, no side longer than ``most`` samples.

    Those that explain too little are left out.
    """
    t, h, w = frames.shape
    integer = torch.int64
    found = Layers(frames.new_zeros(0, h, w), torch.zeros(0, t, 2, dtype=integer), torch.zeros(0, 2, dtype=integer))
    shown = torch.zeros_like(frames)
    error = float(frames.square().sum())
    for _ in range(count if t > 1 else 0):
        left = torch.where(frames > shown + _DARK, frames, 0.0)
        start = int(left.sum((1, 2)).argmax())
        if error < 1e-9 or not left[start].any():
            break
        layer = _follow(frames, left[start], start)
        more = Layers(*(torch.cat([a, b]) for a, b in zip(found, layer)))
        seen = render(more.pictures, more.paths)
        rest = float((frames - seen).square().sum())
        if rest > _GAIN * error or int(layer.sizes.max()) > most:
            break
        found, shown, error = more, seen, rest
    return found


def _follow(frames: Tensor, seed: Tensor, start: int) -> Layers:
    """The layer that keeps most of ``seed`` [H,W], a part of frame ``start``."""
    t, h, w = frames.shape
    wide = F.pad(frames, (w, w, h, h))
    rows, columns = _extent(seed)
    forward = _search(wide, seed[rows, columns], range(start + 1, t), (rows.start, columns.start))
    back = _search(wide, forward.least, range(start - 1, -1, -1), (rows.start, columns.start))
    path = [*reversed(back.steps), (0, 0), *forward.steps]
    # outside the frame nothing is known of a layer
    open_sided = F.pad(frames, (w, w, h, h), value=255.0)
    picture = torch.stack(
        [f[h + y : 2 * h + y, w + x : 2 * w + x] for f, (y, x) in zip(open_sided, path)]
    ).min(0).values  # fmt: skip
    rows, columns = _extent(torch.where(picture > _DARK, picture, 0.0))
    canvas = torch.zeros_like(picture)
    part = picture[rows, columns]
    canvas[: part.shape[0], : part.shape[1]] = part
    corner = torch.tensor([rows.start, columns.start])
    return Layers(canvas[None], (torch.tensor(path) + corner)[None], torch.tensor([part.shape]))


def _extent(picture: Tensor) -> tuple[slice, slice]:
    """Rows and columns from the first to the last that is not zero (all, if all are)."""
    out = []
    for axis in (1, 0):
        used = picture.any(axis).nonzero()[:, 0]
        out.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, picture.shape[1 - axis]))
    return out[0], out[1]


def _search(wide: Tensor, seed: Tensor, order: range, corner: tuple[int, int]) -> _Path:
    """The path from ``seed``'s place through frames in ``order``; wide: frames with their own size of black around."""
    h, w = wide.shape[1] // 3, wide.shape[2] // 3
    side = 2 * _REACH + 1
    turn = _TURN * float(seed.sum())
    away = torch.arange(side) - _REACH
    paths = [_Path(float(seed.sum()), (), (0, 0), seed)]
    for n, number in enumerate(order):
        bids: list[tuple[float, int, int, int]] = []
        views = []
        for i, path in enumerate(paths):
            y, x = path.steps[-1] if path.steps else (0, 0)
            top, left = h + corner[0] + y - _REACH, w + corner[1] + x - _REACH
            views.append(_moved(wide[number], top, left, seed.shape))
            kept = torch.minimum(views[-1], path.least).sum((2, 3))
            if n:
                dy, dx = ((away - v).abs() for v in path.velocity)
                kept = kept - turn * (dy[:, None] + dx[None])
            best = kept.reshape(-1).topk(_BEAM)
            bids += [(s, i, *divmod(p, side)) for s, p in zip(best.values.tolist(), best.indices.tolist())]
        taken: set[tuple[int, int]] = set()
        grown = []
        for score, i, row, column in sorted(bids, reverse=True):
            path = paths[i]
            y, x = path.steps[-1] if path.steps else (0, 0)
            velocity = row - _REACH, column - _REACH
            at = y + velocity[0], x + velocity[1]
            if at in taken or abs(at[0]) > h - _REACH or abs(at[1]) > w - _REACH:
                continue
            taken.add(at)
            grown.append(_Path(score, (*path.steps, at), velocity, torch.minimum(views[i][row, column], path.least)))
            if len(grown) == _BEAM:
                break
        paths = grown
    return paths[0]


def _moved(frame: Tensor, top: int, left: int, size: torch.Size) -> Tensor:
    """Windows of ``size`` from (top, left) on, one for each displacement up to twice the reach: [side,side,h,w]."""
    side = 2 * _REACH + 1
    # a window that would leave the black around is moved back into it: its path is refused anyway
    top = min(max(top, 0), frame.shape[0] - side - size[0])
    left = min(max(left, 0), frame.shape[1] - side - size[1])
    part = frame[top : top + side + size[0] - 1, left : left + side + size[1] - 1]
    return part.unfold(0, size[0], 1).unfold(1, size[1], 1)
