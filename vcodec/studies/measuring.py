"""Points of a study: a video coded into a file, the file decoded, both compared on 8-bit frames."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vcodec import api, media
from vcodec.checkpoint import load_codec
from vcodec.metrics.psnr import psnr_from_error, squared_error
from vcodec.studies.clips import FRAMES

__all__ = ["Point", "decoded_clips", "measure", "source_clips"]

Bytes = npt.NDArray[np.uint8]


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


def source_clips(video: Path) -> Iterator[Bytes]:
    """Clips [20,H,W] of a stream of them."""
    with media.open_video(video, pixel_format="gray", audio=False) as source:
        yield from _clips(frame.planes[0] for frame in source.frames())


def decoded_clips(coded: Path, weights: Path) -> Iterator[Bytes]:
    """The same of a coded stream."""
    with api.open(coded, weights=weights) as vae:
        yield from _clips(planes[0] for planes in vae.frames())


def _clips(frames: Iterator[Bytes]) -> Iterator[Bytes]:
    while clip := list(islice(frames, FRAMES)):
        yield np.stack(clip)


def measure(note: Path, video: Path, weights: Path, k: int, show: Callable[[str], None]) -> Point:
    """Code ``video`` in GOPs of 20 frames and compare; ``note`` keeps the result and is read when it is there.

    The coded file stays beside it.
    """
    if note.exists():
        return Point(**json.loads(note.read_text("utf-8")))
    note.parent.mkdir(parents=True, exist_ok=True)
    coded = note.with_suffix(".vae")
    began = time.perf_counter()
    made = api.encode(
        video,
        coded,
        codec=load_codec(weights).name,
        k=k,
        gop=FRAMES,
        scene_cuts=False,
        weights=weights,
        overwrite=True,
    )
    errors, samples = [], 0
    for source, ours in zip(source_clips(video), decoded_clips(coded, weights), strict=True):
        errors += [squared_error(a, b) for a, b in zip(source, ours, strict=True)]
        samples = source[0].size
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
