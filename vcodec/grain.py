"""How fine a frame's motion vectors are: multiples of 1 << grain, in quarter samples.

What is sent of a vector is in grains.  The coarser they are, the fewer bits vectors take and the worse they predict;
what pays differs with K and with the footage.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["GRAINS", "RANGE", "rounded"]

GRAINS = (0, 1, 2, 3)  # quarter, half, one, two samples


RANGE = 255  # largest vector component, quarter samples


def rounded(vectors: npt.NDArray[np.int64], grain: int) -> npt.NDArray[np.int64]:
    """Vectors in quarter samples, in grains."""
    found: npt.NDArray[np.int64] = vectors + (1 << grain >> 1)
    found >>= grain
    np.maximum(found, -(RANGE >> grain), out=found)
    return np.minimum(found, RANGE >> grain, out=found)
