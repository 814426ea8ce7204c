"""Single step, overlap and cache (iv-vae, table 7): memory and time of a long clip, and how they differ.

    single-step   all frames in one call
    overlap       clips of 5 frames, each beginning with the last frame of the one before, which is thrown away
    cache         the first frame, then groups of 4, each with the state after the one before

Each way runs in a process of its own, so that its peak of memory is its own; what the process held before is taken off.
"""

from __future__ import annotations

import resource
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vcodec.backbones.videovae import GROUP, VideoVAE
from vcodec.checkpoint import load_codec, new_parts
from vcodec.errors import InputError, UnsupportedError

__all__ = ["WAYS", "cache_study"]

WAYS = ("single-step", "overlap", "cache")
_BLOCK = 64
_TURNS = 2**25  # more gaps between blocks of memory where both sides work in turn, as measured


def cache_study(
    codec: str = "ivvae:z4-small",
    *,
    weights: str | Path | None = None,
    frames: int = 49,
    size: int = 512,
    threads: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the three ways on a drifting random texture; without weights, of a random network.

    Returns {codec, frames, size, threads, ways: {way: {seconds, peak_bytes, predicted_bytes, psnr_to_single_step_db,
    largest_difference}}, memory_ratio, time_ratio}, the ratios of cache to single step. Raises InputError.
    """
    if frames < 1 + GROUP or (frames - 1) % GROUP or size < 8 or size % 8:
        raise InputError(f"{frames} frames of {size}² are not possible: choose 1+4n frames, at least 5, and 8n rows")
    context = get_context("spawn")
    ways: dict[str, Any] = {}
    whole: Tensor | None = None
    for way in WAYS:
        with context.Pool(1) as pool:
            found, sample = pool.apply(_measure, (way, codec, weights, frames, size, threads, seed))
        whole = sample if whole is None else whole
        error = (sample - whole).double()
        mse = float(error.square().mean())
        found["largest_difference"] = float(error.abs().max())
        found["psnr_to_single_step_db"] = None if mse == 0 else round(-10 * float(torch.tensor(mse).log10()), 2)
        ways[way] = found
    single, cached = ways["single-step"], ways["cache"]
    return {
        "codec": codec,
        "frames": frames,
        "size": size,
        "threads": threads,
        "ways": ways,
        "memory_ratio": round(cached["peak_bytes"] / max(1, single["peak_bytes"]), 4),
        "time_ratio": round(cached["seconds"] / single["seconds"], 4),
    }


def _measure(
    way: str, codec: str, weights: str | Path | None, frames: int, size: int, threads: int, seed: int
) -> tuple[dict[str, Any], Tensor]:
    """Seconds and peak of one way, and a block of samples of its reconstruction."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    backbone = new_parts(codec).backbone if weights is None else load_codec(Path(weights)).backbone
    if not isinstance(backbone, VideoVAE) or backbone.group != GROUP:
        raise UnsupportedError(f"codec '{codec}' has no cache to study; choose ivvae or causalvae")
    backbone.eval()
    clip = _texture(frames, size, seed)
    with torch.inference_mode():
        backbone.decode(backbone.encode(clip[:, :, :5, :_BLOCK, :_BLOCK])[0])  # what is set up once
        began, before = time.perf_counter(), _peak()
        out = {"single-step": _single, "overlap": _overlap, "cache": _cached}[way](backbone, clip)
        seconds, peak = time.perf_counter() - began, _peak() - before
    at = (size - min(size, _BLOCK)) // 2
    block = out[:, :, :, at : at + _BLOCK, at : at + _BLOCK].clone()
    predicted = _predicted(backbone, way, frames, size)
    return {"seconds": round(seconds, 3), "peak_bytes": peak, "predicted_bytes": predicted}, block


def _predicted(vae: VideoVAE, way: str, frames: int, size: int) -> int:
    """Bytes that a way should take, with the frames that it gives."""
    shown = 4 * 3 * frames * size * size
    if way != "cache":
        return vae.memory(frames if way == "single-step" else 1 + GROUP, size, size) + shown * (way == "overlap")
    found = vae.footprints(GROUP, size, size, spent=True)
    # each side's state waits while the other works
    return max(found.encode + found.decoder_slots, found.decode + found.encoder_slots) + shown + _TURNS


def _single(vae: VideoVAE, clip: Tensor) -> Tensor:
    return vae.decode(vae.encode(clip)[0])[0]


def _overlap(vae: VideoVAE, clip: Tensor) -> Tensor:
    out = [_single(vae, clip[:, :, : 1 + GROUP])]
    for start in range(GROUP, clip.shape[2] - GROUP, GROUP):
        out.append(_single(vae, clip[:, :, start : start + 1 + GROUP])[:, :, 1:])
    return torch.cat(out, 2)


def _cached(vae: VideoVAE, clip: Tensor) -> Tensor:
    encoder = decoder = None
    out = []
    for part in torch.split(clip, vae.step_sizes(clip.shape[2], True), 2):
        latent, encoder = vae.encode(part, encoder and encoder.spent())
        frames, decoder = vae.decode(latent, decoder and decoder.spent())
        out.append(frames)
    return torch.cat(out, 2)


def _texture(frames: int, size: int, seed: int) -> Tensor:
    """A smooth random picture that drifts by two samples a frame, [1,3,T,H,W] in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, size // 8 + 2, (size + 2 * frames) // 8 + 2, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0, 1)
    return torch.stack([wide[:, :, :size, 2 * t : 2 * t + size] for t in range(frames)], 2)


def _peak() -> int:
    """Largest memory the process ever had, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
