"""A second thread beside the one that codes or draws: it takes half of a long operation, or does one that can wait.

Coding is one chain of short operations, each of which needs what the last one found; a library's own threads inside
them cost more than they bring.  Where this helper is at hand (``with helper.at_hand()``), the few long operations are
shared with it; elsewhere the same calls are plain ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, local
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["FEW", "at_hand", "begun", "cores", "in_halves", "settled"]

T = TypeVar("T")
FEW = 16  # rows up to which halves are not worth it
_here = local()
_lock, _busy = Lock(), 0  # threads that have a helper at hand


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settled() -> None:
    """To be called first in a thread that uses torch: what set_num_threads said holds for the calling thread alone.

    Else oneDNN, which torch does not tell, has threads of its own in each new thread, and these wait in a loop.
    """
    torch.get_num_threads()  # which makes it so


@contextmanager
def at_hand() -> Iterator[None]:
    """A helper for what the calling thread does within (inference)."""
    outer = getattr(_here, "pool", None)
    with ThreadPoolExecutor(1, "vcodec-helper", settled) as pool:
        _here.pool = pool
        _count(1)
        try:
            yield
        finally:
            _count(-1)
            _here.pool = outer


def _count(more: int) -> None:
    global _busy
    with _lock:
        _busy += more


def _idle() -> ThreadPoolExecutor | None:
    """The calling thread's helper, where there is one and a core for it."""
    return getattr(_here, "pool", None) if _busy < max(2, cores()) else None


def begun(function: Callable[[], T]) -> Callable[[], T]:
    """Starts what gives a value when called; without a helper it is computed then."""
    pool = _idle()
    return function if pool is None else pool.submit(torch.inference_mode()(function)).result


def in_halves(function: Callable[[Tensor], Tensor], x: Tensor, reach: int) -> Tensor:
    """function(x) [B,C,H,W], its top and bottom beside each other; a row depends on x's rows up to ``reach`` away."""
    rows = x.shape[2]
    if _idle() is None or rows <= FEW or x.device.type != "cpu":
        return function(x)
    middle = rows // 2
    top = begun(lambda: function(x[:, :, : middle + reach]))
    bottom = function(x[:, :, middle - reach :])
    return torch.cat([top()[:, :, :middle], bottom[:, :, reach:]], 2)
