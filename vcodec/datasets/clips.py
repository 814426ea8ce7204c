"""RGB clips of videos, for measuring on: a few runs of consecutive frames of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vcodec.datasets.footage import video_files
from vcodec.media import open_video
from vcodec.media.pixels import RgbConverter

__all__ = ["rgb_clips"]


def rgb_clips(
    sources: Sequence[Path], *, frames: int = 17, runs: int = 1, crop: tuple[int, int] = (128, 192), seed: int = 0
) -> Iterator[Tensor]:
    """Clips [3,T,h,w] in 0..1: `runs` from each video named or found below the folders named, cropped at random.

    Raises InputError, MediaError.
    """
    rng = np.random.default_rng(seed)
    for path in video_files(sources):
        with open_video(path, audio=False) as reader:
            info = reader.info
            total = info.frames or frames * runs
            starts = [round(i * max(0, total - frames) / max(1, runs)) for i in range(runs)]
            y, x = (int(rng.integers(max(0, n - m) + 1)) for n, m in zip((info.height, info.width), crop))
            convert = RgbConverter(info)
            held: list[np.ndarray] = []
            for number, frame in enumerate(reader.frames()):
                if not starts:
                    break
                if starts[0] <= number < starts[0] + frames:
                    held.append(convert(frame)[y : y + crop[0], x : x + crop[1]])
                if number + 1 >= starts[0] + frames:
                    yield _clip(held)
                    held = []
                    starts.pop(0)
            if held:
                yield _clip(held)


def _clip(held: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(held)).permute(3, 0, 1, 2).float().div(255)
