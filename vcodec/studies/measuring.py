"""Points of a study: a video coded into a file, the file decoded, both compared on 8-bit frames."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vcodec import api, media
from vcodec.metrics.psnr import psnr_from_error, squared_error
from vcodec.studies.clips import FRAMES

__all__ = ["Point", "measure"]


@dataclass(frozen=True)
class Point:
    """Rate and distortion of one file."""

    file_bytes: int
    bpp: float
    """of the whole file"""
    mse: float
    """of samples in 0..1, over all frames"""
    psnr_y: float
    """dB, averaged over frames"""
    psnr_of_mse: float
    """dB, of the mean squared error of all frames"""
    encode_fps: float

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    note: Path, video: Path, weights: Path, k: int, show: Callable[[str], None], *, codec: str | None = None, fine: int = 0
) -> Point:  # fmt: skip
    """Code ``video`` in GOPs of 20 frames and compare; ``note`` keeps the result and is read when it is there."""
    if note.exists():
        return Point(**json.loads(note.read_text("utf-8")))
    note.parent.mkdir(parents=True, exist_ok=True)
    coded = note.with_suffix(".vae")
    began = time.perf_counter()
    made = api.encode(
        video, coded, codec=codec or _codec(weights), k=k, fine=fine, gop=FRAMES, scene_cuts=False,
        weights=weights, overwrite=True,
    )  # fmt: skip
    errors, samples = [], 0
    with api.open(coded, weights=weights) as vae, media.open_video(video, pixel_format="gray", audio=False) as source:
        for ours, frame in zip(vae.frames(), source.frames(), strict=True):
            errors.append(squared_error(frame.planes[0], ours[0]))
            samples = frame.planes[0].size
    total = len(errors) * samples
    point = Point(
        file_bytes=made["file_bytes"],
        bpp=made["bpp"],
        mse=sum(errors) / total / 255.0**2,
        psnr_y=float(np.mean([psnr_from_error(error, samples) for error in errors])),
        psnr_of_mse=psnr_from_error(sum(errors), total),
        encode_fps=made["encode_fps"],
    )
    note.write_text(json.dumps(point.facts(), indent=1), "utf-8")
    seconds = time.perf_counter() - began
    show(f"{note.stem}: {point.bpp:.4f} bpp, MSE {point.mse:.6f}, {point.psnr_y:.2f} dB, {seconds:.0f} s")
    return point


def _codec(weights: Path) -> str:
    from vcodec.checkpoint import load_codec

    return load_codec(weights).name
