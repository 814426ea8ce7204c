"""What the study is measured against: x265 and SVT-AV1 at their slow presets, on the same stream, through PyAV.

Their bytes are those of the raw streams: the tables of an .mp4 of 4,000 frames would be a fifth of them.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from vcodec import media
from vcodec.metrics.psnr import psnr_from_error, squared_error

__all__ = ["ANCHORS", "anchor_curve"]

Bytes = npt.NDArray[np.uint8]

# name -> (encoder, container, pixel format, options, crf)
ANCHORS: dict[str, tuple[str, str, str, dict[str, str], tuple[int, ...]]] = {
    "x265:veryslow": (
        "libx265",
        "hevc",
        # 4:0:0 would take 2 % less; but in it, and with threads, this x265 spoils some frames in most runs
        "yuv420p",
        {"preset": "veryslow", "x265-params": "log-level=none:info=0:pools=none:frame-threads=1"},
        (17, 22, 27, 32, 37, 42),
    ),
    "svt-av1:4": ("libsvtav1", "obu", "yuv420p", {"preset": "4"}, (22, 29, 36, 43, 50, 57)),
}


def anchor_curve(folder: Path, name: str, video: Path, show: Callable[[str], None]) -> list[dict[str, Any]]:
    """Points of an anchor over its crf, each kept in ``folder``; none where this FFmpeg has no such encoder."""
    encoder, container, pixel_format, options, sweep = ANCHORS[name]
    if encoder not in av.codecs_available:
        show(f"{name}: this build of FFmpeg has no {encoder}; left out")
        return []
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    folder.mkdir(parents=True, exist_ok=True)
    points = []
    for crf in sweep:
        note = folder / f"{name.replace(':', '-')}-crf{crf}.json"
        if not note.exists():
            point = _point(video, encoder, container, pixel_format, options | {"crf": str(crf)})
            note.write_text(json.dumps({"crf": crf, **point}, indent=1), "utf-8")
            show(f"{note.stem}: {point['bpp']:.4f} bpp, {point['psnr_y']:.2f} dB")
        points.append(json.loads(note.read_text("utf-8")))
    return points


def _source(video: Path) -> Iterator[Bytes]:
    with media.open_video(video, pixel_format="gray", audio=False) as reader:
        for frame in reader.frames():
            yield frame.planes[0]


def _point(video: Path, encoder: str, container: str, pixel_format: str, options: dict[str, str]) -> dict[str, Any]:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as writer:
        stream: Any = None
        for i, luma in enumerate(_source(video)):
            height, width = luma.shape
            if stream is None:
                stream = writer.add_stream(encoder, rate=Fraction(25), options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
                stream.codec_context.color_range = 2
            neutral = [np.full((height // 2, width), 128, np.uint8)] if pixel_format == "yuv420p" else []
            picture = av.VideoFrame.from_ndarray(np.concatenate([luma, *neutral]), format=pixel_format)
            picture.color_range, picture.pts = 2, i
            writer.mux(stream.encode(picture))
        writer.mux(stream.encode(None))
    size = len(out.getvalue())
    out.seek(0)
    errors, samples = [], 0
    with av.open(out, "r") as coded:
        for decoded, luma in zip(coded.decode(video=0), _source(video), strict=True):
            plane = decoded.planes[0]
            rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
            errors.append(squared_error(luma, rows[: luma.shape[0], : luma.shape[1]]))
            samples = luma.size
    total = len(errors) * samples
    return {
        "file_bytes": size,
        "bpp": 8 * size / total,
        "mse": sum(errors) / total / 255.0**2,
        "psnr_y": float(np.mean([psnr_from_error(error, samples) for error in errors])),
        "psnr_of_mse": psnr_from_error(sum(errors), total),
        "options": {"encoder": encoder, "pixel_format": pixel_format, **options},
    }
