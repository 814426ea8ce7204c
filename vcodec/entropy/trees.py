"""Which table a symbol of side information is coded with: decision trees, grown from data, over integers.

    what lies around a value, in space and in time (surroundings.py) ─► is one of them at most so much? ─► … ─► a table

A tree asks one question a node; its leaves are tables counted on what fell into them (after JPEG XL's meta-adaptive
trees).  Nothing but comparisons of integers: the same table on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.entropy.surroundings import COLUMNS, KINDS
from vcodec.errors import WeightsError
from vcodec.loops import KEPT

__all__ = ["FEATURE", "LEAF", "NEXT", "Trees", "stumps"]

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
FEATURE, THRESHOLD, NEXT = 0, 1, 2  # columns of a node; a leaf's threshold is the row of its table
LEAF = -1  # in place of a feature
_WALKS = 8  # down a tree at a time


class Trees:
    """A tree for each kind of symbol.  nodes [N,3]: feature, threshold, and where what is at most that goes on.

    What is more goes on at the node after that.  The first len(KINDS) nodes are the roots.
    """

    def __init__(self, nodes: npt.NDArray[Any], rows: int) -> None:
        """rows: tables that there are; raises WeightsError where nodes are no trees over them."""
        nodes = np.ascontiguousarray(nodes, np.int32)
        if nodes.ndim != 2 or nodes.shape[1] != 3 or len(nodes) < len(KINDS):
            raise WeightsError("the trees of an entropy model are damaged: too few nodes")
        leaf = nodes[:, FEATURE] == LEAF
        inner = nodes[~leaf]
        sound = (
            ((inner[:, FEATURE] >= 0) & (inner[:, FEATURE] < COLUMNS)).all()
            # children come later: no walk is endless
            and ((inner[:, NEXT] > np.flatnonzero(~leaf)) & (inner[:, NEXT] < len(nodes) - 1)).all()
            and ((nodes[leaf, THRESHOLD] >= 0) & (nodes[leaf, THRESHOLD] < rows)).all()
        )
        if not sound:
            raise WeightsError("the trees of an entropy model are damaged: a node leads nowhere")
        self.nodes = nodes
        # a walk that has come to a leaf stays there
        self._ways = np.where(leaf[:, None], np.int32(np.iinfo(np.int32).max), nodes)
        self._ways[leaf, FEATURE], self._ways[leaf, NEXT] = 0, np.flatnonzero(leaf)

    def rows(self, kind: str, seen: Small) -> Ints:
        """Rows of tables for what is seen [n,COLUMNS] around symbols of a kind."""
        out = np.empty(len(seen), np.int64)
        _descend(self._ways, self.nodes[:, THRESHOLD], KINDS.index(kind), seen, out)
        return out


def stumps(first: int) -> npt.NDArray[np.int32]:
    """Nodes of trees that ask nothing: a table for each kind, from row ``first`` on."""
    out = np.full((len(KINDS), 3), LEAF, np.int32)
    out[:, THRESHOLD] = first + np.arange(len(KINDS))
    return out


@njit(cache=KEPT, nogil=True)
def _descend(ways: Small, rows: Small, root: int, seen: Small, out: Ints) -> None:
    """Rows out [n] of the leaves that ways [N,3] end at: several walks at a time, none of which waits for another."""
    flat, sight, width = ways.reshape(-1), seen.reshape(-1), seen.shape[1]
    at = np.empty(_WALKS, np.uint64)
    for first in range(0, len(seen), _WALKS):
        count = min(_WALKS, len(seen) - first)
        at[:] = np.uint64(root)
        moving = True
        while moving:
            moving = False
            for i in range(count):
                node = at[i] * np.uint64(3)
                value = sight[np.uint64((first + i) * width + flat[node])]
                more = np.uint64(value > flat[node + np.uint64(THRESHOLD)])
                further = np.uint64(flat[node + np.uint64(NEXT)]) + more
                moving |= further != at[i]
                at[i] = further
        for i in range(count):
            out[first + i] = rows[at[i]]
