"""What a video VAE's pictures are worth: clips through it and back, compared as 8-bit frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.backbones.videovae import VideoVAE
from vcodec.metrics.psnr import plane_psnr
from vcodec.metrics.ssim import luma_ssims
from vcodec.metrics.temporal import Flicker, by_position

__all__ = ["measure_clips"]

Bytes = npt.NDArray[np.uint8]
_LUMA = np.array([0.299, 0.587, 0.114])


def measure_clips(video: VideoVAE, clips: Iterable[Tensor]) -> dict[str, Any]:
    """Means over all frames of clips [1,3,T,H,W] in 0..1, coded by the posterior's mean.

    Gives {frames, psnr, ssim, flicker, positions}: psnr in dB over R, G and B, ssim of luma, positions as
    `metrics.by_position` has them (figure 1b), flicker as `metrics.Flicker`.
    """
    rows: list[dict[str, Any]] = []
    starts: list[int] = []
    flickers: list[float] = []
    video.eval()
    for clip in clips:
        starts.append(len(rows))
        with torch.inference_mode():
            hat, _ = video(clip, sample=False)
        flicker = Flicker()
        for want, got in zip(_pictures(clip), _pictures(hat), strict=True):
            luma, luma_hat = _luma(want), _luma(got)
            ssim, _ = luma_ssims(luma, luma_hat)
            rows.append({"psnr": plane_psnr(want, got), "psnr_y": plane_psnr(luma, luma_hat), "ssim": ssim})
            flicker.add((luma,), (luma_hat,))
        flickers += [] if flicker.result is None else [flicker.result]
    return {
        "frames": len(rows),
        "psnr": float(np.mean([row["psnr"] for row in rows])),
        "ssim": float(np.mean([row["ssim"] for row in rows])),
        "flicker": float(np.mean(flickers)) if flickers else None,
        "positions": by_position(rows, video.group, starts),
    }


def _pictures(clip: Tensor) -> Bytes:
    """Frames of a clip, uint8 [T,H,W,3]."""
    pictures: Bytes = clip[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 3, 0).cpu().numpy()
    return pictures


def _luma(picture: Bytes) -> Bytes:
    luma: Bytes = np.round(picture @ _LUMA).astype(np.uint8)
    return luma
