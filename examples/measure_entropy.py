"""Symbols a second of the entropy coder, tables mixed as in a frame.

python examples/measure_entropy.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from vcodec.checkpoint import load_codec
from vcodec.entropy.tables import SymbolReader, SymbolWriter


def main() -> None:
    """Code 150,000 symbols at a time under the bundled codec's 48 tables of large codebooks, 15 times."""
    tables = load_codec("qae").entropy.index_tables
    rng = np.random.default_rng(0)
    rows = 96 + rng.integers(1, 48, 150_000)
    cumulative = (tables.rows / tables.rows.sum(1, keepdims=True)).cumsum(1)
    symbols = (rng.random(rows.size)[:, None] > cumulative[rows]).sum(1)
    write, read = [], []
    for _ in range(15):
        start = time.perf_counter()
        writer = SymbolWriter()
        writer.write(tables, rows, symbols)
        payload = writer.finish()
        middle = time.perf_counter()
        got = SymbolReader(payload).read(tables, rows)
        read.append(rows.size / (time.perf_counter() - middle) / 1e6)
        write.append(rows.size / (middle - start) / 1e6)
        if not np.array_equal(got, symbols):
            raise SystemExit("symbols differ")
    print(
        f"encode {statistics.median(write):.1f}, decode {statistics.median(read):.1f} million symbols/s (median of 15)"
    )


if __name__ == "__main__":
    main()
