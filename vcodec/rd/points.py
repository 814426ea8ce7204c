"""One rate-distortion point: a clip encoded to a file, decoded to a file, and measured as `vcodec eval` does.

source ─► encode ─► .vae or .mp4 (its bytes are the rate) ─► decode ─► .y4m ─► evaluate against the source
          timed                                              timed
"""

from __future__ import annotations

import base64
import io
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vcodec import api, media
from vcodec.evaluation import evaluate
from vcodec.measures import Chosen, Measures
from vcodec.metrics import Planes, planes_to_rgb
from vcodec.rd.anchors import Anchor, encode_anchor
from vcodec.rd.clips import Clip

__all__ = ["AnchorPoint", "CodecPoint", "Point", "measure_point", "picture_of_source"]

_VIEW = (416, 320)  # width and height at most of the part of a frame that is kept to look at
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class CodecPoint:
    """A codec of vcodec at one K. weights: a checkpoint in place of the bundled one."""

    codec: str
    k: int
    gop: int
    weights: Path | None
    weights_sha256: str
    device: str
    threads: int | None
    effort: int = 0

    @property
    def setting(self) -> dict[str, int]:
        """What is swept."""
        return {"k": self.k}


@dataclass(frozen=True)
class AnchorPoint:
    """An anchor at one crf."""

    anchor: Anchor
    crf: int
    gop: int
    threads: int | None

    @property
    def setting(self) -> dict[str, int]:
        """What is swept."""
        return {"crf": self.crf}


Point: TypeAlias = CodecPoint | AnchorPoint


def measure_point(clip: Clip, point: Point, work: Path) -> dict[str, Any]:
    """The point's record: {k|crf, frames, file_bytes, bpp, kbps, psnr_*, mse_y, ssim, ms_ssim, encode_fps, decode_fps,
    flicker, worst_frame, psnr_frames: [psnr_y, ...], view: JPEG of the middle frame, base64}.

    `work` keeps what several points share. Raises VcodecError of the codec, anchor or media.
    """
    source = clip.source(work)
    with tempfile.TemporaryDirectory(dir=work) as name:
        coded, back = Path(name) / "coded", Path(name) / "back.y4m"
        if isinstance(point, CodecPoint):
            coded = coded.with_suffix(".vae")
            times = _vcodec(source, coded, back, point)
        else:
            coded = coded.with_suffix(".mp4")
            times = _anchor(source, coded, back, point)
        measures = Measures(Chosen(per_frame=True, xpsnr=False))
        report, _ = evaluate(source, back, measures=measures)
        size = coded.stat().st_size
        report |= {
            "file_bytes": size,
            "bpp": 8 * size / (report["frames"] * clip.width * clip.height),
            "kbps": report["kbps"] * size / report["file_bytes"],
        }
        rows = report.pop("per_frame")
        view = _view(back, report["frames"] // 2, media.probe(source))
    frames = {"psnr_frames": [round(row["psnr_y"], 3) for row in rows]}
    return point.setting | report | times | frames | {"view": view}


def picture_of_source(clip: Clip, work: Path, frames: int) -> str:
    """The same part of the same frame of the source as a point's `view`, of `frames` frames."""
    source = clip.source(work)
    return _view(source, frames // 2, media.probe(source))


def _vcodec(source: Path, coded: Path, back: Path, point: CodecPoint) -> dict[str, float]:
    made = api.encode(
        source,
        coded,
        codec=point.codec,
        k=point.k,
        gop=point.gop,
        effort=point.effort,
        audio=False,
        weights=point.weights,
        device=point.device,
        threads=point.threads,
    )
    options = {"weights": point.weights, "device": point.device, "threads": point.threads}
    seen = api.decode(coded, back, audio=False, **options)  # type: ignore[arg-type]
    return {"encode_fps": made["encode_fps"], "decode_fps": seen["decode_fps"]}


def _anchor(source: Path, coded: Path, back: Path, point: AnchorPoint) -> dict[str, float]:
    began = time.perf_counter()
    frames = encode_anchor(source, coded, point.anchor, crf=point.crf, gop=point.gop, threads=point.threads)
    encoded = time.perf_counter()
    want = replace(media.probe(source), audio=())
    decoding = time.perf_counter()
    with (
        media.open_video(coded, audio=False) as reader,
        media.create_video(back, want) as writer,
    ):
        for number, frame in enumerate(reader.frames()):
            cropped = tuple(
                np.ascontiguousarray(plane[:rows, :columns])
                for plane, (rows, columns) in zip(frame.planes, want.shapes)
            )
            writer.write(media.Frame(cropped, number))
    return {
        "encode_fps": frames / (encoded - began),
        "decode_fps": frames / (time.perf_counter() - decoding),
    }


def _view(video: Path, number: int, info: media.VideoInfo) -> str:
    """A JPEG, base64, of the middle of a frame; info: has the colour tags."""
    with media.open_video(video, audio=False) as reader:
        planes: Planes = next(frame.planes for i, frame in enumerate(reader.frames()) if i == number)
    colours = planes_to_rgb(planes, matrix=info.color_space, full_range=info.color_range == 2)
    picture: npt.NDArray[np.uint8] = np.stack([_middle(colour) for colour in colours], 2)
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return base64.b64encode(out.getvalue()).decode()


def _middle(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = plane.shape
    columns, rows = min(width, _VIEW[0]), min(height, _VIEW[1])
    top, left = (height - rows) // 2, (width - columns) // 2
    return plane[top : top + rows, left : left + columns]
