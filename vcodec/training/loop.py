"""The training loop: crops in, weights out, exact resume.

    folder/train.safetensors   state of the run (state.py)        folder/samples/   a picture an evaluation
    folder/log.csv             a line an evaluation               folder/steps.csv  a line every few steps

Everything random in a step depends on the run's seed and the step's number, and the schedule on the step and the state,
so that a run that was killed and goes on from its state makes the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vcodec.datasets.base import AnyBatch, Dataset
from vcodec.errors import UsageError
from vcodec.training.interruption import Interruption
from vcodec.training.logs import Logs
from vcodec.training.measure import Objective
from vcodec.training.parallel import ALONE, Ranks
from vcodec.training.recipe import Recipe
from vcodec.training.samples import save_samples
from vcodec.training.schedule import Schedule
from vcodec.training.state import load_state, save_state
from vcodec.training.stopping import Stopper
from vcodec.training.validation import Validation, validate

__all__ = ["Progress", "Trainer"]


@dataclass(frozen=True)
class Progress:
    """Where a run is, for whoever shows it."""

    step: int
    share: float  # of the run, 0..1
    loss: float  # smoothed
    seconds: float
    validation: Validation | None = None  # when just evaluated


@dataclass
class Tally:
    """The run's own numbers, as the state on disk keeps them."""

    step: int = 0
    seconds: float = 0.0  # of training steps
    loss: float = math.nan  # smoothed
    norms: dict[str, float] = field(default_factory=dict)  # running norm of each part's gradient
    evaluated: int = 0  # evaluations' marks that have passed
    stopped: str = ""  # why the run ended early


class Batches:
    """Batch n of a run, made in a thread while the step before it is computed."""

    def __init__(self, dataset: Dataset, size: int, seed: int) -> None:
        self.dataset, self.size, self.seed = dataset, size, seed
        self._thread = ThreadPoolExecutor(1)
        self._begun: tuple[tuple[int, int, int], Future[AnyBatch]] | None = None

    def begin(self, number: int, frames: int, crop: int) -> None:
        """Begin a batch that will be wanted next."""
        self._begun = (number, frames, crop), self._thread.submit(self._make, number, frames, crop)

    def take(self, number: int, frames: int, crop: int) -> AnyBatch:
        """A batch, whether or not it was the one begun."""
        begun, self._begun = self._begun, None
        return begun[1].result() if begun and begun[0] == (number, frames, crop) else self._make(number, frames, crop)

    def _make(self, number: int, frames: int, crop: int) -> AnyBatch:
        return self.dataset.batch(np.random.default_rng((self.seed, number)), self.size, frames, crop)


class Trainer:
    """Trains an Objective (measure.py) on a dataset."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        dataset: Dataset,
        folder: Path,
        seed: int = 0,
        *,
        ranks: Ranks = ALONE,
        logs: Logs | None = None,
    ) -> None:
        self.model, self.recipe, self.folder, self.seed, self.ranks = model, recipe, folder, seed, ranks
        self.objective = cast(Objective, model)
        self.logs = logs or Logs(folder)
        self.dataset, self.held_back = dataset.split(recipe.held_back)
        self.batches = Batches(self.dataset, recipe.batch, seed)
        groups: dict[float, list[nn.Parameter]] = {}
        self.parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            share = recipe.basis_rate if "basis" in name else recipe.analysis_rate if "analysis" in name else 1.0
            groups.setdefault(share, []).append(parameter)
            self.parts.setdefault("critic" if name.startswith("critic.") else "codec", []).append(parameter)
        self.optimizer = torch.optim.Adam([{"params": g, "share": s} for s, g in groups.items()], betas=(0.9, 0.99))
        self.average: dict[str, Tensor] = {n: t.detach().clone() for n, t in model.state_dict().items()}
        self.tally = Tally()
        self.schedule = Schedule(recipe.minutes, recipe.steps, recipe.checkpoint_seconds)
        self.stopper = Stopper(recipe)
        self.latest: Validation | None = None  # of the weights as they are now
        self.device = next(model.parameters()).device
        self.pieces = ranks.count * recipe.accumulate
        if recipe.batch % self.pieces:
            raise UsageError(
                f"a batch of {recipe.batch} crops cannot be shared by {ranks.count} process(es) in {recipe.accumulate} "
                f"part(s): set batch to a multiple of {self.pieces}"
            )
        self.low_precision(recipe.low_precision)

    def low_precision(self, on: bool) -> None:
        """bf16 inside the networks."""
        for module in self.model.modules():
            if hasattr(module, "low_precision"):
                module.low_precision = on  # type: ignore[assignment]

    @property
    def step(self) -> int:
        """Updates made."""
        return self.tally.step

    @property
    def seconds(self) -> float:
        """Seconds spent in updates."""
        return self.tally.seconds

    def share(self) -> float:
        """How much of the run has passed, 0..1."""
        return self.schedule.share(self.tally.step)

    # ------------------------------------------------------------------ one step

    def _rate(self) -> float:
        ramp = min(1.0, (self.step + 1) / self.recipe.warm_up) if self.recipe.warm_up else 1.0
        return ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.share()))) * self.recipe.learning_rate

    def train_step(self) -> float:
        """One update; returns its loss."""
        start = time.monotonic()
        self.latest = None
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        value, terms, norms = self._attempt()
        if norms is None and self.recipe.low_precision:
            # bf16 convolutions of a few shapes come back as NaN from some libraries: once more, in full
            self.low_precision(False)
            value, terms, norms = self._attempt()
            self.low_precision(True)
        if norms is not None:
            self.tally.norms = norms
            self.optimizer.step()
            self._follow()
        tally = self.tally
        tally.step += 1
        tally.seconds += time.monotonic() - start
        tally.loss = value if math.isnan(tally.loss) else 0.98 * tally.loss + 0.02 * value
        if self.ranks.first and tally.step % self.recipe.log_steps == 0:
            self.logs.step(tally.step, value, rate, tally.norms.get("codec", math.nan), tally.seconds, terms)
        return value

    def _attempt(self) -> tuple[float, dict[str, float], dict[str, float] | None]:
        """Loss, its terms, and the running norms of the clipped gradients; None where something is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        value, terms = self._gradients()
        finite, norms = self._clip()
        return value, terms, norms if finite and math.isfinite(value) else None

    def _gradients(self) -> tuple[float, dict[str, float]]:
        """Loss of the global batch, and its terms; the gradients of its mean are in the parameters."""
        recipe, step = self.recipe, self.step
        ks = self.objective.draw(np.random.default_rng((self.seed, 1, step)), recipe.batch)
        batch = self.batches.take(step, *self._shape(step))
        self.batches.begin(step + 1, *self._shape(step + 1))
        size = recipe.batch // self.pieces
        total = torch.zeros(1, device=self.device)
        sums: dict[str, Tensor] = {}
        for i in range(recipe.accumulate):
            piece = self.ranks.rank * recipe.accumulate + i
            rows = slice(piece * size, (piece + 1) * size)
            torch.manual_seed(int(np.random.SeedSequence((self.seed, 2, step, piece)).generate_state(1)[0]))
            measure = self.objective(batch.rows(rows.start, rows.stop).to(self.device), ks[rows], recipe.balance)
            loss = measure.loss / self.pieces
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            for name, term in measure.terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + term / recipe.accumulate
        self.ranks.sum_gradients([p for part in self.parts.values() for p in part])
        self.ranks.share_buffers(self.model)
        return float(self.ranks.sum(total)), {n: float(t) for n, t in sums.items()}

    def _shape(self, step: int) -> tuple[int, int]:
        """Frames and side of a step's crops."""
        recipe = self.recipe
        count = len(recipe.frames)
        at = min(count - 1, int(self.schedule.share(step) * count))
        if recipe.mixed:
            at = int(np.random.default_rng((self.seed, 3, step)).integers(count))
        return recipe.frames[at], recipe.crops[at] if recipe.crops else recipe.crop

    def _clip(self) -> tuple[bool, dict[str, float]]:
        """Hold each part's gradient to a little over its usual norm: one wild batch would be remembered by Adam's
        moments for long.  Returns whether all is finite, and the running norms from here on."""
        finite, norms = True, {}
        for name, parameters in self.parts.items():
            usual = self.tally.norms.get(name, math.nan)
            limit = 1.0 if math.isnan(usual) else self.recipe.clip_norm * usual
            norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
            if norm == 0.0 and name == "critic":  # it has not begun
                continue
            finite = finite and math.isfinite(norm)
            norms[name] = min(norm, limit) if math.isnan(usual) else 0.98 * usual + 0.02 * min(norm, 2 * limit)
        return finite, norms

    def _follow(self) -> None:
        """Move the average towards the weights."""
        if hasattr(self.model, "after_update"):
            self.model.after_update()  # type: ignore[operator]
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
                else:
                    self.average[name].copy_(tensor)

    # ------------------------------------------------------------------ evaluation

    def evaluate(self) -> Validation:
        """The averaged weights on held-back crops, in full precision."""
        kept = {n: t.detach().clone() for n, t in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.low_precision(False)
        self.model.eval()
        out = validate(self.objective, self.held_back, self.recipe, self.device)
        self.model.load_state_dict(kept)
        self.model.train()
        self.low_precision(self.recipe.low_precision)
        return out

    def _evaluated(self) -> Progress:
        """Evaluate, write it down, and see whether to stop."""
        found: Validation | None = None
        tally = self.tally
        if self.ranks.first:
            found = self.latest = self.evaluate()
            self.logs.evaluation(tally.step, tally.seconds, tally.loss, found)
            picture = self.folder / "samples" / f"step-{tally.step:07d}.png"
            save_samples(picture, found.pictures, self.objective.pixel_format)
            self.logs.picture(tally.step, picture)
            tally.stopped = self.stopper.finished(found.costs)
        tally.stopped = self.ranks.from_first(tally.stopped)
        return Progress(tally.step, self.share(), tally.loss, tally.seconds, found)

    # ------------------------------------------------------------------ the run

    def facts(self) -> dict[str, Any]:
        """The run's scalars, as the state file keeps them."""
        return {
            "tally": asdict(self.tally),
            "schedule": self.schedule.facts(),
            "stopper": self.stopper.memory,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
        }

    def save(self) -> None:
        """Write the state of the run."""
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.logs.flush()
            save_state(self.folder / "train.safetensors", self.model, self.average, self.optimizer, self.facts())

    def resume(self) -> bool:
        """Go on from the folder's state; False when there is none.  A longer recipe goes on from the share reached."""
        path = self.folder / "train.safetensors"
        if not path.exists():
            return False
        facts = load_state(path, self.model, self.average, self.optimizer)
        self.tally = Tally(**facts["tally"])
        schedule = Schedule(**facts["schedule"])
        wanted = (self.recipe.minutes, self.recipe.steps)
        if (schedule.minutes, schedule.steps) == wanted:
            self.schedule = schedule
        elif not self.recipe.steps:
            began, share = self.tally.seconds, min(1.0, self.tally.seconds / (60.0 * self.recipe.minutes))
            self.schedule = Schedule(
                *wanted, self.recipe.checkpoint_seconds, self.step, share, 0.0, self.step + 2, began
            )
        self.stopper.memory = facts["stopper"]
        if self.schedule.share(self.step) < 1.0 and wanted != (schedule.minutes, schedule.steps):
            self.tally.stopped = ""
            self.tally.evaluated = int(self.share() * self._marks())
        if self.ranks.first:
            self.logs.cut(self.step)
        return True

    def _marks(self) -> int:
        """Evaluations in the whole run."""
        recipe = self.recipe
        if recipe.steps:
            return max(1, recipe.steps // recipe.evaluate_steps) if recipe.evaluate_steps else min(12, recipe.steps)
        return max(1, round(recipe.minutes / recipe.evaluate_minutes))

    def run(self, show: Callable[[Progress], None]) -> None:
        """Train to the recipe's end or until a rule stops it; Ctrl-C leaves a state to resume from."""
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "recipe.json").write_text(json.dumps(asdict(self.recipe), indent=1), "utf-8")
        saved = time.monotonic()
        with Interruption() as interruption:
            while self.share() < 1.0 and not self.tally.stopped:
                self.train_step()
                progress, due = Progress(self.step, self.share(), self.tally.loss, self.tally.seconds), False
                if not self.recipe.steps and self.step >= self.schedule.end:
                    self.schedule.plan(self.step, self.ranks.from_first(self.tally.seconds))
                    due = True
                marks = int(self.share() * self._marks())
                if marks > self.tally.evaluated:
                    self.tally.evaluated = marks
                    progress, due = self._evaluated(), True
                if due or time.monotonic() - saved >= self.recipe.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
                show(progress)
                if interruption.came(self.ranks, self.device):
                    self.save()
                    raise KeyboardInterrupt
        self.save()
