"""Lists of what is not 0 in a frame's latent say what its maps say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vcodec.backbones.base import Latent, Listed
from vcodec.entropy import choosing
from vcodec.entropy.listing import joined, kept, numbered
from vcodec.quantizers.conditional import ConditionalCodebook, ConditionalConfig
from vcodec.spots import Spots, listed


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


@pytest.mark.parametrize("step", [0, 1])
def test_what_is_coded_is_listed_in_order(step: int) -> None:
    """Rows and places of a step are those that the whole map of table numbers gives."""
    rng = np.random.default_rng(step)
    c, h, w = 8, 10, 14
    act = rng.integers(0, 3, (h // 2, w // 2))
    places = np.flatnonzero(act.repeat(2, 0).repeat(2, 1))
    sums = rng.integers(-4000, 4000, (len(places), c)).astype(np.int32)
    offset = rng.integers(-500, 500, c).astype(np.int32)
    table = np.zeros((c, h * w), np.float32)
    table[:, places] = (((sums + offset + 64) >> 7).clip(0, 20)).T
    total = sum(np.ogrid[:c, :h, :w])
    mask = total % 2 == step
    want = choosing.coded(table.reshape(c, h, w), mask, act, 100)
    found = numbered(sums, offset, (np.int32(64), np.int32(7), np.int32(20)), places, (h, w), step, 100)
    assert len(want[0]) > 20 and all(np.array_equal(a, b) for a, b in zip(found, want))


def test_symbols_that_are_kept() -> None:
    """Zeros fall away; escapes are counted, and stand beyond the reach."""
    places, values, far = kept(np.array([15, 16, 31, 0, 15]), np.array([2, 3, 5, 8, 9]), 15)
    assert places.tolist() == [3, 5, 8] and values.tolist() == [1, 16, -15] and far == 1


def test_nothing_is_a_list_too() -> None:
    """An empty map."""
    none = np.empty(0, np.int64)
    spots = Spots(none, none.astype(np.float32), (1, 2, 4, 4))
    assert not spots.dense().any() and not joined([spots, spots]).places.size
