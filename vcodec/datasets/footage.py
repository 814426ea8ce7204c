"""Videos and pictures as training material: 8-bit 4:2:0 frames and the motion between them, as random crops.

folder ─► cache.py ─► clips of runs ─► random crops of contiguous frames
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from vcodec.datasets.base import Batch, Preparation, Run, split_clips
from vcodec.datasets.cache import find_files, prepare

__all__ = ["Clips", "Footage", "FootageConfig", "Images", "ImagesConfig", "video_files"]

VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".y4m", ".h264", ".264", ".hevc", ".265", ".ts", ".mpg"}
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def video_files(sources: Sequence[Path]) -> list[Path]:
    """Videos named or found below the folders named, sorted; raises InputError when there are none."""
    return find_files(sources, VIDEOS, "videos")


class Clips:
    """Clips of contiguous 8-bit frames; batches are random crops of them."""

    def __init__(self, clips: Sequence[Sequence[Run]]) -> None:
        self.clips = clips
        # a clip's chance grows with the root of its frames: long clips do not drown the others
        weight = np.sqrt([sum(len(r.luma) for r in runs) for runs in clips])
        self.chance = weight / weight.sum()

    def __len__(self) -> int:
        return len(self.clips)

    def split(self, held_back: int) -> tuple[Clips, Clips]:
        train, held = split_clips(self.clips, held_back)
        return Clips(train), Clips(held)

    def runs(self) -> Sequence[Sequence[Run]]:
        return self.clips

    def batch(self, rng: np.random.Generator, size: int, frames: int, crop: int) -> Batch:
        luma, chroma, vectors = [], [], []
        for _ in range(size):
            run = self._run(rng, frames)
            t, h, w = run.luma.shape
            side_h, side_w = min(crop, h), min(crop, w)
            t0 = int(rng.integers(0, max(1, t - frames + 1)))
            y0 = int(rng.integers(0, (h - side_h) // 16 + 1)) * 16
            x0 = int(rng.integers(0, (w - side_w) // 16 + 1)) * 16
            at = np.minimum(np.arange(t0, t0 + frames), t - 1)
            ys, xs = np.s_[y0 : y0 + side_h], np.s_[x0 : x0 + side_w]
            y = run.luma[:, ys, xs][at]
            c = run.chroma[:, :, y0 // 2 : (y0 + side_h) // 2, x0 // 2 : (x0 + side_w) // 2][at]
            v = run.vectors[:, :, y0 // 8 : (y0 + side_h) // 8, x0 // 8 : (x0 + side_w) // 8][at].astype(np.int64)
            v[np.concatenate([[False], at[1:] == at[:-1]])] = 0  # a repeated last frame does not move
            if rng.random() < 0.5:  # mirror left-right
                y, c, v = y[..., ::-1], c[..., ::-1], v[..., ::-1] * np.array([1, -1]).reshape(1, 2, 1, 1)
            pad = [(0, 0), (0, crop - side_h), (0, crop - side_w)]
            luma.append(np.pad(y, pad, mode="edge"))
            chroma.append(np.pad(c, [(0, 0), (0, 0), *[(0, b // 2) for _, b in pad[1:]]], mode="edge"))
            vectors.append(np.pad(v, [(0, 0), (0, 0), *[(0, b // 8) for _, b in pad[1:]]], mode="edge"))
        return Batch(
            torch.from_numpy(np.stack(luma)).float().div(255)[:, :, None],
            torch.from_numpy(np.stack(chroma)).float().div(255),
            torch.from_numpy(np.stack(vectors)),
        )

    def _run(self, rng: np.random.Generator, frames: int) -> Run:
        runs = self.clips[int(rng.choice(len(self.clips), p=self.chance))]
        long_enough = [r for r in runs if len(r.luma) >= frames] or list(runs)
        return long_enough[int(rng.integers(len(long_enough)))]


@dataclass(frozen=True)
class FootageConfig:
    """Videos."""

    frames: int = 128
    """frames kept of each clip, >= 2"""


class Footage(Clips):
    """Videos, decoded once into the run's cache; files that cannot be read are left out."""

    Config = FootageConfig

    @classmethod
    def open(cls, paths: Sequence[Path], config: FootageConfig, preparation: Preparation) -> Self:
        return cls(prepare(video_files(paths), config.frames, 2, preparation))


@dataclass(frozen=True)
class ImagesConfig:
    """Pictures: nothing to set."""


class Images(Clips):
    """Pictures as clips that stand still; those that cannot be read are left out."""

    Config = ImagesConfig

    @classmethod
    def open(cls, paths: Sequence[Path], config: ImagesConfig, preparation: Preparation) -> Self:
        return cls(prepare(find_files(paths, PICTURES, "pictures"), 1, 1, preparation))
