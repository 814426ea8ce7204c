"""`moving-digits`: Moving MNIST with digits drawn by the program, for machines that have neither files nor network.

    seed, number ─► value 0..9 ─► strokes ─► bend, slant, turn, scale ─► pen ─► uint8 [28,28]     (×N) ─► bounce ─► clip

Strokes are curves through a few points of a unit square; some digits have several ways of writing them.  A sample is
as bright as it is near to a stroke.  Like MNIST's, a digit fills 20×20 samples and stands in the middle of 28×28.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from vcodec.datasets.base import Batch, Preparation, Run
from vcodec.datasets.bouncing import bounce
from vcodec.errors import InputError, UsageError

__all__ = ["MovingDigits", "MovingDigitsConfig", "draw_digits"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
SIDE, FILLED = 28, 20
_TABLE_CLIPS = 48  # that runs() gives

# (x, y) from the top left; a digit is one of several lists of strokes
_STROKES: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [[[(0.5, 0), (0.15, 0.2), (0.1, 0.6), (0.45, 1), (0.85, 0.75), (0.85, 0.25), (0.5, 0)]]],
    1: [[[(0.5, 0), (0.5, 1)]], [[(0.3, 0.2), (0.52, 0), (0.52, 1)], [(0.25, 1), (0.8, 1)]]],
    2: [
        [[(0.12, 0.25), (0.4, 0), (0.8, 0.15), (0.7, 0.5), (0.1, 1)], [(0.1, 1), (0.9, 0.97)]],
        [[(0.15, 0.2), (0.5, 0), (0.8, 0.25), (0.5, 0.65), (0.15, 0.9), (0.3, 0.75), (0.6, 0.95), (0.95, 0.85)]],
    ],
    3: [
        [[(0.15, 0.1), (0.55, 0), (0.8, 0.22), (0.4, 0.46)], [(0.4, 0.46), (0.85, 0.7), (0.5, 1), (0.1, 0.88)]],
        [[(0.15, 0), (0.8, 0)], [(0.8, 0), (0.4, 0.4)], [(0.4, 0.4), (0.85, 0.62), (0.55, 1), (0.1, 0.9)]],
    ],
    4: [
        [[(0.2, 0), (0.12, 0.55)], [(0.12, 0.55), (0.85, 0.5)], [(0.75, 0.05), (0.68, 1)]],
        [[(0.65, 1), (0.68, 0)], [(0.68, 0), (0.1, 0.65)], [(0.1, 0.65), (0.95, 0.65)]],
    ],
    5: [[[(0.85, 0), (0.25, 0.02)], [(0.25, 0.02), (0.2, 0.42)], [(0.2, 0.42), (0.7, 0.42), (0.8, 0.8), (0.1, 0.98)]]],
    6: [[[(0.7, 0), (0.25, 0.35), (0.15, 0.8), (0.5, 1), (0.8, 0.75), (0.5, 0.52), (0.18, 0.72)]]],
    7: [
        [[(0.1, 0.03), (0.85, 0)], [(0.85, 0), (0.55, 0.45), (0.4, 1)]],
        [[(0.1, 0.08), (0.85, 0)], [(0.85, 0), (0.4, 1)], [(0.25, 0.5), (0.8, 0.47)]],
    ],
    8: [[[(0.75, 0.12), (0.35, 0.03), (0.3, 0.35), (0.75, 0.68), (0.55, 1), (0.2, 0.8), (0.55, 0.45), (0.75, 0.12)]]],
    9: [
        [[(0.8, 0.2), (0.45, 0), (0.15, 0.3), (0.5, 0.5), (0.8, 0.2)], [(0.8, 0.2), (0.75, 0.6), (0.6, 1)]],
        [[(0.78, 0.15), (0.4, 0.02), (0.2, 0.35), (0.6, 0.48), (0.8, 0.15), (0.8, 0.7), (0.25, 1)]],
    ],
}


def _curve(points: Floats, pieces: int = 6) -> Floats:
    """A Catmull-Rom curve through points [n,2], as a line of short pieces."""
    if len(points) == 2:
        return points
    p = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3))
    return np.concatenate([*parts, points[-1:]])


def _ink(segments: Floats, pen: float) -> Bytes:
    """Segments [n,2,2] in samples, drawn with a pen of that width: uint8 [28,28]."""
    y, x = (a.reshape(-1, 1) for a in np.mgrid[0:SIDE, 0:SIDE])
    (x0, y0), (dx, dy) = segments[:, 0].T, (segments[:, 1] - segments[:, 0]).T
    from_x, from_y = x - x0, y - y0
    share = np.clip((from_x * dx + from_y * dy) / np.maximum(dx**2 + dy**2, 1e-9), 0, 1)
    distance = np.sqrt(((from_x - share * dx) ** 2 + (from_y - share * dy) ** 2).min(1))
    ink: Bytes = np.round(255 * np.clip(pen / 2 + 0.5 - distance, 0, 1)).astype(np.uint8).reshape(SIDE, SIDE)
    return ink


def _digit(rng: np.random.Generator) -> Bytes:
    """One digit, all of it by chance."""
    ways = _STROKES[int(rng.integers(10))]
    strokes = ways[int(rng.integers(len(ways)))]
    slant, turn, narrow = rng.normal(0.1, 0.2), rng.normal(0, 0.12), rng.uniform(0.55, 1.0)
    shape = np.array([[narrow, -slant], [0.0, 1.0]])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # strokes that meet must still meet: each end is moved once, by where it is
    moved: dict[tuple[float, float], Floats] = {}
    lines = []
    for stroke in strokes:
        for point in stroke:
            moved.setdefault(point, rotation @ shape @ (np.array(point) + rng.normal(0, 0.035, 2)))
        lines.append(_curve(np.stack([moved[point] for point in stroke])))
    pen = rng.uniform(1.4, 3.4)
    every = np.concatenate(lines)
    low, high = every.min(0), every.max(0)
    scale = (FILLED - pen - 1) / (high - low).max()
    middle = (low + high) / 2
    segments = np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in lines])
    return _ink((segments - middle) * scale + (SIDE - 1) / 2, pen)


def draw_digits(count: int, seed: int) -> Bytes:
    """Drawn digits uint8 [count,28,28]; the n-th depends on seed and n alone."""
    return np.stack([_digit(np.random.default_rng((seed, n))) for n in range(count)])


@dataclass(frozen=True)
class MovingDigitsConfig:
    """Moving digits."""

    digits: int = 2
    """digits in a clip, >= 1"""
    count: int = 1500
    """different digits drawn, >= 2"""
    seed: int = 0
    """of the digits' shapes"""


class MovingDigits:
    """Clips of bouncing digits, made as they are asked for; digits held back never appear in training."""

    Config: ClassVar[type[Any]] = MovingDigitsConfig

    def __init__(self, glyphs: Bytes, digits: int) -> None:
        """glyphs: uint8 [N,h,w], what moves; digits: how many in a clip."""
        if len(glyphs) < 2 or digits < 1:
            raise InputError("moving digits need at least two shapes to choose from, and one in a clip")
        self.glyphs, self.digits = glyphs, digits

    @classmethod
    def open(cls, paths: Sequence[Path], config: MovingDigitsConfig, preparation: Preparation) -> Self:
        if paths:
            raise UsageError(f"moving-digits are drawn by the program: leave out {paths[0]}")
        return cls(draw_digits(config.count, config.seed), config.digits)

    def __len__(self) -> int:
        return len(self.glyphs)

    def split(self, held_back: int) -> tuple[MovingDigits, MovingDigits]:
        """One of held_back shapes is kept for validation."""
        if not held_back or len(self.glyphs) < 2 * max(2, held_back):
            return self, self
        kept = np.arange(len(self.glyphs)) % held_back == held_back - 1
        return MovingDigits(self.glyphs[~kept], self.digits), MovingDigits(self.glyphs[kept], self.digits)

    def clip(self, rng: np.random.Generator, frames: int = 20, side: int = 64) -> Bytes:
        """One clip [frames,side,side]."""
        if side < max(self.glyphs.shape[1:]):
            raise InputError(f"a digit of {SIDE} samples does not fit a side of {side}: ask for crops of 32 or more")
        return bounce(self.glyphs, rng, count=self.digits, frames=frames, side=side)

    def batch(self, rng: np.random.Generator, size: int, frames: int, crop: int) -> Batch:
        """Clips as batches are."""
        clips = np.stack([self.clip(rng, frames, crop) for _ in range(size)])
        return Batch.gray(torch.from_numpy(clips).float().div(255)[:, :, None])

    def runs(self) -> Sequence[Sequence[Run]]:
        return [[Run.gray(f"clip {n}", self.clip(np.random.default_rng((1, n))))] for n in range(_TABLE_CLIPS)]
