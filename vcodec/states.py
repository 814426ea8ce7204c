"""What a codec is told, what it gives, and what it remembers from one chunk to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vcodec.errors import InputError
from vcodec.scale import Quality, level_of

__all__ = ["Ahead", "Payload", "Settings", "State"]


@dataclass(frozen=True)
class Settings:
    """What a whole file is coded with; both sides need it."""

    k: int
    """codebook size, 2..256"""
    fine: int = 0
    """finer rate steps: the quantization step is scaled by 2^(−fine/32), −128..127"""
    color_space: int = 2
    """H.273 matrix of the planes; only codecs that see RGB ask for it"""
    color_range: int = 0
    """1 limited, 2 full range of the planes; likewise"""

    def __post_init__(self) -> None:
        level_of(self.k)
        if not -128 <= self.fine <= 127:
            raise InputError(f"fine = {self.fine} is out of range: choose -128 to 127")


class Payload(NamedTuple):
    """Coded bytes.

    symbols: 0, their number is implied; bits: −Σ log2 p on the frozen tables; coded: symbols coded.
    """

    data: bytes
    symbols: int
    bits: float
    coded: int = 0


class State(NamedTuple):
    """Causal memory from one step to the next.

    steps: how many of the GOP lie behind; seen: what an encoder that looks ahead remembers of the source; quality: of
    the last frame of a cascade.
    """

    backbone: Any
    entropy: Any
    steps: int
    seen: Any = None
    quality: Quality | None = None


class Ahead(NamedTuple):
    """advice: for each step of a clip, or none; seen: as State's, after it."""

    advice: Sequence[Any]
    seen: Any
