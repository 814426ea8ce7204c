"""Choosing indices: the compiled loops against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from vcodec.entropy import choosing

REACH, TABLES = 15, 6
SHAPE = (4, 6, 8)


def bits_of(rng: np.random.Generator) -> np.ndarray:
    return np.abs(np.arange(-REACH, REACH + 2)).astype(np.float32) * rng.uniform(0.2, 2, (TABLES, 1)).astype(np.float32)


def symbol_of(index: int) -> int:
    return index + REACH if abs(index) <= REACH else 2 * REACH + 1


@pytest.mark.parametrize("limits", [(-40, 40), (-2, 1), (0, 1)])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_each_index_is_the_cheapest_of_three(limits: tuple[int, int], share: float) -> None:
    """The nearest level, the one before it or zero: whatever costs least; nothing where nothing may be sent."""
    rng = np.random.default_rng(int(10 * share))
    u = rng.normal(0, 6, SHAPE).astype(np.float32)
    table = rng.integers(0, TABLES, SHAPE).astype(np.float32)
    bits, price = bits_of(rng), rng.uniform(0.1, 3, SHAPE).astype(np.float32)
    activity = rng.integers(0, 3, (SHAPE[1] // 2, SHAPE[2] // 2))
    out = np.zeros(SHAPE, np.float32)
    mask = rng.random(SHAPE) < share
    out[~mask] = 99
    places = choosing.candidates(u, activity)
    assert np.array_equal(places[0], np.flatnonzero((abs(u) >= 0.5) & (activity > 0).repeat(2, 0).repeat(2, 1)))
    _, y, x = np.unravel_index(places[0], u.shape)
    assert np.array_equal(places[1], y // 2 * activity.shape[1] + x // 2)
    shifts = rng.integers(-3, 4, SHAPE[0])
    choosing.cheapest(u, places, limits, table, bits, price, activity, mask, shifts, out)
    for c, y, x in np.ndindex(*SHAPE):
        if not mask[c, y, x]:
            assert out[c, y, x] == 99
            continue
        nearest = int(np.clip(np.rint(u[c, y, x]), *limits))
        options = {0, nearest, nearest - int(np.sign(nearest))}
        if not activity[y // 2, x // 2] or not table[c, y, x]:
            options = {0}
        row = bits[np.clip(int(table[c, y, x]) + shifts[c], 1, TABLES - 1)]
        costs = {i: (u[c, y, x] - i) ** 2 + price[c, y, x] * row[symbol_of(i)] for i in options}
        chosen = int(out[c, y, x])
        assert chosen in options and costs[chosen] == pytest.approx(min(costs.values()), abs=1e-4)


def test_blocks_that_do_not_pay_are_emptied() -> None:
    """A 16x16 block keeps its activity, the bit length of its magnitudes, where it saves more than it costs."""
    rng = np.random.default_rng(1)
    u = rng.normal(0, 1.5, SHAPE).astype(np.float32)
    index = np.rint(u)
    table = rng.integers(1, TABLES, SHAPE).astype(np.float32)
    bits, price = bits_of(rng), np.full(SHAPE, 0.7, np.float32)
    activity = np.ones((3, 4), np.int64)
    activity[0, 0] = 0
    out = np.empty_like(activity)
    shifts = rng.integers(-3, 4, SHAPE[0])
    choosing.worthwhile(u, index, table, bits, price, activity, shifts, 4.0, out)
    table = np.clip(table + shifts[:, None, None], 1, TABLES - 1)
    for y, x in np.ndindex(3, 4):
        block = (slice(None), slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
        sent = index[block].astype(int)
        spent = bits[table[block].astype(int), sent + REACH].sum()
        saved = ((u[block] ** 2 - (u[block] - sent) ** 2) / 0.7).sum() - spent
        worth = activity[y, x] and saved > 4.0
        assert out[y, x] == (min(9, int(np.abs(sent).sum()).bit_length()) if worth else 0)
    assert 0 < (out > 0).sum() < out.size
    first = np.empty_like(out)
    choosing.first_activity(u, -40, 40, first)
    sure = np.sign(u) * np.rint(np.maximum(np.abs(u) - 0.2, 0))
    total = np.abs(sure).reshape(4, 3, 2, 4, 2).sum((0, 2, 4)).astype(int)
    assert np.array_equal(first, [[min(9, int(n).bit_length()) for n in row] for row in total])


def test_what_is_coded_comes_in_order() -> None:
    """Rows and places of the indices of a step whose blocks have activity and whose tables are not "surely zero"."""
    rng = np.random.default_rng(4)
    table, mask = rng.integers(0, TABLES, SHAPE).astype(np.float32), rng.random(SHAPE) < 0.5
    activity = rng.integers(0, 2, (SHAPE[1] // 2, SHAPE[2] // 2))
    rows, places = choosing.coded(table, mask, activity, 100)
    alive = mask & (activity > 0).repeat(2, 0).repeat(2, 1) & (table > 0)
    assert np.array_equal(places, np.flatnonzero(alive)) and np.array_equal(rows, 100 + table[alive])
