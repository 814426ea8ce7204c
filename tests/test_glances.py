"""What a glance at 8-bit planes tells, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from clips import texture

from vcodec.backbones.glances import relit
from vcodec.backbones.glances import texture as detail


@pytest.mark.parametrize("change", [-30, 0, 12])
def test_another_light_is_taken_away(change: int) -> None:
    """A plane that is lighter or darker as a whole comes back in the last one's light; else it is left as it is."""
    last = texture(64, 48) // 2 + 60
    now = (last.astype(int) + change).astype(np.uint8)
    shown, changed = relit(now, last)
    assert changed == (change != 0) and np.array_equal(shown, last)


def test_motion_is_no_light() -> None:
    """What moves differs, and not as a whole."""
    first, second = texture(64, 48, 0.0), texture(64, 48, 3.0)
    shown, changed = relit(second, first)
    assert not changed and shown is second


def test_texture_is_the_distance_from_means() -> None:
    """Of each 16×16 block: the mean absolute difference of its samples from the means of their 8×8 blocks."""
    plane = texture(48, 32)
    found = np.empty((2, 3), np.float32)
    detail(plane, found)
    blocks = plane.reshape(4, 8, 6, 8).astype(np.float64)
    off = np.abs(blocks - blocks.mean((1, 3), keepdims=True)).reshape(2, 16, 3, 16).mean((1, 3))
    assert found == pytest.approx(off, rel=1e-5) and off.min() > 1
