"""The scale of K: what depends on it is learned at K = 2, 4, …, 256, and is linear in log2 K between."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vcodec.errors import InputError

__all__ = [
    "BOOSTS",
    "CASCADE",
    "FLATNESSES",
    "LAMBDA",
    "USUAL",
    "LevelTable",
    "Quality",
    "between",
    "cascaded",
    "frame_level",
    "level_of",
    "levels_of",
    "nominal_step",
    "step_at",
]

LAMBDA = 0.134  # λ = LAMBDA · step², squared 8-bit levels a bit: the slope of D(R) at the nominal step
LEVELS = 8  # K = 2, 4, …, 256
EXPONENT = 0.58  # the nominal step falls as K to this power
# Quality of the frames of a GOP, in log2 K beside the K that was asked for: frames that others are predicted from, over
# longer, are worth more bits.  The keyframe, then every eighth, fourth, second and other frame.
CASCADE = (1.0, 0.5, -0.3, -0.7, -0.9)
_FLATTER = (-0.1, -0.05, -0.025, 0.025, 0.05)  # beside these, for each step that a cascade is flatter than usual
FLATNESSES = 8  # 0..7
BOOSTS = 16  # 0..15
# What K asks for, on that scale: log2 K stretched about K = 2, so that K from 2 to 256 spans the rates of practice.
LOWEST, STRETCH = 0.45, 1.18


class Quality(NamedTuple):
    """How good a frame is to be beside what K asks for; sent with each.

    flatness: of the cascade; boost: of this frame alone, in eighths of log2 K.
    """

    flatness: int = 2
    boost: int = 0


USUAL = Quality()


def level_of(k: int) -> float:
    """log2 K, 1..8; raises InputError outside."""
    if not 2 <= k <= 256:
        raise InputError(f"K = {k} is not a codebook size: choose an integer from 2 to 256")
    return math.log2(k)


def levels_of(ks: list[int], device: torch.device | None = None) -> Tensor:
    """Levels of a batch [B]."""
    return torch.tensor([level_of(k) for k in ks], device=device)


def nominal_step(level: float) -> float:
    """The step, in 8-bit levels, that K stands for: 6.7 at K = 256, 112 at K = 2.  λ follows its square."""
    return 10.0 * math.exp2(EXPONENT * (7.0 - level))


def step_at(k: int, fine: int) -> float:
    """The nominal step of K, made finer: ``fine`` is in 32nds of an octave."""
    return nominal_step(level_of(k)) * math.exp2(-fine / 32.0)


def frame_level(k: int, number: int, quality: Quality = USUAL) -> float:
    """log2 of the codebook that the ``number``-th frame of a GOP asks for that is coded at K = ``k``."""
    rank = 0 if number == 0 else 1 if number % 8 == 0 else 2 if number % 4 == 0 else 3 if number % 2 == 0 else 4
    level = LOWEST + STRETCH * (level_of(k) - 1.0) + CASCADE[rank]
    return level + _FLATTER[rank] * (quality.flatness - USUAL.flatness) + quality.boost / 8


def cascaded(k: int, fine: int, number: int, quality: Quality = USUAL) -> tuple[int, int]:
    """Codebook and finer step of the ``number``-th frame of a GOP that is coded at K = ``k``."""
    level = frame_level(k, number, quality)
    near = min(256, max(2, round(2.0**level)))
    return near, fine + round(32 * EXPONENT * (level - math.log2(near)))


def between(table: Tensor, level: Tensor, kind: Tensor) -> Tensor:
    """Rows of a table [kinds, LEVELS, width] at fractional levels [B] -> [B, width]."""
    at = (level - 1.0).clamp(0.0, LEVELS - 1.0)
    low = at.floor().clamp(max=LEVELS - 2.0)
    rows = low.long()
    mix = (at - low)[:, None]
    return table[kind, rows] * (1 - mix) + table[kind, rows + 1] * mix


class LevelTable(nn.Module):
    """A learned vector for each K and frame kind: forward(level [B], kind [B]) -> [B, width]."""

    def __init__(self, width: int, start: float = 0.0, kinds: int = 2) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.full((kinds, LEVELS, width), start))

    def forward(self, level: Tensor, kind: Tensor) -> Tensor:
        return between(self.table, level, kind)
