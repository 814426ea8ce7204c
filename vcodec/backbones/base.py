"""What a backbone is: a network between clip and latent that knows no quantizer and no file (DESIGN §4).

    clip [B,C,T,H,W] ──encode(clip, state, k)──► Latent(values, side) ──decode(latent, state, k)──► clip, state

State goes in and out as an argument; ``None`` is the state of a keyframe.  A closed-loop backbone predicts from what
the decoder has, so its ``encode`` reads the state that its own ``decode`` returned and leaves it as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vcodec.scale import USUAL, Quality
from vcodec.spots import Spots

__all__ = ["Backbone", "BytePlanes", "Grid", "Latent", "LatentShape", "Listed", "PlaneBackbone"]

BytePlanes = tuple[npt.NDArray[np.uint8], ...]
"""Y [H,W], U and V [H/2,W/2]."""


class Grid(NamedTuple):
    """Extent of a clip: frames, then luma samples."""

    frames: int
    height: int
    width: int


class LatentShape(NamedTuple):
    """Extent of a latent without its batch: channels, steps, rows, columns."""

    channels: int
    steps: int
    height: int
    width: int


@dataclass
class Latent:
    """What a backbone hands over for one step.

    values: float [B,L,t,h,w], to be quantized.
    side: integer maps [B,c,h',w'] that travel exactly (motion, thumbnails), by name.
    weight: what a squared error weighs in distortion (None: 1), of a channel [1,L,1,1] times of a place [1,1,h,w].
    scratch: what encode computed and decode would compute again (never needed, never coded).
    """

    values: Tensor
    side: dict[str, Tensor] = field(default_factory=dict)
    weight: tuple[Tensor, Tensor] | None = None
    scratch: Any = None


class Listed(Latent):
    """Of one step, as it is read: a list of what is not 0, and values only where they are asked for."""

    def __init__(self, spots: Spots, side: dict[str, Tensor], device: torch.device, scratch: Any = None) -> None:
        self.spots, self.side, self.weight, self.scratch, self._device = spots, side, None, scratch, device

    @cached_property
    def values(self) -> Tensor:  # type: ignore[override]
        """As a map."""
        return self.spots.dense(self._device)[:, :, None]


class Backbone(nn.Module, ABC):
    """A network clip ↔ latent."""

    #: planes it sees: "yuv420p" (clip packs 2×2 luma, U, V: C = 6 at half size), "gray" (C = 1) or "rgb" (C = 3; files
    #: and frames are yuv420p all the same)
    pixel_format: str
    #: frames in one latent step
    step_frames: int
    #: frames the codec puts in one chunk record, beside lead_frames in the first of a GOP
    chunk_frames: int
    #: frames of a step of their own at the start of a GOP
    lead_frames: int = 0
    #: luma samples behind one latent position, (rows, columns)
    stride: tuple[int, int]
    latent_channels: int
    causal: bool
    #: whether encode needs the state that decode returns (prediction from decoded frames)
    closed_loop: bool
    #: raised whenever the same weights come to decode to something else
    revision: int = 0
    #: whether the frames of a GOP differ in quality by their place (see scale.CASCADE)
    cascade: bool = False

    @abstractmethod
    def codable_grid(self, grid: Grid) -> Grid:
        """The smallest grid the network accepts that holds ``grid``."""

    @abstractmethod
    def latent_shape(self, grid: Grid) -> LatentShape:
        """Shape of the latent of a codable grid: the only home of this arithmetic."""

    def step_sizes(self, frames: int, first: bool) -> list[int]:
        """Frames of each step of a chunk; first: it starts a GOP."""
        lead = min(self.lead_frames, frames) if first else 0
        steps = [min(self.step_frames, frames - start) for start in range(lead, frames, self.step_frames)]
        return [lead, *steps] if lead else steps

    def step_shape(self, frames: int, height: int, width: int) -> LatentShape:
        """Shape of the latent of one step of so many frames."""
        return self.latent_shape(self.codable_grid(Grid(frames, height, width)))

    def memory(self, frames: int, height: int, width: int) -> int:
        """Bytes that one step of so many frames takes at most, beside the weights; 0: too little to be of account."""
        return 0

    def memory_bound(self, frames: int, height: int, width: int) -> int:
        """No less than `memory`, and known at once."""
        return self.memory(frames, height, width)

    def openings(self, height: int, width: int) -> list[Any]:
        """States of what the model remembers, from which a GOP may start in place of a keyframe."""
        return []

    @abstractmethod
    def encode(self, clip: Tensor, state: Any, k: int) -> tuple[Latent, Any]:
        """Latent of one step; deterministic."""

    def look_ahead(self, clip: Tensor, seen: Any, k: int) -> tuple[Sequence[Any], Any]:
        """Advice for encoding each step of a clip, from its source frames; none where encoding needs none.

        seen: what this gave, second, for the clip before it in the GOP; None at its start.
        """
        return (), None

    def encode_advised(self, clip: Tensor, state: Any, k: int, advice: Any) -> tuple[Latent, Any]:
        """As encode, with what look_ahead said of the step (None: nothing)."""
        return self.encode(clip, state, k)

    def quality(self, advice: Any) -> Quality:
        """How good a frame of the cascade is to be, by what look_ahead said of it (None: nothing)."""
        return USUAL

    def looks(self, state: Any, effort: int) -> int:
        """How often a step is worth another look, once it is known what its latent decodes to (closed loop).

        effort: 0..9, of encoding; 0 is what is usual.
        """
        return 0

    def corrected(self, clip: Tensor, latent: Latent, hat: Tensor, shown: Any) -> Tensor:
        """Values of a latent nearer to what decodes to the clip, where its levels hat decoded to ``shown``: a clip, or
        the planes of a PlaneBackbone."""
        return latent.values

    @abstractmethod
    def decode(self, latent: Latent, state: Any, k: int) -> tuple[Tensor, Any]:
        """Clip of one step, and the state that the next step starts from."""

    @abstractmethod
    def macs(self, grid: Grid) -> dict[str, float]:
        """Multiply-accumulates of the networks for a codable grid: {"encode", "decode"}; each side's own work only."""


class PlaneBackbone(Backbone):
    """A network of one frame a step that has a shorter way to its 8-bit planes, for those who want nothing else."""

    @abstractmethod
    def decode_planes(self, latent: Latent, state: Any, k: int) -> tuple[BytePlanes, Any]:
        """As decode: the frame's planes on the codable grid."""
