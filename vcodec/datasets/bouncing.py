"""Digits that move over a black square and bounce off its edges: the motion of Moving MNIST (Srivastava et al. 2015).

    digits uint8 [N,h,w] ─► pick, start anywhere, fly straight ─► max over the digits ─► clip uint8 [T,side,side]

Positions are real numbers, cut to whole samples when drawn, so a digit's speed wavers by a sample from frame to frame.
A digit that would leave the square stops at the edge, and goes on with that part of its velocity turned round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["STEP", "bounce", "draw", "positions"]

Bytes = npt.NDArray[np.uint8]
STEP = 0.1
"""length of a frame's step, as a share of the way a digit has from edge to edge"""


def positions(rng: np.random.Generator, frames: int, room: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Top left corners [frames,2] (row, column) of one digit that has ``room`` samples to move in."""
    place = rng.random(2)
    angle = rng.random() * 2 * np.pi
    velocity = np.array([np.sin(angle), np.cos(angle)])
    out = np.zeros((frames, 2))
    for t in range(frames):
        place = place + velocity * STEP
        low, high = place <= 0, place >= 1
        place = np.clip(place, 0, 1)
        velocity = np.where(low | high, -velocity, velocity)
        out[t] = place
    corners: npt.NDArray[np.int64] = np.floor(out * np.array(room)).astype(np.int64)
    return corners


def draw(digits: Bytes, corners: npt.NDArray[np.int64], side: int) -> Bytes:
    """Digits [n,h,w] at corners [n,T,2] over black: the brightest wins; [T,side,side]."""
    h, w = digits.shape[1:]
    clip = np.zeros((corners.shape[1], side, side), np.uint8)
    for digit, path in zip(digits, corners):
        for frame, (y, x) in zip(clip, path):
            part = frame[y : y + h, x : x + w]
            np.maximum(part, digit, out=part)
    return clip


def bounce(digits: Bytes, rng: np.random.Generator, *, count: int = 2, frames: int = 20, side: int = 64) -> Bytes:
    """One clip [frames,side,side]: ``count`` digits drawn from [N,h,w], with replacement."""
    chosen = digits[rng.integers(0, len(digits), count)]
    room = side - digits.shape[1], side - digits.shape[2]
    return draw(chosen, np.stack([positions(rng, frames, room) for _ in range(count)]), side)
