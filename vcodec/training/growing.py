"""Growing the trees of side information (entropy/trees.py) from symbols and what was seen around them.

    (kind, seen, symbol) of coded footage ─► a question at a time, where it saves most bits ─► nodes, a table a leaf

A question is worth what the counts of both its sides take fewer bits than their sum, as a code that learns them on the
way would; so a leaf pays for what it has to learn, and growth ends by itself.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.lattice import GROWN_FIRST, SIDE_SYMBOLS
from vcodec.entropy.surroundings import COLUMNS, KINDS
from vcodec.entropy.tables import Tables, integer_rows
from vcodec.entropy.trees import FEATURE, LEAF, NEXT, THRESHOLD, Trees
from vcodec.loops import KEPT

__all__ = ["Watched", "grown"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_BINS = 48  # values of a column that are told apart
_LEAVES = 600  # of a tree, at most
_LEAST = 16.0  # bits that a question must save
_TOGETHER = 64  # nodes looked at in one walk over the symbols
_FEW = 4.0  # symbols that what all leaves of a kind have in common is worth in each of them


@dataclass
class Watched:
    """Symbols of each kind with what was seen around them, as they come in while footage is coded."""

    seen: dict[str, list[npt.NDArray[np.int16]]] = field(default_factory=dict)
    symbols: dict[str, list[npt.NDArray[np.uint8]]] = field(default_factory=dict)

    def add(self, kind: str, seen: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> None:
        """seen [n,COLUMNS], symbols [n]."""
        self.seen.setdefault(kind, []).append(seen.astype(np.int16))
        self.symbols.setdefault(kind, []).append(symbols.astype(np.uint8))

    def of(self, kind: str) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
        """All of a kind."""
        if kind not in self.seen:
            return np.zeros((0, COLUMNS), np.int16), np.zeros(0, np.uint8)
        return np.concatenate(self.seen[kind]), np.concatenate(self.symbols[kind])


def grown(watched: Watched, fixed: Floats, start: Floats, leaves: int = _LEAVES) -> tuple[Trees, Tables]:
    """Trees and the tables that they lead to.

    fixed [GROWN_FIRST,SIDE_SYMBOLS]: weights of the tables that no tree chooses; start [kinds,SIDE_SYMBOLS]: what is
    assumed of each kind before anything was seen.
    """
    nodes: list[list[int]] = [[LEAF, 0, 0] for _ in KINDS]
    tables = [fixed]
    first = GROWN_FIRST
    for number, kind in enumerate(KINDS):
        seen, symbols = watched.of(kind)
        tree, counts = _tree(seen, symbols, leaves)
        whole = counts.sum(0) + start[number] / start[number].sum()
        counts = counts + _FEW * whole / whole.sum()
        # the root stays where roots are, all else goes to the end; children lie side by side
        shift = len(nodes) - 1
        for i, (feature, threshold, following) in enumerate(tree):
            node = [feature, threshold + first if feature == LEAF else threshold, following + shift if following else 0]
            if i == 0:
                nodes[number] = node
            else:
                nodes.append(node)
        tables.append(counts)
        first += len(counts)
    rows = integer_rows(np.concatenate(tables))
    return Trees(np.array(nodes, np.int32), len(rows)), Tables(rows)


def _tree(seen: npt.NDArray[np.int16], symbols: npt.NDArray[np.uint8], leaves: int) -> tuple[list[list[int]], Floats]:
    """Nodes (a leaf's threshold numbers it), and the counts [leaves,SIDE_SYMBOLS] of what fell into each leaf."""
    edges, bins = _binned(seen)
    home = np.zeros(len(symbols), np.int32)  # the node that each symbol is in
    nodes = [[LEAF, 0, 0]]
    fresh, count = [0], 1
    best: list[tuple[Any, ...]] = []  # (bits saved, negative; node; column; last bin of the first side)
    while fresh:
        for first in range(0, len(fresh), _TOGETHER):
            asked = fresh[first : first + _TOGETHER]
            best += [(-gain, *question) for gain, *question in _questions(bins, symbols, home, len(nodes), asked)]
        heapq.heapify(best)
        fresh = []
        split = np.zeros((len(nodes), 3), np.int32)
        wanted = max(1, len(best) // 3)  # the best third at a time: one walk for many
        while best and len(fresh) < 2 * wanted and count < leaves:
            _, node, feature, at = heapq.heappop(best)
            nodes[node] = [feature, int(edges[feature][at]), len(nodes)]
            split[node] = feature, at, len(nodes)
            fresh += [len(nodes), len(nodes) + 1]
            nodes += [[LEAF, 0, 0], [LEAF, 0, 0]]
            count += 1
        if fresh:
            _part(bins, split, home)
    held = np.zeros((len(nodes), SIDE_SYMBOLS))
    np.add.at(held, (home, symbols), 1.0)
    leaves_at = [number for number, node in enumerate(nodes) if node[FEATURE] == LEAF]
    for number, at in enumerate(leaves_at):
        nodes[at][THRESHOLD] = number
    return nodes, held[leaves_at]


def _binned(seen: npt.NDArray[np.int16]) -> tuple[list[Ints], npt.NDArray[np.uint8]]:
    """Of each column the values that may be asked for, and which of the stretches between them each value is in."""
    bins, edges = np.zeros(seen.shape, np.uint8), []
    for c in range(seen.shape[1]):
        values = np.unique(seen[:, c])
        if len(values) > _BINS:
            spread = np.quantile(seen[:, c], np.linspace(0, 1, 4 * _BINS), method="nearest")
            values = np.unique(np.concatenate([values[:4], spread, values[-2:]]))
            values = values[np.unique(np.linspace(0, len(values) - 1, _BINS).astype(int))]
        edges.append(values[:-1].astype(np.int64))
        bins[:, c] = np.searchsorted(edges[-1], seen[:, c])
    return edges, bins


def _questions(
    bins: npt.NDArray[np.uint8],
    symbols: npt.NDArray[np.uint8],
    home: npt.NDArray[np.int32],
    count: int,
    asked: list[int],
) -> list[tuple[float, int, int, int]]:
    """(bits saved, node, column, last bin of the first side) of those nodes for which a question pays."""
    place = np.full(count, -1, np.int32)
    place[asked] = np.arange(len(asked))
    counts = np.zeros((len(asked), bins.shape[1], _BINS, SIDE_SYMBOLS), np.int32)
    _count(bins, symbols, home, place, counts)
    gains, found = np.zeros(len(asked)), np.zeros((len(asked), 2), np.int64)
    _weigh(counts, gains, found)
    return [(float(g), n, int(f[0]), int(f[1])) for g, n, f in zip(gains, asked, found) if g > _LEAST]


@njit(cache=KEPT, nogil=True)
def _count(
    bins: npt.NDArray[np.uint8],
    symbols: npt.NDArray[np.uint8],
    home: npt.NDArray[np.int32],
    place: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int32],
) -> None:
    for i in range(len(symbols)):
        at = place[home[i]]
        if at >= 0:
            for c in range(bins.shape[1]):
                counts[at, c, bins[i, c], symbols[i]] += 1


@njit(cache=KEPT, nogil=True)
def _bits(counts: Floats) -> float:
    """What symbols take that are coded by their own counts, and learning these."""
    total, bits, kinds = 0.0, 0.0, 0
    for s in range(len(counts)):
        total += counts[s]
    for s in range(len(counts)):
        if counts[s] > 0:
            bits -= counts[s] * np.log2(counts[s] / total)
            kinds += 1
    return float(bits + 0.5 * kinds * np.log2(total + 1.0) + 2.0)


@njit(cache=KEPT, nogil=True)
def _weigh(counts: npt.NDArray[np.int32], gains: Floats, found: Ints) -> None:
    """The question that saves most in each node."""
    nodes, columns, size, letters = counts.shape
    for n in range(nodes):
        whole = np.zeros(letters)
        for b in range(size):
            for s in range(letters):
                whole[s] += counts[n, 0, b, s]
        before = _bits(whole)
        for c in range(columns):
            low, high = np.zeros(letters), whole.copy()
            for b in range(size - 1):
                some = False
                for s in range(letters):
                    if counts[n, c, b, s]:
                        some = True
                        low[s] += counts[n, c, b, s]
                        high[s] -= counts[n, c, b, s]
                if some:
                    gain = before - _bits(low) - _bits(high)
                    if gain > gains[n]:
                        gains[n], found[n, 0], found[n, 1] = gain, c, b


@njit(cache=KEPT, nogil=True)
def _part(bins: npt.NDArray[np.uint8], split: npt.NDArray[np.int32], home: npt.NDArray[np.int32]) -> None:
    """Symbols move into the sides of the questions of their nodes (following node 0: none)."""
    for i in range(len(home)):
        question = split[home[i]]
        if question[NEXT]:
            home[i] = question[NEXT] + (0 if bins[i, question[FEATURE]] <= question[THRESHOLD] else 1)
