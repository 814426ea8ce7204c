"""What a dataset is: clips that give random batches and, where tables are counted, themselves.

    paths, Config ──open──► Dataset ──split──► (to train on, held back) ──batch(rng, size, frames, crop)──► Batch

The random generator is an argument: the trainer makes one from the run's seed and the step's number, so that batch n is
the same whatever was drawn before it, in whichever process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.errors import UsageError

__all__ = ["AnyBatch", "Batch", "Dataset", "Preparation", "Run", "VolumeBatch", "split_clips", "to_rgb"]

Bytes = npt.NDArray[np.uint8]
_GRAY = 128 / 255


@dataclass(frozen=True)
class Run:
    """Contiguous frames of one clip: luma [T,H,W], chroma [T,2,H/2,W/2], vectors [T,2,H/8,W/8] (the first unused)."""

    name: str
    luma: Bytes
    chroma: Bytes
    vectors: npt.NDArray[np.int16]

    @classmethod
    def gray(cls, name: str, luma: Bytes) -> Run:
        """A run without colour, its frames predicted without motion."""
        t, h, w = luma.shape
        return cls(
            name, luma, np.full((t, 2, h // 2, w // 2), 128, np.uint8), np.zeros((t, 2, h // 8, w // 8), np.int16)
        )


@dataclass(frozen=True)
class Batch:
    """luma [B,T,1,h,w], chroma [B,T,2,h/2,w/2] in 0..1; vectors [B,T,2,h/8,w/8] int64: motion from the frame before."""

    luma: Tensor
    chroma: Tensor
    vectors: Tensor

    @classmethod
    def gray(cls, luma: Tensor) -> Batch:
        """Luma [B,T,1,h,w] without colour, its frames predicted without motion."""
        b, t, _, h, w = luma.shape
        return cls(luma, luma.new_full((b, t, 2, h // 2, w // 2), _GRAY), torch.zeros(b, t, 2, h // 8, w // 8).long())

    def __len__(self) -> int:
        return len(self.luma)

    def rows(self, start: int, stop: int) -> Batch:
        """Part of the batch."""
        return Batch(self.luma[start:stop], self.chroma[start:stop], self.vectors[start:stop])

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return Batch(self.luma.to(device), self.chroma.to(device), self.vectors.to(device))

    @property
    def samples(self) -> int:
        """Luma samples of one clip: what bits are counted against."""
        return self.luma[0].numel()

    def clip(self, pixel_format: str) -> Tensor:
        """As backbones see it, [B,C,T,H,W]: "gray" C = 1, "rgb" C = 3, "yuv420p" C = 6 at half size (4 luma, U, V)."""
        if pixel_format == "gray":
            return self.luma.transpose(1, 2)
        if pixel_format == "yuv420p":
            b, t, _, h, w = self.luma.shape
            packed = F.pixel_unshuffle(self.luma.reshape(b * t, 1, h, w), 2).view(b, t, 4, h // 2, w // 2)
            return torch.cat([packed, self.chroma], 2).transpose(1, 2)
        if pixel_format == "rgb":
            return to_rgb(self.clip("yuv420p"), "yuv420p")
        raise UsageError(f"video gives clips in gray, rgb or yuv420p, not {pixel_format}")


@dataclass(frozen=True)
class VolumeBatch:
    """values [B,C,T,D,H,W] float: volumes that change in time."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, start: int, stop: int) -> VolumeBatch:
        """Part of the batch."""
        return VolumeBatch(self.values[start:stop])

    def to(self, device: torch.device) -> VolumeBatch:
        """On another device."""
        return VolumeBatch(self.values.to(device))

    @property
    def samples(self) -> int:
        """Samples of one clip's first channel."""
        return self.values[0, 0].numel()

    def clip(self, pixel_format: str) -> Tensor:
        """As backbones of pixel format "volume" see it, [B,C,T,D,H,W]."""
        if pixel_format != "volume":
            raise UsageError(f"these are volumes, but the codec wants {pixel_format} video")
        return self.values


AnyBatch = Batch | VolumeBatch


@dataclass(frozen=True)
class Preparation:
    """Where and how a dataset may prepare its material."""

    cache: Path
    """folder of the run where it may keep files"""
    workers: int = 1
    """processes that it may use; what it makes does not depend on their number"""
    progress: Callable[[int, int, str], None] | None = None
    """called with (done, total, name of the item)"""


class Dataset(Protocol):
    """A kind of training material, as a row of DATASETS names it."""

    #: a frozen dataclass: the fields of a recipe's [data] table but ``kind``
    Config: ClassVar[type[Any]]

    @classmethod
    def open(cls, paths: Sequence[Path], config: Any, preparation: Preparation) -> Self:
        """The dataset of what the user named (empty for generated data); raises InputError when there is nothing."""

    def __len__(self) -> int:
        """Clips in it; for generated data, how many it stands for."""

    def split(self, held_back: int) -> tuple[Dataset, Dataset]:
        """(to train on, to validate on): one of held_back clips is never trained on; 0: both are all of it."""

    def batch(self, rng: np.random.Generator, size: int, frames: int, crop: int) -> AnyBatch:
        """``size`` clips of ``frames`` frames of crop×crop samples (a multiple of 16), drawn with ``rng`` alone."""

    def runs(self) -> Sequence[Sequence[Run]]:
        """Its clips whole, each a list of runs, for counting tables; generated data gives a fixed set of some dozens.

        Volumes have none: an empty list.
        """


def split_clips(clips: Sequence[Sequence[Run]], held_back: int) -> tuple[list[Sequence[Run]], list[Sequence[Run]]]:
    """(to train on, held back): every held_back-th clip is held back; with too few clips, the last runs of each."""
    if held_back and len(clips) >= held_back:
        kept = [c for i, c in enumerate(clips) if i % held_back == held_back - 1]
        return [c for i, c in enumerate(clips) if i % held_back != held_back - 1], kept
    if held_back and any(len(c) > 1 for c in clips):
        last = [max(1, len(c) // held_back) if len(c) > 1 else 0 for c in clips]
        held = [c[len(c) - n :] for c, n in zip(clips, last) if n]
        return [c[: len(c) - n] for c, n in zip(clips, last)], held
    return list(clips), list(clips)


def to_rgb(clip: Tensor, pixel_format: str) -> Tensor:
    """A clip as pictures to look at: [B,3,T,H,W] in 0..1, or [B,1,T,H,W] of gray; of volumes, the middle slice.

    yuv420p is read as BT.601 in limited range: what untagged and small footage is.
    """
    if pixel_format == "volume":
        return clip[:, :1, :, clip.shape[3] // 2]
    if pixel_format != "yuv420p":
        return clip
    b, _, t, h, w = clip.shape
    planes = clip.transpose(1, 2).reshape(b * t, 6, h, w)
    y = (F.pixel_shuffle(planes[:, :4], 2)[:, 0] - 16 / 255) * (255 / 219)
    wide = F.interpolate(planes[:, 4:], scale_factor=2, mode="bilinear", align_corners=False)
    u, v = wide[:, 0] * (255 / 224) - 128 / 224, wide[:, 1] * (255 / 224) - 128 / 224
    rgb = torch.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], 1).clamp(0, 1)
    return rgb.view(b, t, 3, 2 * h, 2 * w).transpose(1, 2)
