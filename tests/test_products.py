"""Sums of products of integers are exact, by what this CPU has for them and in terms that every CPU has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numba import njit

from vcodec import products, tiles
from vcodec.backbones.strips import Strips
from vcodec.backbones.tiled import Tiled
from vcodec.convolving import Dense, room
from vcodec.entropy.intlayers import Listed
from vcodec.spots import listed
from vcodec.turning import LOUD, turned_weights

ROWS, INPUTS = products.ROWS, 12


def _block(add_products: Any, together: int = 2) -> Callable[..., None]:
    """A loop that makes a block of sums."""

    @njit
    def loop(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        total = products.zero_sums(ROWS)
        for k in range(0, INPUTS, together):
            total = add_products(total, a, k, INPUTS, b, k * products.OUTPUTS)
        products.put_sums(total, out, 0, products.OUTPUTS)

    return loop


@pytest.mark.parametrize("add_products", [products.add_products, products.add_products_plainly])
@pytest.mark.parametrize("most", [300, 2**13])
def test_products_are_exact(add_products: Any, most: int) -> None:
    """A block of sums is the integer product of its rows and weights, the largest that fit 32 bits too."""
    rng = np.random.default_rng(most)
    a = rng.integers(-most, most + 1, (ROWS, INPUTS)).astype(np.int16)
    weights = rng.integers(-most, most + 1, (INPUTS, products.OUTPUTS)).astype(np.int16)
    a[0], weights[:, 0], weights[:, 1] = most, most, -most
    paired = np.ascontiguousarray(weights.reshape(INPUTS // 2, 2, -1).transpose(0, 2, 1))
    out = np.zeros((ROWS, products.OUTPUTS), np.int32)
    _block(add_products)(a.ravel(), paired.ravel(), out.ravel())
    assert np.array_equal(out, a.astype(np.int64) @ weights.astype(np.int64))


@pytest.mark.parametrize("add_products", [products.add_products, products.add_products_plainly])
def test_products_of_bytes_are_exact(add_products: Any) -> None:
    """The same of bytes, four at a time: the largest and the smallest too, nothing is cut off between."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (ROWS, INPUTS)).astype(np.uint8)
    weights = rng.integers(-128, 128, (INPUTS, products.OUTPUTS)).astype(np.int8)
    a[0], weights[:, 0], weights[:, 1] = 255, 127, -128
    fours = np.ascontiguousarray(weights.reshape(INPUTS // 4, 4, -1).transpose(0, 2, 1))
    out = np.zeros((ROWS, products.OUTPUTS), np.int32)
    _block(add_products, 4)(a.ravel(), fours.ravel(), out.ravel())
    assert np.array_equal(out, a.astype(np.int64) @ weights.astype(np.int64))


def _map(rng: np.random.Generator, *shape: int) -> Any:
    return torch.from_numpy(rng.integers(-7, 8, shape) * (rng.random(shape) < 0.3)).float()


@pytest.mark.parametrize("outputs", [5, 16, 32, 37])
def test_layers_are_convolutions(outputs: int) -> None:
    """Dense gives a convolution's sums in the places asked for, Listed those of magnitudes, however many outputs."""
    rng = np.random.default_rng(outputs)
    h, w = 6, 10
    weight = _map(rng, outputs, 8, 3, 3) * 40
    x = _map(rng, 1, 8, h, w)
    edged = np.ascontiguousarray(F.pad(x, (1, 1, 1, 1))[0].permute(1, 2, 0).numpy().astype(np.int16))
    places = np.sort(rng.permutation(h * w)[:23])
    want = F.conv2d(x, weight, padding=1)[0].flatten(1).t().numpy()
    assert np.array_equal(Dense.of(weight).sums(edged, places), want[places])
    alone = room(23, 8)
    alone[:23] = x[0].flatten(1).t().numpy()[places]
    assert np.array_equal(Dense.of(weight[..., :1, :1]).alone(alone, 23), alone[:23] @ weight[..., 0, 0].t().numpy())
    found = Listed.of(weight).sums(listed(x)).reshape(h + 2, w + 2, outputs)[1:-1, 1:-1]
    want = F.conv2d(16 * x.abs(), weight, padding=1)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, want)


@pytest.mark.parametrize(("most", "fits"), [(60, True), (2**13, False)])
@pytest.mark.parametrize("w", [5, 26, 61])
def test_strips_are_convolutions(most: int, fits: bool, w: int) -> None:
    """Sums of a picture's rows are a convolution's, of an odd number of them too, where what is given is under LOUD,
    where it is as far as 16 bits go, and where weights are too large for fewer products."""
    rng = np.random.default_rng(w)
    weight = rng.integers(-most, most + 1, (10, 8, 3, 3)) // (1 if fits else 4)
    weight[0, 0, :, 0] = most, -most, most
    x = rng.integers(-LOUD, LOUD, (8, 11, w)).astype(np.int16)
    x[:, 5, w // 2 :] = rng.integers(-(2**15), 2**15, (8, w - w // 2))
    x[:, 8], x[:, 9] = -LOUD, LOUD - 1
    made = Strips.of(weight)
    assert made.fits == fits
    edged = np.ascontiguousarray(np.pad(x, ((0, 0), (1, 1), (1, 1))).transpose(1, 2, 0))
    want = F.conv2d(torch.from_numpy(x).double()[None], torch.from_numpy(weight).double(), padding=1)[0]
    assert want.abs().max() < 2**31
    for first, stop in ((0, 11), (4, 11), (2, 4), (6, 6)):
        got = made.sums(edged, first, stop)
        assert np.array_equal(got, want[:, first:stop].flatten(1).t().numpy())


@pytest.mark.skipif(not tiles.HERE, reason="this CPU has no tiles")
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 10), (96, 33), (128, 16)])
@pytest.mark.parametrize("w", [5, 26, 61])
def test_tiles_are_convolutions(inputs: int, outputs: int, w: int) -> None:
    """Sums of a picture's rows are a convolution's, as far as 16 bits go on both sides, whatever lies beyond."""
    rng = np.random.default_rng(w)
    weight = rng.integers(-(2**15), 2**15, (outputs, inputs, 3, 3)) * (rng.random((outputs, inputs, 3, 3)) < 1 / inputs)
    weight[0] = 0
    weight[0, 0, 1, 1], weight[0, 1, 1, 1] = 2**15 - 1, -(2**15)
    x = rng.integers(-(2**15), 2**15, (inputs, 11, w)).astype(np.int16) // 8
    x[:2] *= 7
    edged = np.ascontiguousarray(np.pad(x, ((0, 0), (1, 1), (1, 1))).transpose(1, 2, 0))
    want = F.conv2d(torch.from_numpy(x).double()[None], torch.from_numpy(weight).double(), padding=1)[0]
    made = Tiled.of(weight)
    assert want.abs().max() < 2**31
    for first, stop in ((0, 11), (4, 11), (2, 4), (6, 6)):
        got = made.sums(edged, first, stop)
        assert np.array_equal(got, want[:, first:stop].flatten(1).t().numpy())


def test_turned_weights_fit_or_say_so() -> None:
    """Weights of 16 bits that add up to more do not fit, nor do those whose sums, twice, may be 2**31."""
    rows = np.zeros((1, 1, 3, 3), np.int64)
    for column, wanted in (
        ((11000, 10000, 11000), True), ((11000, 11000, 11000), False), ((20000, 0, -20000), True),
        ((10922, 10922, 10922), True), ((20000, -1, 20000), False),
    ):  # fmt: skip
        rows[0, 0, :, 1] = column
        assert turned_weights(rows)[1] == wanted
    assert not turned_weights(np.repeat(np.repeat(rows // 2, 3, 3), 2, 1))[1]
