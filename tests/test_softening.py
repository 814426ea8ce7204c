"""The last frame smoothed: what the filters are, and that blocks take it where its detail is not theirs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.models import picture
from vcodec.backbones.compensation import clamped, compensate
from vcodec.backbones.motion import Reference, search
from vcodec.backbones.softening import REACH, smoothed, softened
from vcodec.sources import BLURRED, LAST, SOFT

BINOMIAL = {SOFT: (1, 2, 1), BLURRED: (1, 6, 15, 20, 15, 6, 1)}


def plain(plane: npt.NDArray[np.uint8], source: int) -> npt.NDArray[np.uint8]:
    """The filters as they are defined: binomial, edges repeated, rounded once."""
    taps = np.array(BINOMIAL[source])
    reach = len(taps) // 2
    wide = np.pad(plane.astype(np.int64), reach, mode="edge")
    h, w = plane.shape
    across = sum(t * wide[:, i : i + w] for i, t in enumerate(taps))
    both = sum(t * across[i : i + h] for i, t in enumerate(taps))
    whole = int(taps.sum()) ** 2
    return ((both + whole // 2) // whole).astype(np.uint8)


@pytest.mark.parametrize("source", [SOFT, BLURRED])
def test_planes_are_smoothed_as_defined(source: int) -> None:
    """Luma and chroma alike; what the search makes of a block is what decoding makes of it."""
    rng = np.random.default_rng(source)
    luma, chroma = (rng.integers(0, 256, (1, n, 32 * n, 48 * n**2)).astype(np.uint8) for n in (1, 2))
    for before, after in zip((luma, chroma), softened((torch.from_numpy(luma), torch.from_numpy(chroma)), source)):
        assert after.dtype == torch.uint8
        assert all((to.numpy() == plain(one, source)).all() for one, to in zip(before[0], after[0], strict=True))
    for size in (8, 16):
        block, at = np.empty(size * size, np.uint8), REACH * 48 + 16
        smoothed(luma.reshape(-1), at, 48, source, block)
        wanted = plain(luma[0, 0], source)[REACH : REACH + size, 16 : 16 + size]
        assert (block.reshape(size, size) == wanted).all()


def test_what_blocks_read_is_smoothed() -> None:
    """Under vectors compensation finds what whole smoothed planes would give it."""
    rng = np.random.default_rng(5)
    luma, chroma = (rng.integers(0, 256, s).astype(np.uint8) for s in ((1, 1, 96, 208), (1, 2, 48, 104)))
    vectors = torch.from_numpy(rng.integers(-90, 91, (1, 3, 12, 26)))
    vectors[:, 2] = torch.from_numpy(rng.choice([LAST, SOFT, BLURRED], (1, 12, 26), p=[0.9, 0.05, 0.05]))
    vectors = torch.cat([clamped(vectors, 8, (96, 208)), vectors[:, 2:]], 1)
    with torch.inference_mode():
        last = torch.from_numpy(luma), torch.from_numpy(chroma)
        parts = [softened(last, s, vectors) for s in (SOFT, BLURRED)]
        wholes = [softened(last, s) for s in (SOFT, BLURRED)]
        one, other = (compensate([last, last, *planes], vectors) for planes in (wholes, parts))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("level", [0, 255])
def test_flat_planes_stay(level: int) -> None:
    """The filters add up to one, and nothing overflows."""
    planes = tuple(torch.full(size, level, dtype=torch.uint8) for size in ((1, 1, 16, 16), (1, 2, 8, 8)))
    for source in (SOFT, BLURRED):
        assert all(torch.equal(a, b) for a, b in zip(softened(planes, source), planes, strict=True))


@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_blocks_take_it_where_detail_is_new(noise: float) -> None:
    """Under noise that is another in each frame blocks come from the smoothed frame, without any from the sharp one."""
    rng = np.random.default_rng(3)
    clean = picture(rng, 64, 96).astype(float)
    if noise:
        clean = np.full_like(clean, 128.0)
    frames = [clean + rng.normal(0, noise, clean.shape) if noise else clean for _ in range(2)]
    now, last = (torch.from_numpy(f.clip(0, 255).round()).float()[None, None] / 255 for f in frames)
    start = torch.zeros(1, 2, 4, 6, dtype=torch.int64)
    found, _, _ = search(now, Reference.of(last), start, 0.6 * 8 / 255, 8.0)
    assert ((found[0, 2] == LAST) == (noise == 0)).float().mean() > 0.9
