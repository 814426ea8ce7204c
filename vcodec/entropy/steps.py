"""The order that a frame's indices are coded in, and the tables of each step: of context.py, or of keyframes.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.entropy.active import EVERY, Active
from vcodec.entropy.context import FrozenContext
from vcodec.entropy.keyframes import STEPS, FrozenKeyContext, key_owners
from vcodec.spots import Spots, listed

__all__ = ["KeySteps", "Steps", "steps_of"]

Bytes = npt.NDArray[np.uint8]


def steps_of(net: FrozenContext, past: Tensor | Spots | None, rough: Tensor, shape: Sequence[int], k: int) -> Steps:
    """Of a frame of shape [1,C,h,w]; past: indices of the frame before, None in a keyframe."""
    if past is None and net.keys is not None:
        return KeySteps(net.keys, shape[1], k)
    if past is None:
        return TwoSteps(net, torch.zeros(*shape), rough, k, 0)
    return TwoSteps(net, past, rough, k, 1)


class Steps(Protocol):
    """Indices of a frame in the order that they are coded in.

    count: of the steps; owners [C,2]: which of them each channel's white and black squares belong to (active.py).
    """

    count: int
    owners: Bytes

    def put(self, number: int, active: Active, known: Spots, out: Bytes, every: bool = False) -> None:
        """Table numbers of a step into out [C,n], where there is activity; known: indices of the steps before.

        every: those that its networks give for the squares of other steps too.
        """
        ...


class TwoSteps(Steps):
    """Steps A and B of context.py."""

    count = 2

    def __init__(self, net: FrozenContext, past: Tensor | Spots, rough: Tensor, k: int, kind: int) -> None:
        self.owners = _two_owners(past.shape[1])
        self._net, self._quick, self._k, self._kind = net, net.eight_bit, k, kind
        self._history: Any
        if self._quick is None:
            maps = past.dense(rough.device) if isinstance(past, Spots) else past.to(rough.device)
            self._history = net.history(maps, rough)
        else:
            self._history = self._quick.history(past if isinstance(past, Spots) else listed(past), rough)
        self._features: Any = None

    def put(self, number: int, active: Active, known: Spots, out: Bytes, every: bool = False) -> None:
        """Step B is told only of A, which must have come before it."""
        which = EVERY if every else number
        if self._quick is None:
            maps = known.dense(self._history.device)
            if number:
                table = self._net.step_b(maps, self._features, self._k, self._kind)
            else:
                act = _activity(active, maps)
                table, self._features = self._net.step_a(act, self._history, self._k, self._kind)
            _put(table, active, self.owners, which, out)
            return
        if number:
            found = self._quick.step_b(active, known, self._features, self._k, self._kind)
        else:
            found, self._features = self._quick.step_a(active, self._history, self._k, self._kind)
        found.put(self.owners, which, out)


class KeySteps(Steps):
    """Those of keyframes.py."""

    count = STEPS

    def __init__(self, net: FrozenKeyContext, channels: int, k: int) -> None:
        self.owners = key_owners(channels)
        self._net, self._k = net, k

    def put(self, number: int, active: Active, known: Spots, out: Bytes, every: bool = False) -> None:
        """Networks of a step know of its squares alone."""
        quick = self._net.eight_bit[number]
        if quick is not None:
            quick.found(active, known, self._k).put(self.owners, number, out)
            return
        maps = known.dense(self._net.device)
        _put(self._net.tables(number, _activity(active, maps), maps, self._k), active, self.owners, number, out)


@lru_cache(maxsize=4)
def _two_owners(channels: int) -> Bytes:
    return np.stack([np.arange(channels) % 2, (np.arange(channels) + 1) % 2], 1).astype(np.uint8)


def _activity(active: Active, beside: Tensor) -> Tensor:
    """As a tensor [1,1,h/2,w/2]."""
    return torch.from_numpy(active.activity)[None, None].to(beside.device)


def _put(table: Tensor, active: Active, owners: Bytes, step: int, out: Bytes) -> None:
    """What active.numbered does, of a whole map of numbers [1,C,h,w]."""
    places = torch.from_numpy(active.places).to(table.device)
    numbers = table[0].flatten(1)[:, places].to(torch.uint8).cpu().numpy()
    squares = out.shape[1] // 2
    own = ((owners == step) | (step == EVERY)).repeat(squares, 1)
    out[own] = numbers[own]
