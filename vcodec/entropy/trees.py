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

    def rows(self, kind: str, seen: Small) -> Ints:
        """Rows of tables for what is seen [n,COLUMNS] around symbols of a kind."""
        out = np.empty(len(seen), np.int64)
        _descend(self.nodes, KINDS.index(kind), seen, out)
        return out


def stumps(first: int) -> npt.NDArray[np.int32]:
    """Nodes of trees that ask nothing: a table for each kind, from row ``first`` on."""
    out = np.full((len(KINDS), 3), LEAF, np.int32)
    out[:, THRESHOLD] = first + np.arange(len(KINDS))
    return out


@njit(cache=KEPT, nogil=True)
def _descend(nodes: Small, root: int, seen: Small, out: Ints) -> None:
    """Rows out [n]."""
    for i in range(len(seen)):
        at = root
        while nodes[at, FEATURE] != LEAF:
            further = 0 if seen[i, nodes[at, FEATURE]] <= nodes[at, THRESHOLD] else 1
            at = nodes[at, NEXT] + further
        out[i] = nodes[at, THRESHOLD]
