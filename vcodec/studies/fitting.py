"""Trainings of a study: so many steps, alike for all models; resumed where they stood; finished ones are not repeated.

    draw(step) ─► clip, K ─► model ─► loss ─► Adam, cosine ─► averaged weights ─► held-back loss, a line of history

A training goes on to its last step, whatever the rules for stopping early say: where they would have stopped is read
from the history of held-back losses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vcodec.errors import InputError
from vcodec.training.recipe import Recipe
from vcodec.training.state import load_state, save_state
from vcodec.training.stopping import Stopper

__all__ = ["Fit", "History", "claim", "fit", "stopped"]

History = list[tuple[int, float]]


@dataclass(frozen=True)
class Fit:
    """One training."""

    steps: int
    """updates"""
    rate: float = 2e-3
    """learning rate at its top; falls as a cosine to a hundredth"""
    warm_up: int = 30
    """steps until the rate is at its top"""
    looks: int = 20
    """at held-back clips, evenly over the training"""
    average: float = 0.98
    """decay of the weights' moving average, which is what is looked at and kept"""


def claim(folder: Path, asked: dict[str, Any]) -> None:
    """Make ``folder`` that of the study with these settings; InputError where it is another's."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "settings.json"
    if note.exists() and json.loads(note.read_text("utf-8")) != asked:
        raise InputError(f"{folder} holds a study with other settings; choose another -o")
    note.write_text(json.dumps(asked, indent=1), "utf-8")


def stopped(history: History, rule: str) -> tuple[int, float]:
    """(step, held-back loss) where a rule of training.stopping ends a training: at its last look, if never before."""
    stopper = Stopper(Recipe(stop=rule))
    for step, loss in history:
        if stopper.finished({0: loss}):
            return step, loss
    return history[-1]


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    held: Callable[[], float],
    folder: Path,
    plan: Fit,
    show: Callable[[str], None],
) -> History:
    """Train ``model`` in place, or go on with what stands in ``folder``; ends with the averaged weights in it.

    Returns (step, held-back loss) of each look.

    loss(step): of the model in training mode, on the step's own batch; held(): of the model as it is, on held-back
    clips.
    """
    state = folder / "train.safetensors"
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.rate, betas=(0.9, 0.99))
    average = {n: t.detach().clone() for n, t in model.state_dict().items()}
    facts: dict[str, Any] = {"step": 0, "history": []}
    if state.exists():
        facts = load_state(state, model, average, optimizer)
    folder.mkdir(parents=True, exist_ok=True)
    history: History = [(int(step), float(value)) for step, value in facts["history"]]
    for step in range(facts["step"], plan.steps):
        model.train()
        _precision(model, low=True)
        for group in optimizer.param_groups:
            ramp = min(1.0, (step + 1) / plan.warm_up)
            group["lr"] = plan.rate * ramp * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / plan.steps)))
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        _follow(average, model, min(plan.average, (1 + step) / (10 + step)))
        if (step + 1) * plan.looks // plan.steps > step * plan.looks // plan.steps:
            history.append((step + 1, _held(model, average, held)))
            show(f"{folder.name}: step {step + 1} of {plan.steps}, held-back loss {history[-1][1]:.6f}")
            save_state(state, model, average, optimizer, {"step": step + 1, "history": history})
    model.load_state_dict(average)
    _precision(model, low=False)
    model.eval()
    return history


def _precision(model: nn.Module, *, low: bool) -> None:
    for module in model.modules():
        if hasattr(module, "low_precision"):
            module.low_precision = low  # type: ignore[assignment]


def _follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - decay)
            else:
                average[name].copy_(tensor)


def _held(model: nn.Module, average: dict[str, Tensor], held: Callable[[], float]) -> float:
    """Held-back loss of the averaged weights."""
    kept = {n: t.detach().clone() for n, t in model.state_dict().items()}
    model.load_state_dict(average)
    model.eval()
    with torch.inference_mode():
        value = held()
    model.load_state_dict(kept)
    return value
