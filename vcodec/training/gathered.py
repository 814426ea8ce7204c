"""Motion compensation in a few dense operations, for training on a GPU.

The same prediction as ``backbones.compensation``: every quarter of a block is predicted three times, by its own
vector, by that of the block above or below it and by that of the block beside it, and the three are added under fixed
weights.  All quarters have the same shape, so one gather and two filters do it, whatever the vectors are; gradients
reach the reference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.compensation import CHROMA_TAPS, LUMA_TAPS, MARGIN, SHARES
from vcodec.backbones.softening import TAPS
from vcodec.sources import BLURRED, SOFT

__all__ = ["Gathered"]


def _shares(upper: Tensor) -> Tensor:
    """Weights [3,1,2,1,2,q,q] of the three predictions in each quarter of a block; upper [q,2q]: of the block above."""
    quarter = len(upper)
    above = torch.cat([upper, upper.flip(0)])
    beside = torch.cat([upper.t(), upper.flip(0).t()], 1)
    whole = torch.stack([1.0 - above - beside, above, beside])
    return whole.view(3, 2, quarter, 2, quarter).transpose(2, 3)[:, None, :, None].contiguous()


def _smoothed(planes: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Planes [B,C,H,W] in 0..1 as softening.softened has them; gradients pass its rounding by."""
    b, c, h, w = planes.shape
    weights = torch.tensor(taps, dtype=planes.dtype, device=planes.device)
    reach = len(taps) // 2
    x = F.pad(planes * 255.0, (reach,) * 4, mode="replicate").view(b * c, 1, h + 2 * reach, w + 2 * reach)
    x = x + (x.round() - x).detach()
    x = F.conv2d(F.conv2d(x, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1)) / float(weights.sum()) ** 2
    return ((x + ((x + 0.5).floor() - x).detach()) / 255.0).view(b, c, h, w)


class Gathered(nn.Module):
    """forward(luma [B,1,H,W], chroma [B,2,H/2,W/2], vectors [B,2 or 3,H/8,W/8] in quarter samples) -> the prediction.

    memory: planes for blocks whose vector has MEMORY as a third component; SOFT and BLURRED are made here.
    """

    def __init__(self) -> None:
        super().__init__()
        kinds = {
            "luma": (LUMA_TAPS.float() / 64, SHARES[8] / 64),
            "chroma": (CHROMA_TAPS.float() / 64, SHARES[4] / 64),
        }
        for name, (taps, weights) in kinds.items():
            self.register_buffer(f"{name}_taps", taps, persistent=False)
            self.register_buffer(f"{name}_shares", _shares(weights), persistent=False)

    def forward(
        self, luma: Tensor, chroma: Tensor, vectors: Tensor, memory: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        b, _, h, w = luma.shape
        v = self._limited(vectors.int(), h, w)
        if memory is not None:
            v = torch.cat([v, vectors[:, 2:].int()], 1)
            luma, chroma = (
                torch.cat([last, kept, *(_smoothed(last, TAPS[s]) for s in (SOFT, BLURRED))])
                for last, kept in zip((luma, chroma), memory, strict=True)
            )
        out = self._moved(luma[:, 0], v, "luma", 3)
        colour = self._moved(chroma.reshape(-1, h // 2, w // 2), v.repeat_interleave(2, 0), "chroma", 1)
        return out[:, None], colour.view(b, 2, h // 2, w // 2)

    @staticmethod
    def _limited(v: Tensor, h: int, w: int) -> Tensor:
        """Vectors that reach no further beyond the frame than decoding allows."""
        parts = []
        for i, size in enumerate((h, w)):
            corner = 32 * torch.arange(size // 8, device=v.device, dtype=v.dtype)
            corner = corner.view(-1, 1) if i == 0 else corner
            low, high = -4 * MARGIN - corner, 4 * (size + MARGIN - 8) - corner
            parts.append(torch.minimum(torch.maximum(v[:, i], low), high))
        return torch.stack(parts, 1)

    @staticmethod
    def _three(v: Tensor) -> Tensor:
        """Vectors [B,C,h,w] -> those of each quarter's three predictions [B,3,C,2h,2w]."""
        b, c, h, w = v.shape
        # replicated by indexing: a block at the border has itself as its neighbour
        up, down = torch.cat([v[:, :, :1], v[:, :, :-1]], 2), torch.cat([v[:, :, 1:], v[:, :, -1:]], 2)
        left, right = torch.cat([v[..., :1], v[..., :-1]], 3), torch.cat([v[..., 1:], v[..., -1:]], 3)
        shape = (b, c, h, 2, w, 2)
        own = v[:, :, :, None, :, None].expand(shape)
        above = torch.stack([up, down], 3)[..., None].expand(shape)
        beside = torch.stack([left, right], 4)[:, :, :, None].expand(shape)
        return torch.stack([own, above, beside], 1).reshape(b, 3, c, 2 * h, 2 * w)

    def _moved(self, planes: Tensor, v: Tensor, kind: str, before: int) -> Tensor:
        """Planes [B or 2B,H,W] by vectors [B,2 or 3,h,w] of their blocks; the third says which part of the planes."""
        taps, shares = self.get_buffer(f"{kind}_taps"), self.get_buffer(f"{kind}_shares")
        phases, length = taps.shape
        b, _, h, w = v.shape
        quarter = shares.shape[-1]
        pad = MARGIN * quarter // 4 + length
        wide = F.pad(planes[:, None], (pad,) * 4, mode="replicate")
        height, pitch = wide.shape[2:]
        three = self._three(v)
        source = three[:, :, 2] if v.shape[1] > 2 else torch.zeros_like(three[:, :, 0])
        three = three[:, :, :2]
        phase = three & (phases - 1)
        whole = (three - phase) // phases
        device = v.device
        top = (torch.arange(2 * h, device=device) * quarter + pad - before).view(-1, 1) + whole[:, :, 0]
        left = torch.arange(2 * w, device=device) * quarter + pad - before + whole[:, :, 1]
        frame = torch.arange(b, device=device).view(b, 1, 1, 1) + b * source
        first = frame * (height * pitch) + top * pitch + left
        side = torch.arange(quarter + length - 1, device=device)
        places = first[..., None, None] + side.view(-1, 1) * pitch + side
        x = wide.reshape(-1).gather(0, places.reshape(-1)).view(places.shape)
        x = self._filtered(x, taps[phase[:, :, 1]], 5, quarter)
        x = self._filtered(x, taps[phase[:, :, 0]], 4, quarter)
        x = (x.view(b, 3, h, 2, w, 2, quarter, quarter) * shares).sum(1)
        return x.permute(0, 1, 2, 5, 3, 4, 6).reshape(b, h * 2 * quarter, w * 2 * quarter)

    @staticmethod
    def _filtered(x: Tensor, weights: Tensor, dim: int, size: int) -> Tensor:
        """One filter over patches [...,rows,cols], weights [...,taps]: ``size`` samples along a dimension."""
        out = x.narrow(dim, 0, size) * weights[..., 0, None, None]
        for i in range(1, weights.shape[-1]):
            out = out + x.narrow(dim, i, size) * weights[..., i, None, None]
        return out
