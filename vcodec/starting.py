"""How torch and numba are loaded, which is most of what a short command does.

Loading makes a million objects, none of them garbage: nothing is collected meanwhile.  A process that runs one command
and nothing else (`only_coding`) leaves out what coding never asks for:

    torch   shapes of tensors without memory, exported networks: a module in their place loads them when asked
    numba   scipy's BLAS: it looks for that alone, and imports all of scipy.linalg
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ["load_libraries", "only_coding", "uncollected", "whole_torch"]

_LATER = ("torch._meta_registrations", "torch.export")
_alone = False


class _Later(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def only_coding() -> None:
    """This process encodes or decodes, and ends then; to be called before torch is loaded, else it does nothing."""
    global _alone
    if "torch" in sys.modules or "numba" in sys.modules:
        return
    _alone = True
    # numpy's own threads would wait in a loop, for work that never comes
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in _LATER:
        sys.modules[name] = _Later(name)


def load_libraries() -> None:
    """Import torch and numba."""
    with uncollected():
        import torch  # noqa: F401
        from numba.core.registry import cpu_target

        with _hidden("scipy.linalg", when=_alone):
            # as before the first call of a compiled loop: numba's own library
            cpu_target.typing_context.refresh()
            cpu_target.target_context.refresh()
    if _alone:
        gc.freeze()  # what was loaded stays: no later collection looks at it


def whole_torch() -> None:
    """Load what was left out of torch, for tensors without memory (device "meta")."""
    for name in _LATER:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]
            importlib.import_module(name)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def _hidden(name: str, when: bool) -> Iterator[None]:
    """As if a library were not there; one that is loaded already stays."""
    if not when or name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
