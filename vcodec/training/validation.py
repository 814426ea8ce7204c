"""What a model is worth on held-back crops: loss, rate and PSNR by K, and pictures to look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vcodec.datasets.base import Dataset
from vcodec.training.measure import Objective
from vcodec.training.recipe import Recipe

__all__ = ["Validation", "validate"]

SEED = 12345  # of the crops: the same in every validation of every run
CROPS = 8
SHOWN = 4  # crops in the picture


@dataclass(frozen=True)
class Validation:
    """loss: mean over K; by K: (bpp, psnr_y) and the loss; pictures: name -> clips [n,C,T,H,W], the source first."""

    loss: float
    table: dict[int, tuple[float, float]]
    costs: dict[int, float]
    pictures: dict[str, Tensor] = field(default_factory=dict)


def validate(objective: Objective, dataset: Dataset, recipe: Recipe, device: torch.device) -> Validation:
    """Look at ``objective``, in evaluation mode, on validation_batches of CROPS crops."""
    ks = objective.validation_ks
    shown = {ks[round(i * (len(ks) - 1) / 3)] for i in range(4)} if len(ks) > 4 else set(ks)
    sums = {k: np.zeros(3) for k in ks}
    pictures: dict[str, Tensor] = {}
    frames = max(6, *recipe.frames) if recipe.loss != "vae" else max(recipe.frames)
    with torch.inference_mode():
        for i in range(recipe.validation_batches):
            crop = recipe.validation_crop or min(max(192, recipe.crop), recipe.crop * 2)
            batch = dataset.batch(np.random.default_rng((SEED, i)), CROPS, frames, crop).to(device)
            if i == 0:
                pictures["source"] = batch.rows(0, SHOWN).clip(objective.pixel_format).cpu()
            for k in ks:
                m = objective(batch, [k] * CROPS, recipe.balance)
                psnr = -10 * torch.log10(m.mse_y.clamp(min=1e-3) / 255.0**2)
                sums[k] += np.array([float(m.bpp.mean()), float(psnr.mean()), float(m.loss)])
                if i == 0 and k in shown and m.hat is not None:
                    pictures[f"K = {k}" if k else "decoded"] = m.hat[:SHOWN].cpu()
    means = {k: s / recipe.validation_batches for k, s in sums.items()}
    return Validation(
        float(np.mean([m[2] for m in means.values()])),
        {k: (float(m[0]), float(m[1])) for k, m in means.items()},
        {k: float(m[2]) for k, m in means.items()},
        pictures,
    )
