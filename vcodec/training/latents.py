"""Fit quantizer and entropy model of a video VAE to latents of footage, and freeze them into a codec.

clips ─► posterior ─► steps of the quantizer ─► indices at random K ─► predictors (Laplace bits, Adam) ─► integers
                                                                        tables, counted under the integers ◄┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.videovae import VideoVAE
from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec
from vcodec.datasets.base import Dataset
from vcodec.entropy.checkerboard import halves_of, places
from vcodec.entropy.latents import (
    ERROR_ONE,
    MEAN_ONE,
    WIDTH_ONE,
    LatentEntropy,
    LatentMemory,
    assumed_tables,
    plain_tensors,
)
from vcodec.entropy.tables import integer_rows
from vcodec.errors import InputError
from vcodec.quantizers.posterior import PosteriorQuantizer

__all__ = ["Latents", "calibrate", "freeze_latents", "posteriors", "uncalibrated"]

LEVELS = (4, 8, 16, 32, 64, 128, 256)


class Latents(NamedTuple):
    """Posterior of one clip from its first frame on, [z,t,h,w] both."""

    mean: Tensor
    std: Tensor


def uncalibrated(name: str, parts: Parts) -> Codec:
    """A codec whose quantizer and tables assume unit variance and know no footage: it codes, in more bits."""
    return assemble(name, parts, LatentEntropy(plain_tensors(parts.backbone.latent_channels)))


@torch.inference_mode()
def posteriors(backbone: VideoVAE, clips: Iterable[Tensor]) -> list[Latents]:
    """Posteriors of clips [3,T,H,W] in 0..1."""
    found = [backbone.posterior(clip[None])[0] for clip in clips]
    return [Latents(p.mean[0].float().cpu(), p.std[0].float().cpu()) for p in found]


def calibrate(
    name: str,
    parts: Parts,
    latents: Sequence[Latents],
    *,
    steps: int = 400,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Codec:
    """A codec of a trained VAE, its quantizer measured and its entropy model fitted on latents of footage.

    Raises InputError without latents.
    """
    if not latents:
        raise InputError("no footage to measure latents on: give clips of at least one frame")
    quantizer = parts.quantizer
    if not isinstance(quantizer, PosteriorQuantizer):
        raise TypeError("latents are measured for posterior quantizers")
    quantizer.measure(*(torch.cat([part.flatten(1).T for part in parts]) for parts in zip(*latents)))
    with torch.inference_mode(False), torch.enable_grad():
        tensors = _fit(quantizer, [item.mean.clone() for item in latents], steps, seed, progress)
    tensors["tables"] = _tables(tensors, quantizer, latents)
    return assemble(name, parts, LatentEntropy(tensors))


def freeze_latents(
    name: str,
    parts: Parts,
    dataset: Dataset,
    *,
    crop: int,
    frames: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Codec:
    """As calibrate, on clips drawn from a training dataset."""
    backbone = parts.backbone.eval()
    if not isinstance(backbone, VideoVAE):
        raise TypeError("latents are of video VAEs")
    drawn = (dataset.batch(np.random.default_rng((seed, i)), 4, frames, crop).clip("rgb") for i in range(12))
    return calibrate(name, parts, posteriors(backbone, (c for batch in drawn for c in batch)), progress=progress)


class _Predictors(nn.Module):
    """The predictors in real numbers, all passes of all frames at once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        start = plain_tensors(channels)
        units = {
            "mean": MEAN_ONE,
            "error": WIDTH_ONE,
            "offset": ERROR_ONE * WIDTH_ONE,
            "slope": 16 * ERROR_ONE * WIDTH_ONE,
        }
        self.units = units
        self.weights = nn.ParameterDict(
            {n.replace(".", "_"): t.float() / units[n[:-4]] for n, t in start.items() if n != "tables"}
        )

    def forward(self, index: Tensor, past: Tensor | None, k: int) -> Tensor:
        """Indices [N,z,h,w] and those of the frame before, with their errors [N,2z,h,w] -> bits of all, mean."""
        n, z, h, w = index.shape
        kind = "0" if past is None else "1"
        if past is None:
            past = index.new_zeros(n, 2 * z, h, w)
        predicted, wide = torch.zeros_like(index), torch.zeros_like(index)
        turns = []
        for half, part in enumerate(halves_of(z)):
            if part.stop == part.start:
                continue
            first = torch.zeros(part.stop - part.start, h, w)
            first.view(-1)[torch.from_numpy(places(*first.shape, 0))] = 1
            for odd, now in enumerate((first, 1 - first)):
                known = torch.zeros_like(index)
                known[:, : part.start] = 1
                known[:, part] = first if odd else 0
                turns.append((f"{kind}{half}{odd}", part, now, known))
        for name, part, now, known in turns:
            seen = torch.cat([past[:, :z], index * known], 1)
            p = F.conv2d(seen, self.weights[f"mean_{name}"], padding=1)
            predicted = predicted + F.pad(p * now, (0, 0, 0, 0, part.start, z - part.stop))
        self.error = (index - predicted).abs().detach()
        for name, part, now, known in turns:
            seen = torch.cat([past[:, z:], self.error * known], 1)
            base = self.weights[f"offset_{name}"] + self.weights[f"slope_{name}"] * k
            s = F.conv2d(seen, self.weights[f"error_{name}"], padding=1) + base[:, None, None]
            wide = wide + F.pad(s * now, (0, 0, 0, 0, part.start, z - part.stop))
        return _laplace_bits(index - predicted, wide).mean()

    def integers(self) -> dict[str, Tensor]:
        """What the frozen model is made of, but for its tables."""
        return {
            n.replace("_", "."): (t.detach() * self.units[n[:-4]]).round().to(torch.int32)
            for n, t in self.weights.items()
        }


def _laplace_bits(rest: Tensor, width: Tensor) -> Tensor:
    """Bits of residuals in cells of width 1 under Laplace distributions."""
    b = F.softplus((width - 0.05) * 8) / 8 + 0.05

    def below(x: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-x.abs() / b)
        return torch.where(x < 0, tail, 1 - tail)

    size = rest.abs()  # the tail of the nearer side keeps its precision
    mass = below(-size + 0.5) - below(-size - 0.5)
    return -torch.log2(mass.clamp_min(1e-9))


def _fit(
    quantizer: PosteriorQuantizer,
    means: list[Tensor],
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    model = _Predictors(means[0].shape[0])
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        mean = means[int(rng.integers(len(means)))]
        k = LEVELS[int(rng.integers(len(LEVELS)))]
        index = quantizer.quantize(mean[None], k).float()[0].transpose(0, 1)  # [t,z,h,w]
        bits = model(index[:1], None, k)
        past = torch.cat([index[:1], model.error], 1)
        for t in range(1, len(index)):
            bits = bits + model(index[t : t + 1], past, k)
            past = torch.cat([index[t : t + 1], model.error], 1)
        (bits / len(index)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        if progress:
            progress(step + 1, steps)
    return model.integers()


@torch.inference_mode()
def _tables(tensors: dict[str, Tensor], quantizer: PosteriorQuantizer, latents: Sequence[Latents]) -> Tensor:
    """Tables counted under the integer predictors."""
    prior = assumed_tables()
    model = LatentEntropy(tensors | {"tables": torch.from_numpy(integer_rows(prior))})
    counts = np.zeros(prior.shape)
    for number, item in enumerate(latents):
        for k in (LEVELS[number % len(LEVELS)], LEVELS[(number + 3) % len(LEVELS)]):
            memory: LatentMemory | None = None
            for frame in quantizer.quantize(item.mean[None], k).unbind(2):
                passes, memory = model.analyse(frame, memory, k, 0)
                for rows, symbols, _ in passes:
                    np.add.at(counts, (rows, symbols), 1)
    blended = counts + 60.0 * prior / prior.sum(1, keepdims=True)
    return torch.from_numpy(integer_rows(blended)).to(torch.int32)
