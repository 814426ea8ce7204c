"""What frames of a GOP teach the frames after them: which tables suit each channel, and what tables hold.

    networks' table numbers ─► shifts (calibration.py) ─► rows ─► tables that follow (following.py) ─► coder
                                 ▲                                  ▲                                    │
                                 └──────────── after each frame ────┴──────────── symbols ◄──────────────┘

A keyframe teaches nothing: its networks and its side information are of another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vcodec.entropy import calibration
from vcodec.entropy.calibration import Costs
from vcodec.entropy.following import Coded, Following
from vcodec.entropy.tables import TABLE_SUM, Tables

__all__ = ["CodedStep", "Learned", "Learning", "Pair"]

Ints = npt.NDArray[np.int64]
_INDEX_STRENGTH, _SIDE_STRENGTH = 1000, 200  # symbols that the model's own tables count, by measurement


class CodedStep(NamedTuple):
    """What a step codes, in order: rows of tables as the networks say [n] and as they are coded with [n]; flat places
    [n] and symbols [n] of indices."""

    rows: Ints
    coded_with: Ints
    places: Ints
    symbols: Ints


class Pair(NamedTuple):
    """Tables of indices and of side information."""

    indices: Following
    side: Following


class Learned:
    """Tables that a frame leaves for the next: known once it is coded, which choosing the next does not wait for."""

    def __init__(self) -> None:
        self.tables: Pair | None = None  # None: the model's


class Learning:
    """From a model's own tables on."""

    def __init__(self, index_tables: Tables, side_tables: Tables) -> None:
        self._own = Pair(Following.fresh(index_tables), Following.fresh(side_tables))
        self._costs = calibration.costs_in(index_tables.rows, TABLE_SUM.bit_length() - 1)

    def tables(self, learned: Learned | None) -> Pair:
        """What the next frame is coded with."""
        return self._own if learned is None or learned.tables is None else learned.tables

    def teach(self, learned: Learned, before: Pair, indices: Sequence[CodedStep], side: Coded) -> None:
        """Tell what a frame leaves that was coded with the tables before."""
        coded = [(step.coded_with, step.symbols) for step in indices]
        learned.tables = Pair(before.indices.after(coded, _INDEX_STRENGTH), before.side.after(side, _SIDE_STRENGTH))

    def costs(self, before: Costs | None, coded: Sequence[CodedStep], shape: Sequence[int], first: int) -> Costs:
        """Costs of each shift after a frame of latents [C,h,w]; first: row of the codebook's first table."""
        before = calibration.fresh(shape[0]) if before is None else before
        new = np.zeros_like(before)
        for step in coded:
            area = shape[1] * shape[2]
            calibration.tallied(step.rows, step.places, step.symbols, area, first, self._costs, new)
        return calibration.learned(before, new)
