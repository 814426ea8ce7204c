"""The training loop of rate-distortion codecs: crops in, weights out, exact resume.

folder/train.safetensors   state of the run       folder/log.csv   a line an evaluation
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vcodec.datasets.base import Dataset
from vcodec.training.measure import Measure
from vcodec.training.recipe import Recipe
from vcodec.training.state import load_state, save_state

__all__ = ["Progress", "Trainer"]

VALIDATION_K = (2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Progress:
    """Where a run is, for whoever shows it."""

    step: int
    share: float  # of the run, 0..1
    loss: float  # smoothed
    seconds: float
    validation: dict[int, tuple[float, float]] | None  # K -> (bpp, psnr_y) when just evaluated
    validation_loss: float | None = None


class Trainer:
    """Trains a model whose forward(batch, ks, balance) gives a Measure."""

    def __init__(self, model: nn.Module, recipe: Recipe, dataset: Dataset, folder: Path, seed: int = 0) -> None:
        self.model, self.recipe, self.folder, self.seed = model, recipe, folder, seed
        self.dataset, self.validation = dataset.split(recipe.held_back)
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            share = recipe.basis_rate if "basis" in name else recipe.analysis_rate if "analysis" in name else 1.0
            groups.setdefault(share, []).append(parameter)
        self.optimizer = torch.optim.Adam([{"params": g, "share": s} for s, g in groups.items()], betas=(0.9, 0.99))
        self.average: dict[str, Tensor] = {n: t.detach().clone() for n, t in model.state_dict().items()}
        self.step, self.seconds, self.loss, self.norm = 0, 0.0, math.nan, math.nan
        self.device = next(model.parameters()).device
        self.low_precision(True)

    def low_precision(self, on: bool) -> None:
        """bf16 inside the networks."""
        for module in self.model.modules():
            if hasattr(module, "low_precision"):
                module.low_precision = on  # type: ignore[assignment]

    # ------------------------------------------------------------------ one step

    def share(self) -> float:
        """How much of the run has passed, 0..1."""
        return min(1.0, self.seconds / (60.0 * self.recipe.minutes))

    def _rate(self) -> float:
        ramp = min(1.0, (self.step + 1) / self.recipe.warm_up)
        return ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.share())))

    def train_step(self) -> float:
        """One update; returns its loss."""
        recipe = self.recipe
        start = time.monotonic()
        frames = recipe.frames[min(len(recipe.frames) - 1, int(self.share() * len(recipe.frames)))]
        rng = np.random.default_rng((self.seed, 1, self.step))
        # one K in each eighth of the scale: every step sees small and large codebooks
        at = 1.0 + 7.0 * (np.arange(recipe.batch) + rng.random(recipe.batch)) / recipe.batch
        ks = [int(k) for k in np.clip(np.round(2.0**at), 2, 256)]
        drawn = np.random.default_rng((self.seed, self.step))
        batch = self.dataset.batch(drawn, recipe.batch, frames, recipe.crop).to(self.device)
        rate = self._rate() * recipe.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        measure: Measure = self.model(batch, ks, recipe.balance)
        self.optimizer.zero_grad(set_to_none=True)
        measure.loss.backward()  # type: ignore[no-untyped-call]
        # one wild batch would be remembered by Adam's moments for long: clip to a little over the usual norm
        limit = 1.0 if math.isnan(self.norm) else recipe.clip_norm * self.norm
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit).item()
        value = measure.loss.item()
        if math.isfinite(value) and math.isfinite(norm):
            self.norm = min(norm, limit) if math.isnan(self.norm) else 0.98 * self.norm + 0.02 * min(norm, 2 * limit)
            self.optimizer.step()
            decay = min(recipe.average, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for name, tensor in self.model.state_dict().items():
                    if tensor.is_floating_point():
                        self.average[name].lerp_(tensor, 1 - decay)
                    else:
                        self.average[name].copy_(tensor)
        self.step += 1
        self.seconds += time.monotonic() - start
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
        return value

    # ------------------------------------------------------------------ evaluation

    def evaluate(self, batches: int = 4) -> tuple[float, dict[int, tuple[float, float]]]:
        """Loss and K -> (bpp, psnr_y) of the averaged weights on held-back crops, in full precision."""
        kept = {n: t.detach().clone() for n, t in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.low_precision(False)
        self.model.eval()
        sums = {k: [0.0, 0.0] for k in VALIDATION_K}
        loss = 0.0
        with torch.inference_mode():
            for i in range(batches):
                frames = max(6, *self.recipe.frames)
                drawn = np.random.default_rng((12345, i))
                batch = self.validation.batch(drawn, 8, frames, min(192, self.recipe.crop * 2)).to(self.device)
                for k in VALIDATION_K:
                    m = self.model(batch, [k] * 8, self.recipe.balance)
                    psnr = -10 * torch.log10(m.mse_y.clamp(min=1e-3) / 255.0**2)
                    sums[k][0] += float(m.bpp.mean()) / batches
                    sums[k][1] += float(psnr.mean()) / batches
                    loss += float(m.loss) / batches / len(VALIDATION_K)
        self.model.load_state_dict(kept)
        self.model.train()
        self.low_precision(True)
        return loss, {k: (v[0], v[1]) for k, v in sums.items()}

    # ------------------------------------------------------------------ the run

    def facts(self) -> dict[str, Any]:
        """The run's scalars, as the state file keeps them."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "norm": self.norm,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
        }

    def save(self) -> None:
        """Write the state of the run."""
        save_state(self.folder / "train.safetensors", self.model, self.average, self.optimizer, self.facts())

    def resume(self) -> bool:
        """Go on from the folder's state; False when there is none."""
        path = self.folder / "train.safetensors"
        if not path.exists():
            return False
        facts = load_state(path, self.model, self.average, self.optimizer)
        self.step, self.seconds = facts["step"], facts["seconds"]
        self.loss, self.norm = facts["loss"], facts["norm"]
        return True

    def run(self, show: Callable[[Progress], None]) -> None:
        """Train to the end of the recipe's minutes; Ctrl-C leaves a state to resume from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_text(json.dumps(asdict(self.recipe), indent=1), "utf-8")
        marks = max(1, round(self.recipe.minutes / self.recipe.evaluate_minutes))
        done = int(self.share() * marks)
        try:
            while self.share() < 1.0:
                self.train_step()
                if int(self.share() * marks) > done:
                    done = int(self.share() * marks)
                    self.save()
                    show(self._evaluated())
                else:
                    show(Progress(self.step, self.share(), self.loss, self.seconds, None))
        except KeyboardInterrupt:
            self.save()
            raise
        self.save()

    def _evaluated(self) -> Progress:
        loss, table = self.evaluate()
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                heads = [f"{name}_k{k}" for k in VALIDATION_K for name in ("bpp", "psnr_y")]
                writer.writerow(["step", "minutes", "loss", "validation_loss", *heads])
            row = [x for k in VALIDATION_K for x in table[k]]
            writer.writerow([self.step, round(self.seconds / 60, 2), *(round(x, 5) for x in [self.loss, loss, *row])])
        return Progress(self.step, self.share(), self.loss, self.seconds, table, loss)
