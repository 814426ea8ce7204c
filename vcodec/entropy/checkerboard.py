"""What is known of a latent frame when a place of it is coded, and the sums of that under integer 3×3 networks.

    past    the frame before: indices, errors of their prediction [2z]  ─► all four turns
    half 0  even places ─► odd places of half 0;   all of it ─► both turns of half 1
    half 1  even places ─► odd places of half 1

Frames of several streams go side by side.  Each network reads only what can be known: what is still to come would add
zeros.  Maps lie channels last, [B,h·w·C], so a place's sum is one look-up.  Two groups of channels run through all of
it: indices, which predict the index, and errors, which predict how far off that is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Frame", "Networks", "Turn", "halves_of", "places", "turns"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Turn(NamedTuple):
    """Places of a half that are coded together."""

    name: str  # half, then 0 for the even places or 1 for the odd ones
    half: int
    places: Ints  # in the half's [own,h,w], in order of coding
    channels: Ints  # channel of each in its half
    known: Ints  # where its index, and then where its error, stands in the half's map [h·w·2own]
    sums: tuple[tuple[str, Ints], ...]  # maps of sums that matter: where its prediction, then its width, stands in each


def halves_of(channels: int) -> tuple[slice, slice]:
    """Channels of the two halves."""
    middle = (channels + 1) // 2
    return slice(0, middle), slice(middle, channels)


@lru_cache(maxsize=16)
def places(channels: int, h: int, w: int, odd: int) -> Ints:
    """Places of a half [c,h,w], flat, that are coded in its first turn (odd 0) or its second."""
    total = np.arange(channels)[:, None, None] + np.arange(h)[:, None] + np.arange(w)
    return np.flatnonzero(total % 2 == odd)


@lru_cache(maxsize=8)
def turns(channels: int, h: int, w: int) -> tuple[Turn, ...]:
    """The turns of a frame, in order of coding."""
    out = []
    sizes = [part.stop - part.start for part in halves_of(channels)]
    for half, own in enumerate(sizes):
        for odd in range(2 if own else 0):
            at = places(own, h, w, odd)
            channel, place = np.divmod(at, h * w)
            # map of sums, its channels for predictions, the first of them that is this turn's
            maps = [("past", 2 * channels, 2 * half * sizes[0] + odd * own)]
            if half:
                maps.append(("across", 2 * own, odd * own))
            if odd:
                maps.append((f"within{half}", own, 0))
            sums = []
            for name, count, first in maps:
                where = place * (2 * count) + first + channel
                sums.append((name, np.concatenate([where, where + count])))
            known = place * (2 * own) + channel
            out.append(Turn(f"{half}{odd}", half, at, channel, np.concatenate([known, known + own]), tuple(sums)))
    return tuple(out)


class Networks:
    """3×3 weights of one kind of frame, by what they read."""

    def __init__(self, weights: dict[str, tuple[Tensor, Tensor]]) -> None:
        """weights: for each turn, of prediction and of width, integer-valued [own, past z + this frame z, 3, 3]."""
        channels = next(iter(weights.values()))[0].shape[1] // 2
        self.halves = halves_of(channels)
        first, second = (slice(channels + half.start, channels + half.stop) for half in self.halves)
        spans = {"past": ("", slice(0, channels)), "across": ("1", first), "within0": ("01", first)}
        spans["within1"] = ("11", second)
        self._convs: dict[str, Tensor] = {}
        for name, (reader, span) in spans.items():
            readers = [pair for turn, pair in weights.items() if turn.startswith(reader)]
            if readers:
                both = torch.cat([pair[i][:, span] for i in range(2) for pair in readers])
                self._convs[name] = both.contiguous(memory_format=torch.channels_last)

    def sums(self, name: str, known: Tensor) -> Floats | None:
        """A network's sums [B,h·w·outputs] over a map [B,C,h,w] of indices and errors; exact."""
        weight = self._convs.get(name)
        if weight is None or not weight.numel():
            return None
        out = F.conv2d(known, weight, padding=1, groups=2).round_().permute(0, 2, 3, 1)
        return out.reshape(len(out), -1).numpy()


class Frame:
    """One latent frame of each of several streams, while it becomes known turn by turn."""

    def __init__(self, networks: Networks, past: Tensor | None, batch: int, h: int, w: int) -> None:
        """past: indices and errors [B,2z,h,w] of the frame before."""
        self._networks, self._size = networks, (h, w)
        self._known = [np.zeros((batch, h * w * 2 * (s.stop - s.start)), np.float32) for s in networks.halves]
        self._sums = {"past": None if past is None else networks.sums("past", past)}

    def sums(self, turn: Turn) -> npt.NDArray[np.int32]:
        """For the places of a turn, prediction and width [B,2,places]."""
        total: Any = None
        for name, at in turn.sums:
            found = self._sums[name]
            if found is not None:
                part = found.take(at, axis=1)
                total = part if total is None else np.add(total, part, out=total)
        if total is None:
            total = np.zeros((len(self._known[0]), 2 * len(turn.places)), np.float32)
        return total.astype(np.int32).reshape(len(total), 2, -1)  # type: ignore[no-any-return]

    def put(self, turn: Turn, indices: npt.NDArray[Any], errors: npt.NDArray[Any]) -> None:
        """Indices of a turn [B,places], and errors of their prediction, are known now."""
        values = np.concatenate([indices, errors], 1).astype(np.float32)
        for known, found in zip(self._known[turn.half], values):
            known[turn.known] = found
        name = "across" if turn.name == "01" else f"within{turn.half}"
        if turn.name != "11":
            self._sums[name] = self._networks.sums(name, self._map(turn.half))

    def whole(self) -> Tensor:
        """Indices and errors [B,2z,h,w], when all turns are over."""
        maps = [self._map(half).chunk(2, 1) for half in range(2) if self._known[half].size]
        return torch.cat([pair[i] for i in range(2) for pair in maps], 1)

    def _map(self, half: int) -> Tensor:
        known = torch.from_numpy(self._known[half])
        return known.view(len(known), *self._size, -1).permute(0, 3, 1, 2)
