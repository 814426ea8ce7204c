"""What the trees of side information look at (trees.py), compiled for this CPU: integers around a value.

Maps are coded from coarse to fine (lattice.py); each value has four neighbours of its map that are known.  Columns are
numbered below, for maps and for choices apart; what a kind of symbol has no use for stays 0.

A vector is guessed to be that of one neighbour: the one that is least far from the other three and from the last
frame's vector there.  Where motion differs, a mean would be nobody's.  All vectors are in grains (grain.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT
from vcodec.sources import BLURRED, MEMORY, SOFT

__all__ = [
    "COLUMNS",
    "KINDS",
    "Frame",
    "Past",
    "guessed",
    "look_at_activity",
    "look_at_choices",
    "look_at_map",
    "look_at_plane",
    "look_at_vectors",
    "past_of",
]

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
KINDS = ("dy", "dx", "activity", "source", "choice", "thumb0", "thumb1", "thumb2")
COLUMNS = 28

# of every map
_PASS, _LEVEL, _RANK, _AGE, _GRAIN, _SMOOTH = 0, 1, 2, 3, 26, 27
_PAST_ACTIVITY, _PAST_MOST, _PAST_SUM, _PAST_SOURCE = 4, 5, 6, 7  # of the last frame: there, and in 3×3 blocks
_ACTIVITY, _ACTIVITY_MIDDLE, _EMPTY, _SOURCES = 8, 9, 10, 11  # of the four neighbours
# of vectors and thumbnails: neighbours beside the guess, the last frame's vector beside it, the other component's
_SPREAD, _DRIFT, _BESIDE = 12, 13, 14  # _BESIDE: four, in order
_LIKE_GUESS, _LIKE_PAST, _OTHER_SPREAD, _OTHER_DRIFT, _PAST_SPREAD, _SIZE, _QUARTER, _OTHER_DELTA = range(18, 26)
# of activity: how far this block's vector was from what was guessed, from its neighbours' and from the last one
_DELTAS, _APART, _FROM_MEMORY, _MOVED, _QUARTERS = (12, 13), 14, 15, 16, 17
# of choices
_TURN, _OWN_ACTIVITY, _MASK, _FARTHEST, _FAR, _AROUND, _FELLOWS = 0, 3, 4, 5, 6, 9, 10

_MEMORY_FAR = 40  # what a neighbour that comes from the memory is set back by
_FAR_ENOUGH = 64  # beyond, all vectors are equally far apart
_MOST = 20  # larger deltas look alike


class Frame(NamedTuple):
    """Integers that hold for a whole frame.

    level: 2·log2 K, rounded down; rank: of the cascade; age: up to 3; grain: of its vectors.
    """

    level: int
    rank: int
    age: int
    grain: int

    @staticmethod
    def of(k: int, number: int, grain: int = 0) -> Frame:
        """The ``number``-th frame of a GOP, coded with a codebook of K levels."""
        rank = 1 if number % 8 == 0 else 2 if number % 4 == 0 else 3 if number % 2 == 0 else 4
        return Frame((k * k).bit_length() - 1, rank if number > 0 else 0, min(max(number, 0), 3), grain)


class Past(NamedTuple):
    """Of the frame before, flat: vectors [2,n] and how far they differ around [2,n]; activity there, the most and the
    sum of it around [3,n]; source [n]."""

    motion: Ints
    spread: Ints
    activity: Ints
    source: Ints


def past_of(motion: Ints, activity: Ints) -> Past:
    """motion [3,h,w]: dy, dx, source; activity [h,w]."""
    _, h, w = motion.shape
    spread, act = np.empty((2, h * w), np.int64), np.empty((3, h * w), np.int64)
    _around(motion, activity, spread, act)
    return Past(motion[:2].reshape(2, -1), spread, act, motion[2].reshape(-1))


@njit(cache=KEPT, nogil=True)
def _around(motion: Ints, activity: Ints, spread: Ints, act: Ints) -> None:
    h, w = activity.shape
    for y in range(h):
        for x in range(w):
            most = total = 0
            low0 = high0 = motion[0, y, x]
            low1 = high1 = motion[1, y, x]
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    i, j = min(max(y + dy, 0), h - 1), min(max(x + dx, 0), w - 1)
                    most, total = max(most, activity[i, j]), total + activity[i, j]
                    low0, high0 = min(low0, motion[0, i, j]), max(high0, motion[0, i, j])
                    low1, high1 = min(low1, motion[1, i, j]), max(high1, motion[1, i, j])
            at = y * w + x
            spread[0, at], spread[1, at] = high0 - low0, high1 - low1
            act[0, at], act[1, at], act[2, at] = activity[y, x], most, total


@njit(cache=KEPT, nogil=True)
def look_at_map(
    number: int,
    targets: Ints,
    around: Ints,
    frame: tuple[int, int, int, int],
    activity: Ints,
    source: Ints,
    past_activity: Ints,
    past_source: Ints,
    out: Small,
) -> None:
    """Columns that all kinds of maps have, of targets [n] with neighbours [4,n] in pass ``number`` (0: none yet)."""
    for i in range(len(targets)):
        at = targets[i]
        out[i, _PASS], out[i, _LEVEL], out[i, _RANK], out[i, _AGE] = number, frame[0], frame[1], frame[2]
        out[i, _GRAIN] = frame[3]
        for c in range(3):
            out[i, _PAST_ACTIVITY + c] = past_activity[c, at]
        out[i, _PAST_SOURCE] = past_source[at]
        if number == 0:
            for c in range(4):
                out[i, _ACTIVITY + c] = -1
            continue
        total = low = empty = sources = smooth = 0
        high = 0
        low = 1 << 20
        for c in range(4):
            a = activity[around[c, i]]
            total, low, high = total + a, min(low, a), max(high, a)
            empty += a == 0
            sources += source[around[c, i]] == MEMORY
            smooth += (source[around[c, i]] == SOFT) + 5 * (source[around[c, i]] == BLURRED)
        out[i, _ACTIVITY], out[i, _ACTIVITY_MIDDLE] = total, total - low - high
        out[i, _EMPTY], out[i, _SOURCES], out[i, _SMOOTH] = empty, sources, smooth


@njit(cache=KEPT, nogil=True)
def guessed(known: bool, targets: Ints, around: Ints, maps: Ints, source: Ints, past: Ints, out: Ints) -> None:
    """Vectors out [2,n] that are guessed for targets: of one of the neighbours in maps [2,h·w], or the last frame's."""
    for i in range(len(targets)):
        at = targets[i]
        best, least = -1, 1 << 40
        for c in range(4 if known else 0):
            y, x = maps[0, around[c, i]], maps[1, around[c, i]]
            cost = (source[around[c, i]] == MEMORY) * _MEMORY_FAR
            for other in range(5):
                v = maps[0, around[other, i]] if other < 4 else past[0, at]
                u = maps[1, around[other, i]] if other < 4 else past[1, at]
                cost += min(abs(y - v), _FAR_ENOUGH) + min(abs(x - u), _FAR_ENOUGH)
            if cost < least:
                best, least = c, cost
        for c in range(2):
            out[c, i] = maps[c, around[best, i]] if best >= 0 else past[c, at]


@njit(cache=KEPT, nogil=True, forceinline=True)
def _sorted(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a, b, c, d = min(a, b), max(a, b), min(c, d), max(c, d)
    a, c, b, d = min(a, c), max(a, c), min(b, d), max(b, d)
    return a, min(b, c), max(b, c), d


@njit(cache=KEPT, nogil=True)
def look_at_vectors(
    c: int,
    known: bool,
    targets: Ints,
    around: Ints,
    maps: Ints,
    guess: Ints,
    past: Ints,
    past_spread: Ints,
    delta: Ints,
    turn: Ints,
    out: Small,
) -> None:
    """Columns of component c of vectors; turn [n]: the sign that makes "towards the last frame's vector" positive.

    delta [n]: how far the first component was from its guess, for the second.
    """
    plane, beside = maps[c], maps[1 - c]
    for i in range(len(targets)):
        at, mine, other = targets[i], guess[c, i], guess[1 - c, i]
        before = past[c, at]
        spread = other_spread = like = like_past = 0
        drift = before - mine
        n0 = n1 = n2 = n3 = mine
        if known:
            up, down, left, right = around[0, i], around[1, i], around[2, i], around[3, i]
            n0, n1, n2, n3 = _sorted(plane[up], plane[down], plane[left], plane[right])
            o0, _, _, o3 = _sorted(beside[up], beside[down], beside[left], beside[right])
            spread, other_spread = n3 - n0, o3 - o0
            for a in range(4):
                like += plane[around[a, i]] == mine
                like_past += plane[around[a, i]] == before
        way = -1 if drift < 0 or (drift == 0 and n0 + n1 + n2 + n3 < 4 * mine) else 1
        turn[i] = way
        out[i, _SPREAD], out[i, _DRIFT] = spread, abs(drift)
        if way > 0:
            out[i, _BESIDE], out[i, _BESIDE + 1] = n0 - mine, n1 - mine
            out[i, _BESIDE + 2], out[i, _BESIDE + 3] = n2 - mine, n3 - mine
        else:
            out[i, _BESIDE], out[i, _BESIDE + 1] = mine - n3, mine - n2
            out[i, _BESIDE + 2], out[i, _BESIDE + 3] = mine - n1, mine - n0
        out[i, _LIKE_GUESS], out[i, _LIKE_PAST] = like, like_past
        out[i, _OTHER_SPREAD], out[i, _OTHER_DRIFT] = other_spread, abs(past[1 - c, at] - other)
        out[i, _PAST_SPREAD], out[i, _SIZE], out[i, _QUARTER] = past_spread[c, at], abs(mine), mine & 3
        out[i, _OTHER_DELTA] = min(abs(delta[i]), _MOST) if c else 0


@njit(cache=KEPT, nogil=True)
def look_at_activity(
    known: bool,
    targets: Ints,
    around: Ints,
    maps: Ints,
    source: Ints,
    past: Ints,
    deltas: Ints,
    out: Small,
) -> None:
    """Columns of activity: what has been said of the block's vector, maps [2,h·w]; deltas [2,n] beside the guess."""
    for i in range(len(targets)):
        at = targets[i]
        apart = moved = quarters = 0
        for c in range(2):
            v = maps[c, at]
            out[i, _DELTAS[0] + c] = min(abs(deltas[c, i]), _MOST)
            if known:
                low = high = maps[c, around[0, i]]
                for a in range(1, 4):
                    low, high = min(low, maps[c, around[a, i]]), max(high, maps[c, around[a, i]])
                apart += high - low
            moved += abs(v - past[c, at])
            quarters += (v & 3) != 0
        out[i, _APART], out[i, _FROM_MEMORY] = apart, source[at]
        out[i, _MOVED], out[i, _QUARTERS] = min(moved, 3 * _MOST), quarters


@njit(cache=KEPT, nogil=True)
def look_at_plane(
    known: bool, targets: Ints, around: Ints, plane: Ints, before: Ints, delta: Ints, guess: Ints, out: Small
) -> None:
    """Columns of a thumbnail's plane [h·w], and what is guessed [n]: the mean of its neighbours' middle two.

    before: the plane coded before it (or itself); delta [n]: how far that was from its guess.
    """
    for i in range(len(targets)):
        if known:
            n0, n1, n2, n3 = _sorted(plane[around[0, i]], plane[around[1, i]], plane[around[2, i]], plane[around[3, i]])
            o0, _, _, o3 = _sorted(
                before[around[0, i]], before[around[1, i]], before[around[2, i]], before[around[3, i]]
            )
            guess[i] = (n1 + n2) >> 1
            out[i, _SPREAD], out[i, _DRIFT], out[i, _OTHER_SPREAD] = n3 - n0, (n1 + n2) & 1, o3 - o0
            out[i, _BESIDE], out[i, _BESIDE + 1] = n0 - guess[i], n1 - guess[i]
            out[i, _BESIDE + 2], out[i, _BESIDE + 3] = n2 - guess[i], n3 - guess[i]
        out[i, _OTHER_DELTA] = min(max(delta[i], -_MOST), _MOST)


@njit(cache=KEPT, nogil=True)
def look_at_choices(
    coarse: Ints, activity: Ints, frame: tuple[int, int, int, int], odd: int, choice: Ints, places: Ints, out: Small
) -> int:
    """Of the even (odd) half of the 8×8 blocks choice [2h,2w], those whose candidates in coarse [3,h,w] differ.

    Writes where they are, places [n], and their columns out [n,COLUMNS]; gives n.  choice: what is known of it.
    """
    _, h, w = coarse.shape
    n = 0
    for y in range(2 * h):
        for x in range((y + odd) & 1, 2 * w, 2):
            by, bx = y >> 1, x >> 1
            down, right = 2 * (y & 1) - 1, 2 * (x & 1) - 1
            ny, nx = min(max(by + down, 0), h - 1), min(max(bx + right, 0), w - 1)
            mask = farthest = 0
            for i in range(1, 4):
                cy, cx = ny if i >= 2 else by, nx if i & 1 else bx
                apart = 0
                for c in range(3):  # another source is far away
                    apart = max(apart, abs(coarse[c, cy, cx] - coarse[c, by, bx]) * (16 if c == 2 else 1))
                out[n, _FAR + i - 1] = min(apart, 3 * _MOST)
                mask |= (apart > 0) << (i - 1)
                farthest = max(farthest, apart)
            if not mask:
                continue
            out[n, _TURN], out[n, _LEVEL], out[n, _RANK], out[n, _GRAIN] = odd, frame[0], frame[1], frame[3]
            out[n, _OWN_ACTIVITY], out[n, _MASK], out[n, _FARTHEST] = activity[by, bx], mask, min(farthest, 3 * _MOST)
            others = 0
            for i in range(4):  # on this quadrant's side, below or above it on that side, and the two in its own block
                fy = y + (down if i == 1 else -down if i == 3 else 0)
                fx = x + (right if i == 0 else -right if i == 2 else 0)
                there = choice[fy, fx] if odd and 0 <= fy < 2 * h and 0 <= fx < 2 * w else 0
                out[n, _FELLOWS + i] = there
                others += there > 0
            out[n, _AROUND] = others
            places[n] = y * 2 * w + x
            n += 1
    return n
