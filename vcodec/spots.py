"""A map of which most is 0, as a list: what decoding has of a frame's latent, from the coder to the picture, and what
contexts read of indices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.loops import KEPT

__all__ = ["Spots", "listed", "nothing"]

Floats = npt.NDArray[np.float32]
_MAGNITUDE = np.int32(0x7FFFFFFF)  # bits of a float but its sign


class Spots(NamedTuple):
    """Flat places [n] in a map of this shape, ascending, and the values there [n]."""

    places: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    shape: tuple[int, ...]

    def dense(self, device: torch.device | str = "cpu") -> Tensor:
        """The map."""
        out = torch.zeros(self.shape)
        out.numpy().reshape(-1)[self.places] = self.values
        return out.to(device)


def nothing(shape: tuple[int, ...]) -> Spots:
    """A map of zeros."""
    return Spots(np.empty(0, np.int64), np.empty(0, np.float32), shape)


def listed(values: Tensor) -> Spots:
    """A map as a list."""
    return Spots(*_listed(np.ascontiguousarray(values.numpy()).reshape(-1)), tuple(values.shape))


@njit(cache=KEPT, nogil=True)
def _listed(values: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Places and values of what is not 0."""
    places, found, n = np.empty(len(values), np.int64), np.empty(len(values), np.float32), 0
    bits = values.view(np.int32)
    for begin in range(0, len(values), 64):
        part, some = values[begin : begin + 64], np.int32(0)
        for value in bits[begin : begin + 64]:
            some |= value
        if some & _MAGNITUDE:
            for i in range(len(part)):
                if part[i] != 0:
                    places[n], found[n] = begin + i, part[i]
                    n += 1
    return places[:n].copy(), found[:n].copy()
