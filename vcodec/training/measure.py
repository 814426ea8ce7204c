"""What a training loss reports, and what the trainer asks of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from vcodec.datasets.base import AnyBatch

__all__ = ["Measure", "Objective", "draw_ks"]


@dataclass
class Measure:
    """One batch: the loss and what it is made of, each [B] but the loss; squared errors in 8-bit levels.

    hat: the decoded clip, in the codec's pixel format, when the model is in evaluation mode.
    terms: parts of the loss, for the logs, detached.
    """

    loss: Tensor
    bpp: Tensor
    mse_y: Tensor
    mse_uv: Tensor
    hat: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """A trainable model with its loss: an nn.Module.  A submodule ``critic``, if any, is clipped on its own."""

    #: format of the clips it sees (Batch.clip)
    pixel_format: str
    #: codebook sizes for validation
    validation_ks: tuple[int, ...]

    def draw(self, rng: np.random.Generator, size: int) -> list[int]:
        """A K for each crop of the global batch."""

    def __call__(self, batch: AnyBatch, ks: list[int], balance: float) -> Measure:
        """The loss, a mean over the crops."""


def draw_ks(rng: np.random.Generator, size: int, ks: tuple[int, ...]) -> list[int]:
    """One K in each of ``size`` parts of the list, or of log2 2..256 without one: each step sees small and large K."""
    at = np.arange(size) + rng.random(size)
    if ks:
        return [ks[int(x * len(ks) / size)] for x in at]
    return [int(k) for k in np.clip(np.round(2.0 ** (1.0 + 7.0 * at / size)), 2, 256)]
