"""Two rows of a 3×3 convolution in four products where there would be six (Winograd's F(2,3)), in integers.

Of four rows r₀ to r₃ under weights g₀, g₁, g₂, one above the other:

    r₀g₀ + r₁g₁ + r₂g₂ = (a + b) / 2 + (r₀ − r₂)·g₀          a = (r₁ + r₂)·(g₀ + g₁ + g₂)
    r₁g₀ + r₂g₁ + r₃g₂ = (a − b) / 2 + (r₃ − r₁)·g₂          b = (r₂ − r₁)·(g₀ − g₁ + g₂)

That is exact where what is added has 16 bits, so of rows under LOUD, and what is halved 32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LOUD", "turned_weights"]

LOUD = 2**14  # magnitude from where two of them, added, may be more than 16 bits hold
_SHORT = 2**15 - 1


def turned_weights(weights: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], bool]:
    """Weights [O,I,3,3] of 16 bits -> those of a, b, r₀ − r₂ and r₃ − r₁ [4,O,I,3], and whether what they give fits."""
    above, on, below = (weights[:, :, i] for i in range(3))
    sets = np.stack([above + on + below, above - on + below, above, below])
    most = 2 * LOUD * (np.abs(on) + np.abs(above + below)).sum((1, 2)).max(initial=0)  # a ± b
    return sets, bool(np.abs(sets).max(initial=0) <= _SHORT and most < 2**31)
