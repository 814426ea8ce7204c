"""Choosing indices: the compiled loops against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from vcodec.entropy.active import EVERY, Active
from vcodec.entropy.choosing import Candidates, Rule, first_activity, symbols_of

REACH, TABLES = 15, 6
SHAPE = (4, 6, 8)


def bits_of(rng: np.random.Generator) -> np.ndarray:
    return np.abs(np.arange(-REACH, REACH + 2)).astype(np.float32) * rng.uniform(0.2, 2, (TABLES, 1)).astype(np.float32)


def symbol_of(index: int) -> int:
    return index + REACH if abs(index) <= REACH else 2 * REACH + 1


def some_activity(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 3, (SHAPE[1] // 2, SHAPE[2] // 2))


def alive(activity: np.ndarray) -> np.ndarray:
    return (activity > 0).repeat(2, 0).repeat(2, 1)


def candidates(
    u: np.ndarray, price: np.ndarray, weight: tuple[np.ndarray, np.ndarray], activity: np.ndarray
) -> Candidates:
    counts = first_activity(u, -40, 40, np.empty((SHAPE[1] // 2, SHAPE[2] // 2), np.int64))
    assert np.array_equal(counts, (abs(u) >= 0.5).sum(2))
    return Candidates.of(u, counts, price, weight, Active.of(activity))


def mapped(active: Active, numbers: np.ndarray) -> np.ndarray:
    """Numbers in places as a map, 0 elsewhere."""
    out = np.zeros((len(numbers), active.rows.size), numbers.dtype)
    out[:, active.places] = numbers
    return out.reshape(len(numbers), *active.rows.shape)


def test_places_lie_by_squares() -> None:
    """Active's lists are of the places of active blocks: white ones first, block by block, and in order."""
    activity = some_activity(np.random.default_rng(3))
    active, want = Active.of(activity), np.flatnonzero(alive(activity))
    assert np.array_equal(np.sort(active.places), want) and len(want) % 4 == 0
    assert np.array_equal(active.rows.reshape(-1)[active.places], np.arange(len(want)))
    assert ((active.rows >= 0) == alive(activity)).all()
    color = active.places // SHAPE[2] % 2 ^ active.places % 2
    assert (color == np.repeat([0, 1], len(want) // 2)).all()
    for i in range(2):
        assert np.array_equal(active.places[active.order[i]], want[(want // SHAPE[2] % 2 ^ want % 2) == i])
    blocks = active.places.reshape(4, -1)
    assert (blocks - blocks[0] == np.array([[0], [SHAPE[2] + 1], [1], [SHAPE[2]]])).all()
    assert not Active.of(np.zeros_like(activity)).places.size


@pytest.mark.parametrize("limits", [(-40, 40), (-2, 1), (0, 1)])
@pytest.mark.parametrize("step", [EVERY, 0, 1])
def test_each_index_is_the_cheapest_of_three(limits: tuple[int, int], step: int) -> None:
    """The nearest level, the one before it or zero: whatever costs least; nothing where nothing may be sent."""
    rng = np.random.default_rng(5 + step)
    u = rng.normal(0, 6, SHAPE).astype(np.float32)
    activity = some_activity(rng)
    active = Active.of(activity)
    numbers = rng.integers(0, TABLES, (SHAPE[0], len(active.places))).astype(np.uint8)
    price = rng.uniform(0.1, 3, SHAPE[0]).astype(np.float32)
    weight = rng.uniform(1, 3, SHAPE[0]).astype(np.float32), rng.uniform(0.5, 2, SHAPE[1:]).astype(np.float32)
    owners = rng.integers(0, 2, (SHAPE[0], 2)).astype(np.uint8)
    rule = Rule(*limits, bits_of(rng), rng.integers(-3, 4, SHAPE[0]))
    some = candidates(u, price, weight, activity)
    assert np.array_equal(some.places, np.flatnonzero((abs(u) >= 0.5) & alive(activity)))
    c, y, x = np.unravel_index(some.places, SHAPE)
    assert np.array_equal(some.starts, np.searchsorted(c, np.arange(SHAPE[0] + 1)))
    assert np.array_equal(some.rows, active.rows[y, x]) and np.array_equal(some.values, u[c, y, x])
    assert np.array_equal(some.prices, price[c] / (weight[0][c] * weight[1][y, x]))
    out = np.full(len(some.places), 99, np.float32)
    some.choose(rule, numbers, owners, step, out)
    own, table = owners[c, (y + x) % 2], mapped(active, numbers)[c, y, x]
    for i in range(len(out)):
        if step not in (EVERY, own[i]):
            assert out[i] == 99
            continue
        nearest = int(np.clip(np.rint(some.values[i]), *limits))
        options = {0, nearest, nearest - int(np.sign(nearest))} if table[i] else {0}
        row = rule.bits[np.clip(int(table[i]) + rule.shifts[c[i]], 1, TABLES - 1)]
        costs = {j: (some.values[i] - j) ** 2 + some.prices[i] * row[symbol_of(j)] for j in options}
        chosen = int(out[i])
        assert chosen in options and costs[chosen] == pytest.approx(min(costs.values()), abs=1e-4)
    places, values = some.sent(out)
    assert np.array_equal(places, some.places[out != 0]) and np.array_equal(values, out[out != 0])


def test_blocks_that_do_not_pay_are_emptied() -> None:
    """A 16x16 block keeps its activity, the bit length of its magnitudes, where it saves more than it costs; what is in
    others is no candidate any more."""
    rng = np.random.default_rng(1)
    u = rng.normal(0, 1.5, SHAPE).astype(np.float32)
    activity = np.ones((3, 4), np.int64)
    activity[0, 0] = 0
    active = Active.of(activity)
    numbers = rng.integers(0, TABLES, (SHAPE[0], len(active.places))).astype(np.uint8)
    rule = Rule(-40, 40, bits_of(rng), rng.integers(-3, 4, SHAPE[0]))
    some = candidates(
        u, np.full(4, 0.7, np.float32), (np.ones(4, np.float32), np.ones(SHAPE[1:], np.float32)), activity
    )
    table = mapped(active, numbers)
    c, y, x = np.unravel_index(some.places, SHAPE)
    indices = np.where(table[c, y, x] > 0, np.rint(some.values), 0)
    index = np.zeros(SHAPE, np.float32)
    index[c, y, x] = indices
    out = some.worthwhile(rule, numbers, indices, 4.0, active)
    coded = table > 0
    table = np.clip(table + rule.shifts[:, None, None], 1, TABLES - 1)
    for y, x in np.ndindex(3, 4):
        block = (slice(None), slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
        sent = index[block].astype(int)
        spent = (rule.bits[table[block].astype(int), sent + REACH] * coded[block]).sum()
        saved = ((u[block] ** 2 - (u[block] - sent) ** 2) / 0.7).sum() - spent
        worth = activity[y, x] and saved > 4.0
        assert out[y, x] == (min(9, int(np.abs(sent).sum()).bit_length()) if worth else 0)
    assert 0 < (out > 0).sum() < out.size
    after = Active.of(out)
    left = some.within(active, after)
    want = candidates(u, np.full(4, 0.7, np.float32), (np.ones(4, np.float32), np.ones(SHAPE[1:], np.float32)), out)
    assert all(np.array_equal(a, b) for a, b in zip(left, want, strict=True)) and len(left.places) < len(some.places)


def test_activity_is_guessed_from_what_is_sure() -> None:
    """Below 0.7 of a step nothing is worth sending."""
    u = np.random.default_rng(1).normal(0, 1.5, SHAPE).astype(np.float32)
    first = np.empty((3, 4), np.int64)
    first_activity(u, -40, 40, first)
    sure = np.sign(u) * np.rint(np.maximum(np.abs(u) - 0.2, 0))
    total = np.abs(sure).reshape(4, 3, 2, 4, 2).sum((0, 2, 4)).astype(int)
    assert np.array_equal(first, [[min(9, int(n).bit_length()) for n in row] for row in total])


def test_what_is_coded_comes_in_order() -> None:
    """Rows and places of the indices of a step whose blocks have activity and whose tables are not "surely zero", and
    their symbols."""
    rng = np.random.default_rng(4)
    activity = some_activity(rng)
    active = Active.of(activity)
    numbers = rng.integers(0, TABLES, (SHAPE[0], len(active.places))).astype(np.uint8)
    owners = rng.permuted(np.tile(np.arange(3, dtype=np.uint8), (SHAPE[0], 1)), axis=1)[:, :2]
    table, color = mapped(active, numbers), sum(np.ogrid[: SHAPE[1], : SHAPE[2]]) % 2
    index = np.where(table > 0, rng.integers(-20, 21, SHAPE) * (rng.random(SHAPE) < 0.3), 0)
    sent = np.flatnonzero(index)
    for step in range(3):
        rows, places = active.coded(numbers, owners, step, 100)
        coded = (owners[:, color] == step) & (table > 0)
        assert np.array_equal(places, np.flatnonzero(coded)) and np.array_equal(rows, 100 + table[coded])
        symbols, far = symbols_of(places, sent, index.reshape(-1)[sent].astype(np.float32), REACH, 2 * REACH + 1)
        assert symbols.tolist() == [symbol_of(i) for i in index[coded]]
        assert far.tolist() == [i for i in index[coded] if abs(i) > REACH]
