"""Rate and quality of a coded video against its reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vcodec import api, bitstream, media
from vcodec.errors import InputError
from vcodec.measures import Measures
from vcodec.metrics import Meter, Planes
from vcodec.pipeline import ReadAhead

__all__ = ["evaluate", "is_vae"]

_DEPTH = 8


def is_vae(path: Path) -> bool:
    """Whether a file begins as a .vae file does, or is named like one."""
    if path.suffix.lower() == ".vae":
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(bitstream.MAGIC)) == bitstream.MAGIC


def evaluate(
    reference: str | Path,
    coded: str | Path,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    ssim: bool = True,
    measures: Measures | None = None,
    progress: Callable[[api.Progress], None] | None = None,
) -> tuple[dict[str, Any], str]:
    """Measure all frames; gives the report, and a line on what of the coded file is damaged, "" if nothing.

    The report: {frames, file_bytes, bpp, kbps, psnr_y, psnr_u, psnr_v, psnr_yuv, psnr_rgb, psnr_y_min,
    worst_frame, mse_y, ssim, ms_ssim}, as `metrics.Meter` defines them, on 8-bit frames, and what `measures`
    takes. bpp and kbps count the whole coded file; the time is that of the reference's frames at its frame rate.
    RGB is by the colour tags of the reference. Where either is gray, luma alone is measured.

    Raises InputError where the two differ in size or number of frames, and what opening either raises.
    """
    path = Path(coded)
    began = time.perf_counter()
    with ExitStack() as stack:
        vae = (
            stack.enter_context(api.open(path, weights=weights, device=device, threads=threads))
            if is_vae(path)
            else None
        )
        gray = _is_gray(reference) or (vae.info["pixel_format"] == "gray" if vae else _is_gray(path))
        pixel_format = "gray" if gray else "yuv420p"
        source = media.open_video(reference, pixel_format=pixel_format, audio=False)
        info = source.info
        total = vae.info["frames"] if vae else info.frames
        meter = Meter(matrix=info.color_space, full_range=info.color_range == 2, ssim=ssim)
        if measures:
            measures.begin(info, vae.info["keyframes"] if vae else (0,))
        references = stack.enter_context(ReadAhead(source, _DEPTH, close=source.close))
        coded_frames: Iterator[Planes]
        if vae:
            coded_frames = (planes[: len(info.shapes)] for planes in vae.frames())
        else:
            video = stack.enter_context(media.open_video(path, pixel_format=pixel_format, audio=False))
            coded_frames = (frame.planes for frame in video.frames())
        for item in references:
            if not isinstance(item, media.Frame):
                continue
            planes = next(coded_frames, None)
            if planes is None:
                raise InputError(f"{coded} has {meter.frames} frames, {reference} has more")
            row = meter.add(item.planes, planes)
            if measures:
                measures.add(item.planes, planes, row)
            if progress:
                seconds = time.perf_counter() - began
                progress(api.Progress("measure", meter.frames, total, 0, seconds, info.width * info.height))
        if next(coded_frames, None) is not None:
            raise InputError(f"{reference} has {meter.frames} frames, {coded} has more")
        lost = vae.damage if vae else ""
    size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.iterdir())
    return {
        "frames": meter.frames,
        "file_bytes": size,
        "bpp": 8 * size / (meter.frames * info.width * info.height),
        "kbps": 8 * size * float(info.fps) / meter.frames / 1000,
        **meter.result(),
        **(measures.result() if measures else {}),
    }, lost


def _is_gray(path: str | Path) -> bool:
    return media.probe(path).source_format.startswith("gray")
