"""A picture of what a model does: a row a crop, columns source and reconstructions, as one PNG."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from av import CodecContext, VideoFrame
from torch import Tensor

from vcodec.datasets.base import to_rgb

__all__ = ["save_samples"]

GAP = 4  # samples between two pictures


def save_samples(path: Path, clips: Mapping[str, Tensor], pixel_format: str) -> None:
    """Write the last frame of each clip [n,C,T,H,W] as a grid: a column a name, in order, left to right."""
    columns = []
    for clip in clips.values():
        rgb = to_rgb(clip.float(), pixel_format)[:, :, -1].clamp(0, 1).expand(-1, 3, -1, -1)
        frames = rgb.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        columns.append(np.concatenate([np.pad(f, ((GAP, 0), (GAP, 0), (0, 0))) for f in frames]))
    if not columns:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate(columns, 1)), format="rgb24")
    encoder = CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = (
        picture.width,
        picture.height,
        "rgb24",
        Fraction(1, 25),
    )
    part = path.with_suffix(".part")
    part.write_bytes(b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None))))
    part.replace(path)
