"""What context networks see of indices, activity and motion, and what their outputs stand for."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.entropy.integer import SUM_ONE
from vcodec.scale import LevelTable, levels_of

__all__ = [
    "ACTIVITY_LEVELS",
    "COUNT_MAX",
    "ROUGH",
    "TABLES",
    "TABLE_STEP",
    "activity",
    "counts",
    "first_step",
    "integer_offsets",
    "roughness",
    "tabulated",
    "thaw_offsets",
    "thermometer",
    "widths",
]

TABLES = 48
ACTIVITY_LEVELS = 10
COUNT_MAX = 7  # larger magnitudes look alike to the networks
ROUGH = (1, 4, 16)  # quarter samples
TABLE_STEP = 4  # table numbers in an output of 1
NARROWEST, WIDEST = 0.06, 40.0  # Laplace scale of table 0 and of the last one, in steps


def widths(index: Tensor) -> Tensor:
    """Laplace scale, in steps, of a (fractional) table number."""
    return NARROWEST * torch.exp(index * (math.log(WIDEST / NARROWEST) / (TABLES - 1)))


def activity(index: Tensor) -> Tensor:
    """Hyper-latent of indices [B,C,h,w] (h, w even): [B,1,h/2,w/2] in 0..9, bit length of the sum of magnitudes."""
    b, _, h, w = index.shape
    total = index.abs().sum(1).view(b, h // 2, 2, w // 2, 2).sum((2, 4))
    edges = torch.tensor([2.0**i for i in range(ACTIVITY_LEVELS - 1)], device=index.device)
    return torch.bucketize(total.float(), edges, right=True)[:, None]


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def first_step(channels: int, h: int, w: int, device: torch.device | None = None) -> Tensor:
    """Which indices belong to step A: bool [1,C,h,w]."""
    total = (
        torch.arange(channels, device=device).view(1, channels, 1, 1)
        + torch.arange(h, device=device).view(1, 1, h, 1)
        + torch.arange(w, device=device).view(1, 1, 1, w)
    )
    return total % 2 == 0


def counts(index: Tensor) -> Tensor:
    """Magnitudes as a network sees them."""
    return index.abs().clamp(max=COUNT_MAX)


def thermometer(act: Tensor) -> Tensor:
    """Activity [B,1,h/2,w/2] -> [B,9,h,w], one channel for each level reached."""
    marks = torch.arange(1, ACTIVITY_LEVELS, device=act.device).view(1, -1, 1, 1)
    return F.interpolate((act >= marks).float(), scale_factor=2, mode="nearest")


def roughness(vectors: Tensor) -> Tensor:
    """Vectors of 8×8 blocks [B,2,h,w] (integers) -> [B,3,h,w]: 1 where a neighbour's differs by 1, 4, 16 or more."""
    p = F.pad(vectors.float(), (1, 1, 1, 1), mode="replicate")
    inner = p[:, :, 1:-1, 1:-1]
    around = (p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1], p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:])
    most = torch.stack([(n - inner).abs().amax(1) for n in around]).amax(0)
    return torch.stack([(most >= limit).float() for limit in ROUGH], 1)


def tabulated(outputs: Tensor) -> Tensor:
    """A network's outputs -> fractional table numbers (training)."""
    table = outputs.float() * TABLE_STEP
    # the clamp must let gradients bring a strayed output back
    held = table.clamp(0, TABLES - 1)
    return table + (held - table).detach()


def integer_offsets(table: LevelTable) -> Tensor:
    """A learned offset as integers over SUM_ONE, for each frame kind and K: [kinds,257,width] (rows 0, 1 unused)."""
    kinds, _, width = table.table.shape
    out = torch.zeros(kinds, 257, width)
    for k in range(2, 257):
        values = table(levels_of([k] * kinds), torch.arange(kinds)).detach().float().cpu()
        out[:, k] = torch.round(values * SUM_ONE)
    return out


def thaw_offsets(table: LevelTable, integers: Tensor) -> None:
    """Take over what integer_offsets gave."""
    values = integers.float() / SUM_ONE
    with torch.no_grad():
        table.table.copy_(torch.stack([values[:, 2 ** (i + 1)] for i in range(table.table.shape[1])], 1))
