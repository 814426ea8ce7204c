"""`vcodec train`: from footage to a checkpoint, in one call."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vcodec.checkpoint import Parts, load_codec, new_parts, save_codec
from vcodec.codec import Codec
from vcodec.datasets import open_dataset
from vcodec.datasets.base import Dataset, Preparation
from vcodec.entropy.context import ContextConfig, ContextNet
from vcodec.errors import OutputError, UsageError
from vcodec.registry import codec_entry
from vcodec.training.freezing import freeze
from vcodec.training.loop import Progress, Trainer
from vcodec.training.rate_distortion import RateDistortion
from vcodec.training.recipe import Recipe, load_recipe
from vcodec.training.reconstruction import Reconstruction, freeze_neighbours

__all__ = ["run"]


def run(
    data: Sequence[Path],
    output: Path,
    *,
    codec: str = "qae",
    recipe: str | None = None,
    minutes: float | None = None,
    weights: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a codec on videos and write its checkpoint; the run's state stands in ``output`` with the suffix .run.

    weights: start from this checkpoint.  Returns what was made: {output, codec, sha256, steps, minutes, validation}.
    Raises InputError, UsageError, OutputError.
    """
    entry = codec_entry(codec)
    plan = load_recipe(recipe or entry.recipe)
    plan = dataclasses.replace(plan, codec=codec, minutes=plan.minutes if minutes is None else float(minutes))
    if plan.minutes <= 0:
        raise UsageError("--minutes must be more than 0")
    folder = output.with_name(output.name + ".run")
    if (folder / "train.safetensors").exists() and not resume:
        raise OutputError(f"{folder} holds a run already: go on with --resume, or choose another -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    with _Show(quiet) as show:
        dataset = open_dataset({"frames": plan.footage_frames}, data, Preparation(folder / "cache", 1, show.footage))
        parts = new_parts(codec)
        model = _model(parts, plan, weights)
        target = "cuda" if device == "auto" and torch.cuda.is_available() else device if device != "auto" else "cpu"
        trainer = Trainer(model.to(target), plan, dataset, folder, seed)
        if resume:
            trainer.resume()
        trainer.run(show.training)
        loss, table = trainer.evaluate()
        model.load_state_dict(trainer.average)
        made = _frozen(codec, parts, model.cpu().eval(), trainer.dataset, show)
    facts = {
        "codec": codec,
        "sha256": made.weights_sha256.hex(),
        "steps": trainer.step,
        "minutes": round(trainer.seconds / 60, 2),
        "validation_loss": round(loss, 5),
        "validation": {str(k): [round(x, 4) for x in v] for k, v in table.items()},
        "recipe": dataclasses.asdict(plan),
        "seed": seed,
        "clips": len(dataset),
    }
    save_codec(made, output, facts)
    return {"output": str(output), **facts}


def _model(parts: Parts, plan: Recipe, weights: Path | None) -> nn.Module:
    """The trainable model of a codec, from scratch or from a checkpoint."""
    codec = plan.codec
    if codec_entry(codec).entropy == "neighbours":
        if weights is not None:
            _adopt(parts, load_codec(weights), codec)
        return Reconstruction(parts.backbone, parts.quantizer)  # type: ignore[arg-type]
    context = ContextNet(ContextConfig(channels=parts.backbone.latent_channels))
    if weights is not None:
        start = load_codec(weights)
        _adopt(parts, start, codec)
        context.thaw(start.entropy.tensors())
    return RateDistortion(parts.backbone, parts.quantizer, context, plan.key_weight)  # type: ignore[arg-type]


def _adopt(parts: Parts, start: Codec, codec: str) -> None:
    if start.name != codec:
        raise UsageError(f"--weights holds codec '{start.name}', not '{codec}'")
    parts.backbone.load_state_dict(start.backbone.state_dict())
    parts.quantizer.load_state_dict(start.quantizer.state_dict())


def _frozen(codec: str, parts: Parts, model: nn.Module, dataset: Dataset, show: _Show) -> Codec:
    if isinstance(model, RateDistortion):
        return freeze(codec, parts, model.context, dataset.runs(), progress=show.freezing)
    return freeze_neighbours(codec, parts, dataset)


class _Show:
    """Progress on stderr: a live line on a terminal, a line an evaluation elsewhere."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._quiet = quiet
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("footage", total=1.0, note="")

    def __enter__(self) -> _Show:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def footage(self, done: int, total: int, name: str) -> None:
        """Decoding the footage."""
        self._bar.update(self._task, description="footage", completed=done / total, note=name)

    def training(self, at: Progress) -> None:
        """A training step."""
        note = f"step {at.step}  loss {at.loss:.4f}"
        self._bar.update(self._task, description="training", completed=at.share, note=note)
        if at.validation and not self._quiet:
            points = "  ".join(f"{k}: {bpp:.3f}/{psnr:.1f}" for k, (bpp, psnr) in at.validation.items())
            self._console.print(
                f"{at.seconds / 60:6.1f} min  step {at.step}  loss {at.loss:.4f}  "
                f"validation {at.validation_loss:.4f}  K: bpp/psnr_y  {points}",
                highlight=False,
                soft_wrap=True,
            )

    def freezing(self, done: int, total: int) -> None:
        """Counting tables."""
        self._bar.update(self._task, description="tables", completed=done / total, note=f"{done}/{total} crops")
