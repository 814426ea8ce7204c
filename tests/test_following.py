"""Tables that follow what was coded under them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcodec.entropy.following import Following
from vcodec.entropy.learning import CodedStep, Learned, Learning
from vcodec.entropy.reading import cumulative
from vcodec.entropy.tables import TABLE_SUM, SymbolReader, SymbolWriter, Tables, integer_rows

SYMBOLS = 6


def tables(rows: int = 4, seed: int = 0) -> Tables:
    weights = np.random.default_rng(seed).uniform(0.01, 1, (rows, SYMBOLS))
    weights[0, 2:] = 0  # a row of two symbols
    return Tables(integer_rows(weights))


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 3000))
def test_followed_tables_are_tables(seed: int, count: int, strength: int) -> None:
    """Rows sum to 65536, what could be coded still can be, and what coding derives from rows is derived from them."""
    start, rng = tables(), np.random.default_rng(seed)
    rows, symbols = rng.integers(1, 4, count), rng.integers(0, SYMBOLS, count)
    now = Following.fresh(start)
    for _ in range(3):
        now = now.after([(rows, symbols), (np.zeros(2, np.int64), np.array([0, 1]))], strength)
    found = now.tables
    assert (found.rows.sum(1) == TABLE_SUM).all()
    assert np.array_equal(found.rows > 0, start.rows > 0)
    assert np.array_equal(found.cumulative, cumulative(found.rows, 16))
    assert np.array_equal(found.rows[np.arange(4), found.likeliest], found.rows.max(1))
    assert found.start is start
    assert np.array_equal(start.rows, tables().rows) and np.array_equal(start.cumulative, tables().cumulative)


def test_what_was_coded_grows_likelier_and_fades() -> None:
    """Symbols above their share gain, others lose, and without new ones tables go back to where they were; those under
    which nothing was coded stay."""
    start = tables()
    now = Following.fresh(start).after([(np.full(100, 2), np.full(100, 3))], 200)
    weighed = (start.rows[2] * 200 + np.eye(SYMBOLS)[3] * 100 * TABLE_SUM) / 300
    assert now.tables.rows[2] == pytest.approx(weighed, abs=SYMBOLS)
    assert np.array_equal(now.tables.rows[[0, 1, 3]], start.rows[[0, 1, 3]])
    first = now.tables.rows[2, 3]
    for _ in range(200):
        now = now.after([], 200)
    assert start.rows[2, 3] <= now.tables.rows[2, 3] < start.rows[2, 3] + 0.02 * (first - start.rows[2, 3])


def test_following_saves_bits_and_reads_back() -> None:
    """Footage unlike what tables were counted on takes fewer bits frame after frame, and a reader follows."""
    rng, learning = np.random.default_rng(3), Learning(Tables(integer_rows(np.ones((144, 32)))), tables())
    share = rng.dirichlet(np.full(32, 0.3))
    frames = [(rng.integers(1, 8, 500), rng.choice(32, 500, p=share)) for _ in range(5)]
    payloads, sizes, learned = [], [], Learned()
    for rows, symbols in frames:
        writer, pair, after = SymbolWriter(), learning.tables(learned), Learned()
        writer.write(pair.indices.tables, rows, symbols)
        writer.write(pair.side.tables, np.full(9, 1), symbols[:9] % SYMBOLS)
        learning.teach(after, pair, [CodedStep(rows, rows, rows, symbols)], [(np.full(9, 1), symbols[:9] % SYMBOLS)])
        payloads.append(writer.finish())
        sizes.append(writer.expected_bits)
        learned = after
    assert sizes[-1] < 0.97 * sizes[0]
    learned = Learned()
    for payload, (rows, symbols) in zip(payloads, frames, strict=True):
        reader, pair, after = SymbolReader(payload), learning.tables(learned), Learned()
        read = reader.read(pair.indices.tables, rows)
        side = reader.read(pair.side.tables, np.full(9, 1))
        assert np.array_equal(read, symbols) and np.array_equal(side, symbols[:9] % SYMBOLS)
        learning.teach(after, pair, [CodedStep(rows, rows, rows, read)], [(np.full(9, 1), side)])
        learned = after
