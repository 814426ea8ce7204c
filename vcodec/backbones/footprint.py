"""Memory that a call takes, known before it is made: it is made on tensors without memory, and these are counted.

    with torch.device("meta"), Footprint() as footprint:
        network(torch.empty(1, 3, 49, 512, 512))     nothing is computed
    footprint.peak                                   most bytes alive at once of all that was made within
    footprint.held                                   what a process grows by

They differ by the C library: what it got for blocks up to 32 MB (the most that glibc's mmap threshold comes to) it
keeps when they are let go, with gaps between them; greater ones go back to the system at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Footprint"]

_SMALL = 32 * 2**20
_GAPS, _GAPS_SHARE = 96 * 2**20, 0.6  # lost between small blocks, as measured: bytes, but at most a share of them
_UNSEEN = 1.05  # for what operations take for themselves


class Footprint(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of tensors as they are made and let go.  What an operation takes for itself is not seen."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._most = 0
        self._small = self._small_peak = self._great = 0
        self._known: set[int] = set()

    @property
    def held(self) -> int:
        """Bytes that the process should grow by, at most."""
        return round(_UNSEEN * (self._most + min(_GAPS, self._small_peak * _GAPS_SHARE)))

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in given | self._known:
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._known.add(id(storage))
        self._change(storage.nbytes(), 1)
        self._small_peak = max(self._small_peak, self._small)
        self.peak = max(self.peak, self._small + self._great)
        self._most = max(self._most, self._small_peak + self._great)
        weakref.finalize(storage, self._remove, id(storage), storage.nbytes())

    def _remove(self, key: int, count: int) -> None:
        self._known.discard(key)
        self._change(count, -1)

    def _change(self, count: int, sign: int) -> None:
        if count <= _SMALL:
            self._small += sign * count
        else:
            self._great += sign * count
