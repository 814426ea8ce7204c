"""Lists of what is not 0 in a frame's latent say what its maps say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vcodec.backbones.base import Latent, Listed
from vcodec.entropy.active import EVERY, numbered
from vcodec.entropy.listing import joined, kept
from vcodec.quantizers.conditional import ConditionalCodebook, ConditionalConfig
from vcodec.spots import listed, nothing


def sparse(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> torch.Tensor:
    """Integers of which most are 0."""
    values = rng.integers(-20, 21, shape) * (rng.random(shape) < share)
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("share", [0.0, 0.03, 1.0])
def test_lists_and_maps_agree(share: float) -> None:
    """A map becomes a list and comes back, whole and in parts; a latent shows either; levels are the same."""
    rng = np.random.default_rng(1)
    index = sparse(rng, (1, 12, 6, 10), share)
    spots = listed(index)
    assert torch.equal(spots.dense(), index)
    even = torch.arange(index.numel()).view(index.shape) % 2 == 0
    assert all(np.array_equal(a, b) for a, b in zip(joined([listed(index * even), listed(index * ~even)]), spots))
    latent: Latent = Listed(spots, {}, torch.device("cpu"))
    assert torch.equal(latent.values[:, :, 0], index) and latent.values is latent.values
    with pytest.raises(AttributeError):
        latent.other  # noqa: B018
    codebook = ConditionalCodebook(ConditionalConfig(12))
    torch.nn.init.uniform_(codebook.pull, -0.1, 0.3)
    with torch.inference_mode():
        for phase in (0, 1):
            at = torch.tensor([4.3]), torch.tensor([1]), torch.tensor([phase])
            assert torch.equal(codebook.levels_of(spots, *at, 3).dense(), codebook.dequantize(index, *at, 3))


def test_latents_in_steps() -> None:
    """One frame's latents are scaled in a loop as tensors are; levels that are kept follow the weights."""
    codebook = ConditionalCodebook(ConditionalConfig(12))
    values = torch.randn(1, 12, 6, 10) * 50
    for fine in (0, 0, 3):
        at = torch.tensor([4.3]), torch.tensor([1]), torch.tensor([fine])
        slow = codebook.scaled(values, *at, fine).detach()
        with torch.inference_mode():
            assert torch.equal(codebook.scaled(values, *at, fine), slow)
            step = codebook.step(*at[:2], fine)
        torch.nn.init.uniform_(codebook.log_step, 3.0, 5.0)
        with torch.inference_mode():
            assert not torch.equal(codebook.step(*at[:2], fine), step)


@pytest.mark.parametrize("step", [EVERY, 0, 1])
@pytest.mark.parametrize("first", [0, 1])
def test_sums_become_numbers_of_tables(step: int, first: int) -> None:
    """Rounded, within bounds, of some channels in rows from some on; of the step's squares, or all: others stay."""
    rng = np.random.default_rng(step + 1)
    c, n = 8, 4 * 35
    channels, begin = np.array([0, 3, 4, 7]), first * n // 2
    sums = rng.integers(-4000, 4000, (n - begin, len(channels))).astype(np.int32)
    offset = rng.integers(-500, 500, len(channels)).astype(np.int32)
    owners = rng.integers(0, 2, (c, 2)).astype(np.uint8)
    out = np.full((c, n), 99, np.uint8)
    numbered(sums, offset, (np.int32(64), np.int32(7), np.int32(20)), channels, begin, owners, step, out)
    want = np.full((c, n), 99)
    want[channels, begin:] = (((sums + offset + 64) >> 7).clip(0, 20)).T
    if step != EVERY:
        want[(owners != step).repeat(n // 2, 1)] = 99
    assert np.array_equal(out, want)


def test_symbols_that_are_kept() -> None:
    """Zeros fall away; escapes are counted, and stand beyond the reach."""
    places, values, far = kept(np.array([15, 16, 31, 0, 15]), np.array([2, 3, 5, 8, 9]), 15)
    assert places.tolist() == [3, 5, 8] and values.tolist() == [1, 16, -15] and far == 1


def test_nothing_is_a_list_too() -> None:
    """An empty map."""
    spots = nothing((1, 2, 4, 4))
    assert not spots.dense().any() and not joined([spots, spots]).places.size
