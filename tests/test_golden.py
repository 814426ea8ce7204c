"""The golden frame: where a block was in it is known from the vectors on the way, and it is taken where that pays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models import picture
from vcodec.backbones import costs, golden
from vcodec.backbones.differences import unit_of
from vcodec.backbones.motion import Reference, Sought, search
from vcodec.sources import BOTH, GOLDEN, LAST, MEMORY

SHAPE = (4, 6)


def coarse(dy: int, dx: int, source: int = LAST) -> torch.Tensor:
    """Blocks that all move alike [1,5,4,6]."""
    out = torch.zeros(1, 5, *SHAPE, dtype=torch.int64)
    out[:, 0], out[:, 1], out[:, 2] = dy, dx, source
    return out


def test_a_trail_adds_up() -> None:
    """Over some frames that move alike the trail is the sum of their vectors since the golden frame."""
    trail = torch.zeros(1, 4, *SHAPE, dtype=torch.int64)
    for step, (dy, dx) in enumerate([(40, -8), (0, 4), (-4, 12)]):
        trail = golden.handed_on(coarse(dy, dx), trail, renewed=step == 0)
    inner = trail[0, :, 1:-1, 1:-1]
    assert (inner[0] == 36).all() and (inner[1] == 8).all()
    led = golden.followed(coarse(4, 4, BOTH), trail)
    assert (led[0, 3, 1:-1, 1:-1] == 40).all() and (led[0, 4, 1:-1, 1:-1] == 12).all()
    assert not golden.followed(coarse(4, 4, LAST), trail)[:, 3:].any()


def test_a_correction_stays_on_the_trail() -> None:
    """What a block says of where it was is what the next frame's blocks start from; the memory does not move."""
    trail = torch.zeros(1, 4, *SHAPE, dtype=torch.int64)
    corrected = coarse(0, 0, GOLDEN)
    corrected[:, 3] = 6
    corrected[:, 2, 0, 0] = MEMORY
    after = golden.handed_on(corrected, trail, renewed=False)
    assert after[0, 0, 0, 0] == 0 and (after[0, 0].flatten()[1:] == 6).all() and not after[0, 1].any()
    assert not golden.handed_on(corrected, after, renewed=True).any()


@pytest.mark.parametrize("wanted", [LAST, BOTH, GOLDEN])
def test_a_block_comes_from_what_shows_it_best(wanted: int) -> None:
    """A noisy last frame gives way to a clean golden one, two noisy ones to their mean, a clean last one to neither."""
    rng = np.random.default_rng(wanted)
    clean = picture(rng, 64, 96).astype(float) * 0.7 + 30

    def shown(noise: float) -> torch.Tensor:
        return (
            torch.from_numpy((clean + rng.normal(0, noise, clean.shape)).clip(0, 255).round()).float()[None, None] / 255
        )

    now = shown(0.0)
    last, older = {LAST: (shown(0), shown(9)), BOTH: (shown(9), shown(9)), GOLDEN: (shown(12), shown(0))}[wanted]
    start, way = torch.zeros(1, 2, *SHAPE, dtype=torch.int64), torch.zeros(1, 4, *SHAPE, dtype=torch.int64)
    found, _, _ = search(now, Reference.of(last), start, 0.6 * 6 / 255, 6.0, older=(Sought(older), way))
    assert (found[0, 2] == wanted).float().mean() > 0.8


def test_corrections_find_what_the_trail_missed() -> None:
    """Where the trail leads a sample aside, corrections make it good, in whole grains."""
    rng = np.random.default_rng(8)
    wide = torch.from_numpy(picture(rng, 64, 104)).float()[None, None] / 255
    now, older = wide[..., :96], wide[..., 4:100]  # four samples to the left
    last = torch.full_like(now, 0.5)
    now8 = np.ascontiguousarray((now[0, 0] * 255).round().to(torch.uint8).numpy())
    field = coarse(0, 0)[0].numpy()
    way = np.zeros((4, *SHAPE), np.int64)
    way[1] = -20  # it should say -16
    none = np.zeros((2, *SHAPE), np.int64)
    references = [Reference.of(x).phases for x in (last, older)]
    golden.choose_sources(now8, *references, field, costs.nowhere(none), way, none, 4.0, 1, unit_of(6.0))
    inner = field[:, 1:-1, 1:-1]
    assert (inner[2] == GOLDEN).all() and (inner[4] == 4).all() and not inner[3].any()
