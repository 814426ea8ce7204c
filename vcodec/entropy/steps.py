"""The order that a frame's indices are coded in, and the tables of each step: of context.py, or of keyframes.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.entropy import choosing
from vcodec.entropy.context import FrozenContext
from vcodec.entropy.keyframes import FrozenKeyContext, key_steps
from vcodec.entropy.listing import joined
from vcodec.entropy.observed import first_step
from vcodec.spots import Spots

__all__ = ["KeySteps", "Steps", "everywhere", "merged", "steps_of"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def steps_of(net: FrozenContext, past: Tensor | Spots | None, rough: Tensor, shape: Sequence[int], k: int) -> Steps:
    """Of a frame of shape [1,C,h,w]; past: indices of the frame before, None in a keyframe."""
    if past is None and net.keys is not None:
        return KeySteps(net.keys, shape, k)
    if past is None:
        return TwoSteps(net, torch.zeros(*shape, device=rough.device), rough, k, 0)
    return TwoSteps(net, past, rough, k, 1)


class Steps(Protocol):
    """Indices of a frame in the order that they are coded in.

    masks: which belong to each step, bool [C,h,w]; tables(step, activity, indices of the steps before): their numbers,
    valid where there is activity.
    """

    masks: list[Mask]

    def coded(self, number: int, act: Tensor, known: Sequence[Spots], first: int) -> tuple[Ints, Ints]:
        """As choosing.coded gives it of the step's tables; known: indices of each step before."""
        before = joined(known).dense(act.device) if known else torch.zeros(1, *self.masks[0].shape, device=act.device)
        table = self.tables(number, act, before)[0].contiguous().float().cpu().numpy()
        return choosing.coded(table, self.masks[number], act[0, 0].cpu().numpy(), first)

    def tables(self, number: int, act: Tensor, known: Tensor) -> Tensor: ...


class TwoSteps(Steps):
    """Steps A and B of context.py."""

    def __init__(self, net: FrozenContext, past: Tensor | Spots, rough: Tensor, k: int, kind: int) -> None:
        self.masks = _two_masks(*past.shape[1:])
        self._net, self._k, self._kind = net, k, kind
        self._quick = None
        if not isinstance(past, Spots):
            self._history = net.history(past, rough)
        elif net.eight_bit is None:
            self._history = net.history(past.dense(rough.device), rough)
        else:
            self._quick = net.eight_bit
            self._history = self._quick.history_of(past, rough)
        self._features: Any = None

    def coded(self, number: int, act: Tensor, known: Sequence[Spots], first: int) -> tuple[Ints, Ints]:
        """See Steps."""
        if self._quick is None:
            return super().coded(number, act, known, first)
        if number:
            found = self._quick.found_b(known[0], self._features, self._k, self._kind)
        else:
            found, self._features = self._quick.found_a(act, self._history, self._k, self._kind, True)
        _, h, w = self.masks[number].shape
        return found.coded(h, w, number, first)

    def tables(self, number: int, act: Tensor, known: Tensor) -> Tensor:
        """Step B is told only of A, which must have come before it."""
        if number:
            return self._net.step_b(known, self._features, self._k, self._kind)
        table, self._features = self._net.step_a(act, self._history, self._k, self._kind, True)
        return table


class KeySteps(Steps):
    """Those of keyframes.py."""

    def __init__(self, net: FrozenKeyContext, shape: Sequence[int], k: int) -> None:
        self.masks = list(key_steps(*shape[1:]).numpy())
        self._net, self._k = net, k

    def tables(self, number: int, act: Tensor, known: Tensor) -> Tensor:
        """Table numbers, valid in the step."""
        return self._net.tables(number, act, known, self._k, True)


@lru_cache(maxsize=4)
def _two_masks(channels: int, h: int, w: int) -> list[Mask]:
    step_a = first_step(channels, h, w)[0].numpy()
    return [step_a, ~step_a]


@lru_cache(maxsize=4)
def everywhere(channels: int, h: int, w: int) -> Mask:
    """The mask of all indices."""
    return np.ones((channels, h, w), np.bool_)


def merged(tables: list[Tensor], masks: list[Mask]) -> Tensor:
    """One map of table numbers, each from the step that its index belongs to."""
    out = torch.zeros_like(tables[0])
    for table, mask in zip(tables, masks, strict=True):
        out += table * torch.from_numpy(mask).to(out.device)
    return out
