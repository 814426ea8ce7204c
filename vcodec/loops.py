"""Where numba may keep the loops it compiles: beside the file they stand in, or in the user's cache folder."""

from __future__ import annotations

from numba import njit

__all__ = ["KEPT"]


def _probe() -> None:
    """Compiled by nobody."""


def _kept() -> bool:
    """Whether there is such a place; without one, each process compiles for itself."""
    try:
        njit(cache=True)(_probe)
    except RuntimeError:
        return False
    return True


KEPT = _kept()
