"""A map of which most is 0, as a list: what decoding has of a frame's latent, from the coder to the picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Spots"]


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
