"""The clips of a study: a dataset to train on, and a fixed set of test clips as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vcodec import media
from vcodec.datasets.base import Preparation
from vcodec.datasets.moving_digits import MovingDigits, MovingDigitsConfig
from vcodec.datasets.moving_mnist import MovingMnist, MovingMnistConfig

__all__ = ["FRAMES", "SIDE", "digit_clips", "draw", "open_digits", "write_clips"]

Bytes = npt.NDArray[np.uint8]
FRAMES, SIDE = 20, 64
_TEST_SEED, _OTHER_SHAPES = 2, 10**6


def open_digits(part: str, *, mnist: bool, folder: Path | None = None, seed: int = 0) -> MovingDigits:
    """Moving MNIST, or moving-digits; part: "train" or "test", which have no digit in common."""
    nothing = Preparation(Path())
    if mnist:
        return MovingMnist.open([folder] if folder else [], MovingMnistConfig(part=part), nothing)
    shapes = seed if part == "train" else seed + _OTHER_SHAPES
    return MovingDigits.open([], MovingDigitsConfig(seed=shapes), nothing)


def digit_clips(digits: MovingDigits, count: int, seed: int = _TEST_SEED, frames: int = FRAMES) -> Iterator[Bytes]:
    """``count`` clips [frames,64,64]; the n-th depends on seed and n alone."""
    for n in range(count):
        yield digits.clip(np.random.default_rng((seed, n)), frames, SIDE)


def draw(digits: MovingDigits, seed: int, number: int, size: int) -> Tensor:
    """The ``number``-th batch of a training: [size,1,20,64,64] in 0..1."""
    return digits.batch(np.random.default_rng((seed, number)), size, FRAMES, SIDE).clip("gray")


def write_clips(
    path: str | Path, digits: MovingDigits, count: int, *, seed: int = _TEST_SEED, frames: int = FRAMES,
    colour: bool = True, overwrite: bool = False,
) -> int:  # fmt: skip
    """Write clips one after another as one video, and give its number of frames.

    colour: as yuv420p of neutral chroma, which every codec takes; else gray.
    """
    kind = "yuv420p" if colour else "gray"
    info = media.VideoInfo(SIDE, SIDE, kind, Fraction(1, 25), Fraction(25), color_range=2)
    neutral = np.full((SIDE // 2, SIDE // 2), 128, np.uint8)
    written = 0
    with media.create_video(path, info, overwrite=overwrite) as writer:
        for clip in digit_clips(digits, count, seed, frames):
            for picture in clip:
                planes = (picture, neutral, neutral) if colour else (picture,)
                writer.write(media.Frame(planes, written))
                written += 1
    return written
