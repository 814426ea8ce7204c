"""Volumes that change in time, from .npy and .npz files of [T,C,H,W,D] or [T,H,W,D], as random crops in time and space.

Values are scaled to 0..1 by the range of their integer type, or by the least and greatest value of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from vcodec.datasets.base import Preparation, Run, VolumeBatch
from vcodec.datasets.cache import find_files
from vcodec.errors import InputError, MediaError
from vcodec.media import open_volume

__all__ = ["Volumes", "VolumesConfig"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VolumesConfig:
    """Volumes."""

    depth: int = 0
    """slices in a crop; 0: all of the shallowest volume"""
    limit_bytes: int = 4 << 30
    """most memory that all volumes together may take, as float32"""


class Volumes:
    """Volumes held in memory as float32 [T,C,D,H,W]; all have the same channels."""

    Config = VolumesConfig

    def __init__(self, volumes: Sequence[Floats], depth: int) -> None:
        self.volumes, self.depth = volumes, depth

    @classmethod
    def open(cls, paths: Sequence[Path], config: VolumesConfig, preparation: Preparation) -> Self:
        files = find_files(paths, {".npy", ".npz"}, "volumes")
        volumes: list[Floats] = []
        room = config.limit_bytes
        for i, path in enumerate(files):
            if preparation.progress:
                preparation.progress(i, len(files), path.name)
            with open_volume(path) as reader:
                t, c, h, w, d = reader.shape
                room -= 4 * t * c * h * w * d
                if room < 0:
                    raise InputError(
                        f"{path}: with it, the volumes take more than data.limit_bytes = {config.limit_bytes} of memory"
                    )
                if volumes and c != volumes[0].shape[1]:
                    raise InputError(f"{path}: {c} channels, but {files[0]} has {volumes[0].shape[1]}")
                moments = np.stack([np.moveaxis(moment, -1, 1) for moment in reader])
            volumes.append(_scaled(moments, path))
        shallowest = min(v.shape[2] for v in volumes)
        if config.depth > shallowest:
            raise InputError(f"data.depth = {config.depth}, but a volume has {shallowest} slices")
        return cls(volumes, config.depth or shallowest)

    def __len__(self) -> int:
        return len(self.volumes)

    def split(self, held_back: int) -> tuple[Volumes, Volumes]:
        """One of held_back volumes is held back; with fewer, the last ninth of each one's time."""
        if not held_back:
            return self, self
        if len(self.volumes) >= held_back:
            kept = [v for i, v in enumerate(self.volumes) if i % held_back == held_back - 1]
            rest = [v for i, v in enumerate(self.volumes) if i % held_back != held_back - 1]
            return Volumes(rest or kept, self.depth), Volumes(kept, self.depth)
        cuts = [len(v) - max(1, len(v) // 9) for v in self.volumes]
        if min(cuts) < 1:
            return self, self
        return (
            Volumes([v[:cut] for v, cut in zip(self.volumes, cuts)], self.depth),
            Volumes([v[cut:] for v, cut in zip(self.volumes, cuts)], self.depth),
        )

    def runs(self) -> Sequence[Sequence[Run]]:
        return []

    def batch(self, rng: np.random.Generator, size: int, frames: int, crop: int) -> VolumeBatch:
        """Crops [B,C,frames,depth,crop,crop]; where a volume is smaller, its edges are repeated."""
        weight = np.sqrt([len(v) for v in self.volumes])
        out = []
        for _ in range(size):
            volume = self.volumes[int(rng.choice(len(self.volumes), p=weight / weight.sum()))]
            t, _, d, h, w = volume.shape
            t0 = int(rng.integers(0, max(1, t - frames + 1)))
            z0, y0, x0 = (
                int(rng.integers(0, max(0, n - side) + 1)) for n, side in ((d, self.depth), (h, crop), (w, crop))
            )
            at = np.minimum(np.arange(t0, t0 + frames), t - 1)
            part = volume[:, :, z0 : z0 + self.depth, y0 : y0 + crop, x0 : x0 + crop][at]
            pad = [(0, 0), (0, 0), *((0, n - m) for n, m in zip((self.depth, crop, crop), part.shape[2:]))]
            out.append(np.pad(part, pad, mode="edge"))
        return VolumeBatch(torch.from_numpy(np.stack(out)).transpose(1, 2))


def _scaled(values: npt.NDArray[Any], path: Path) -> Floats:
    if values.dtype.kind == "b":
        return values.astype(np.float32)
    if values.dtype.kind in "ui":
        info = np.iinfo(values.dtype)
        return ((values.astype(np.float32) - np.float32(info.min)) / np.float32(info.max - info.min)).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise MediaError(f"{path}: it holds values that are not finite numbers")
    return ((values - low) / ((high - low) or 1.0)).astype(np.float32)
