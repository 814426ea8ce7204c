"""When to stop early: the paper's rule, and one that lets large codebooks finish.

Both look at validation costs by K and keep what they have seen in ``memory``, which travels in the run's state.
"""

from __future__ import annotations

import math
from typing import Any

from vcodec.training.recipe import Recipe

__all__ = ["Stopper"]

SMOOTHING = 0.5  # of the logarithm of a cost, from one validation to the next


class Stopper:
    """``Stopper(recipe).finished(costs)`` after each validation."""

    def __init__(self, recipe: Recipe) -> None:
        self.rule, self.patience, self.gain = recipe.stop, recipe.stop_patience, recipe.stop_gain
        self.memory: dict[str, Any] = {}

    def finished(self, costs: dict[int, float]) -> str:
        """Why to stop now, or an empty string.  costs: validation cost by K."""
        if self.rule == "one-percent":
            return self._one_percent(costs)
        if self.rule == "patience":
            return self._no_gain(costs)
        return ""

    def _one_percent(self, costs: dict[int, float]) -> str:
        """quantized-autoencoder, section II.C: stop when the validation loss falls by less than 1 %."""
        now = sum(costs.values()) / len(costs)
        before = self.memory.get("loss")
        self.memory["loss"] = now
        if before is not None and (before - now) < 0.01 * abs(before):
            return f"the validation loss fell by less than 1 % ({before:.5g} to {now:.5g})"
        return ""

    def _no_gain(self, costs: dict[int, float]) -> str:
        """Stop when no K has gained for long.  One K that still gains keeps the run going: large K converge last."""
        smooth: dict[str, float] = self.memory.setdefault("smooth", {})
        best: dict[str, float] = self.memory.setdefault("best", {})
        gained = False
        for k, cost in costs.items():
            if not (math.isfinite(cost) and cost > 0):
                continue
            name, value = str(k), math.log(cost)
            smooth[name] = SMOOTHING * smooth.get(name, value) + (1 - SMOOTHING) * value
            if smooth[name] < best.get(name, math.inf) - self.gain:
                best[name], gained = smooth[name], True
        self.memory["waited"] = 0 if gained else self.memory.get("waited", 0) + 1
        if self.memory["waited"] >= self.patience:
            return f"no K's validation cost fell by {100 * self.gain:g} % in {self.patience} validations"
        return ""
