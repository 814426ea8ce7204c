"""Shifts of tables that writer and reader learn while they code."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcodec.entropy import calibration
from vcodec.entropy.calibration import SPAN
from vcodec.entropy.observed import TABLES
from vcodec.entropy.tables import TABLE_SUM, integer_rows

AREA, CHANNELS = 40, 5


def widening() -> np.ndarray:
    """Rows [2·TABLES,32] of two codebooks: geometric around zero, wider with their number."""
    size = np.abs(np.arange(32) - 15)
    return np.tile(integer_rows(np.exp(-size[None] / (0.2 + 0.1 * np.arange(TABLES)[:, None])) + 1e-4), (2, 1))


@given(st.integers(1, TABLE_SUM))
def test_costs_are_rounded_up_exactly(share: int) -> None:
    """The least whole number of 1/16 bits that is not less than -log2 of a share of 65536."""
    cost = int(calibration.costs_in(np.array([[share]]), 16)[0, 0])
    probability = Fraction(share, TABLE_SUM) ** 16
    assert Fraction(1, 2**cost) <= probability
    assert cost == 0 or probability < Fraction(1, 2 ** (cost - 1))


def test_what_no_table_holds_is_dear() -> None:
    """A share of 0 costs more than any other."""
    assert calibration.costs_in(np.array([[0, 1, TABLE_SUM]]), 16).tolist() == [[64 * 16, 256, 0]]


def test_costs_are_those_of_each_shift() -> None:
    """Counted by kinds of symbols, they are the sums over all of them; numbers stay within 1..TABLES-1."""
    rng = np.random.default_rng(0)
    costs = calibration.costs_in(widening(), 16)
    places = np.sort(rng.choice(AREA * CHANNELS, 90, replace=False))
    places = places[(places < AREA) | (places >= 2 * AREA)]  # a channel without any
    rows, symbols = TABLES + rng.integers(1, TABLES, len(places)), rng.integers(0, 32, len(places))
    out = np.zeros((CHANNELS, 2 * SPAN + 1), np.int64)
    calibration.tallied(rows, places, symbols, AREA, TABLES, costs, out)
    for channel in range(CHANNELS):
        mine = places // AREA == channel
        shifts = np.zeros(CHANNELS, np.int64)
        for shift in range(-SPAN, SPAN + 1):
            shifts[channel] = shift
            moved = calibration._shifted(rows, places, AREA, TABLES, shifts)
            assert np.array_equal(moved[~mine], rows[~mine])
            assert moved.min() > TABLES and moved.max() < 2 * TABLES
            assert np.array_equal(moved[mine], np.clip(rows[mine] + shift, TABLES + 1, 2 * TABLES - 1))
            assert out[channel, shift + SPAN] == costs[moved[mine], symbols[mine]].sum()


def test_a_channel_finds_the_tables_that_it_wants() -> None:
    """Channels that hold more, as much and less than expected shift up, not at all and down, and code in fewer bits;
    when what they hold changes, so do they."""
    rng = np.random.default_rng(1)
    tables = widening()
    costs, share = calibration.costs_in(tables, 16), tables / TABLE_SUM
    true, places = np.array([4, 0, -4]), np.arange(3 * 400)

    def frame(state: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.integers(10, 30, 3 * 400)
        held = rows + true[places // 400]
        symbols = np.array([rng.choice(32, p=share[row]) for row in held])
        new = np.zeros_like(state)
        calibration.tallied(rows, places, symbols, 400, 0, costs, new)
        return calibration.learned(state, new), new

    state = calibration.fresh(3)
    assert not calibration.shifts_of(state).any()
    same = np.arange(1, 4)
    assert np.array_equal(calibration.shifted(same, np.array([0, 400, 800]), 400, 0, state), same)
    for _ in range(12):
        state, new = frame(state, true)
    found = calibration.shifts_of(state)
    assert np.abs(found - true).max() <= 1
    assert (new[[0, 2], found[[0, 2]] + SPAN] < new[[0, 2], SPAN]).all()
    assert np.array_equal(np.sign(calibration.believed(state)), np.sign(true))
    for _ in range(30):
        state, _ = frame(state, -true)
    assert np.abs(calibration.shifts_of(state) + true).max() <= 1


def test_little_evidence_moves_nothing() -> None:
    """A shift has to save 3 bits for each step that it goes."""
    state = calibration.fresh(1)
    new = np.zeros_like(state)
    new[0, : SPAN + 1] = 47  # one shift up saves not quite as much
    assert calibration.shifts_of(calibration.learned(state, new))[0] == 0
    new[0, : SPAN + 1] = 49
    assert calibration.shifts_of(calibration.learned(state, new))[0] == 1
