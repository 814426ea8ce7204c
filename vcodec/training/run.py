"""`vcodec train`: from footage to a checkpoint, in one call."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vcodec.checkpoint import save_codec
from vcodec.datasets import open_dataset
from vcodec.datasets.base import Dataset, Preparation
from vcodec.errors import OutputError
from vcodec.registry import codec_entry
from vcodec.training.live import View
from vcodec.training.logs import Logs, tensorboard_writer
from vcodec.training.loop import Trainer
from vcodec.training.objectives import frozen, new_objective, start_of
from vcodec.training.parallel import Ranks, ranks
from vcodec.training.recipe import Recipe, load_recipe

__all__ = ["run"]


def run(
    data: Sequence[Path],
    output: Path,
    *,
    codec: str | None = None,
    recipe: str | Path | None = None,
    changes: Sequence[str] = (),
    minutes: float | None = None,
    steps: int | None = None,
    weights: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    tensorboard: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a codec and write its checkpoint; the run's state and logs stand in ``output`` with the suffix .run.

    data: files and folders, as the recipe's kind of data wants them (none for generated data).
    codec: default: the recipe's, or qae.  recipe: default: the codec's own.  changes: ``key=value`` over the recipe.
    minutes, steps: length of the run in place of the recipe's.  weights: start from this checkpoint, of the same codec
    or of an image VAE that is inflated.
    workers: processes that decode the material; default: all cores.
    Under torchrun, each process calls this alike; process 0 writes.

    Returns what was made: {output, codec, sha256, steps, minutes, validation_loss, validation, stopped, recipe, seed,
    clips}, and adapted (each step's cost on held-back frames by the cost before it) where that was the finish; of other
    processes than 0: {}.  Raises InputError, UsageError, OutputError.
    """
    plan = _plan(codec, recipe, changes, minutes, steps)
    folder = output.with_name(output.name + ".run")
    if (folder / "train.safetensors").exists() and not resume:
        raise OutputError(f"{folder} holds a run already: go on with --resume, or choose another -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    with ranks(device) as (place, target), View(quiet or not place.first) as view:
        preparation = Preparation(folder / "cache", workers or os.cpu_count() or 1, view.material)
        dataset = _material(plan, data, preparation, place)
        start = start_of(plan, weights)
        parts, model = new_objective(plan, start)
        logs = Logs(folder)
        trainer = Trainer(model.to(target), plan, dataset, folder, seed, ranks=place, logs=logs)
        if resume:
            trainer.resume()
        if tensorboard and place.first:
            logs.board = tensorboard_writer(folder / "tensorboard", trainer.step)
        trainer.run(view.training)
        if not place.first:
            return {}
        if trainer.tally.stopped:
            view.note(f"stopped at step {trainer.step}: {trainer.tally.stopped}")
        found = trainer.latest or trainer.evaluate()
        model.load_state_dict(trainer.average)
        model = model.cpu().eval()
        if threads is None:
            torch.set_num_threads(1)  # tables are counted by coding frames: its operations are short
        made, kept = frozen(parts, model, plan, start, trainer.dataset, trainer.held_back, view.counting)
        if logs.board:
            logs.board.close()
    facts = {
        "codec": plan.codec,
        "sha256": made.weights_sha256.hex(),
        "steps": trainer.step,
        "minutes": round(trainer.seconds / 60, 2),
        "validation_loss": round(found.loss, 5),
        "validation": {str(k): [round(x, 4) for x in v] for k, v in found.table.items()},
        "stopped": trainer.tally.stopped,
        "recipe": dataclasses.asdict(plan),
        "seed": seed,
        "clips": len(dataset),
        **({"adapted": kept} if kept else {}),
    }
    save_codec(made, output, facts)
    return {"output": str(output), **facts}


def _plan(
    codec: str | None, recipe: str | Path | None, changes: Sequence[str], minutes: float | None, steps: int | None
) -> Recipe:
    """The recipe with all that the caller says otherwise."""
    name = recipe or codec_entry(codec or "qae").recipe
    said = [f'codec="{codec}"'] if codec else []
    # one of them decides the run's length
    if minutes is not None:
        said += [f"minutes={float(minutes)}", "steps=0"]
    if steps is not None:
        said.append(f"steps={steps}")
    plan = load_recipe(name, [*changes, *said])
    codec_entry(plan.codec)
    return plan


def _material(plan: Recipe, data: Sequence[Path], preparation: Preparation, place: Ranks) -> Dataset:
    """The dataset; of several processes, the first prepares it and the others find it prepared."""
    if place.first:
        dataset = open_dataset(plan.data, data, preparation)
    place.wait()
    if not place.first:
        dataset = open_dataset(plan.data, data, dataclasses.replace(preparation, workers=1, progress=None))
    return dataset
