"""The rate-distortion loss of a closed-loop codec, unrolled over frames from a keyframe.

For each crop a K is drawn; λ follows K.  Every frame is predicted from the model's own decoded frame before it, so that
training sees what decoding sees, and gradients reach back through the prediction.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.compensation import compensate
from vcodec.backbones.layers import pack_yuv420, unpack_yuv420
from vcodec.backbones.qae import CHROMA_WEIGHT, INTER, KEY, QAE
from vcodec.datasets.base import Batch
from vcodec.entropy.context import ContextNet
from vcodec.entropy.observed import roughness
from vcodec.entropy.rate import laplace_bits
from vcodec.quantizers.conditional import ConditionalCodebook, bounds
from vcodec.scale import LAMBDA, cascaded, level_of, levels_of, nominal_step
from vcodec.training.measure import Measure, draw_ks
from vcodec.training.quantization import Place, quantize_conditional

__all__ = ["RateDistortion"]

LEAK = 1e-4


class RateDistortion(nn.Module):
    """Backbone, codebook and context of `qae` with their joint loss."""

    pixel_format = "yuv420p"

    def __init__(
        self,
        backbone: QAE,
        codebook: ConditionalCodebook,
        context: ContextNet,
        key_weight: float = 1.0,
        quantization: str = "straight-through",
        ks: tuple[int, ...] = (),
        validation_ks: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256),
    ) -> None:
        """key_weight: of the keyframe's cost (an unroll is far shorter than a GOP); quantization: its module says."""
        super().__init__()
        self.key_weight, self.quantization = key_weight, quantization
        self.ks, self.validation_ks = ks, ks or validation_ks
        self.backbone, self.codebook, self.context = backbone, codebook, context

    def draw(self, rng: np.random.Generator, size: int) -> list[int]:
        return draw_ks(rng, size, self.ks)

    def forward(self, batch: Batch, ks: list[int], balance: float, detach: bool = False) -> Measure:
        """ks: a K for each crop; balance: keeps small K from being drowned; detach: no gradient through time."""
        luma, chroma, vectors = batch.luma, batch.chroma, batch.vectors
        b, frames = luma.shape[:2]
        device = luma.device
        pixels = luma.shape[3] * luma.shape[4]
        weight = torch.tensor([nominal_step(level_of(k)) / 10.0 for k in ks], device=device) ** balance

        bits = torch.zeros(b, device=device)
        sse_y = torch.zeros(b, device=device)
        sse_uv = torch.zeros(b, device=device)
        total_cost = torch.zeros(b, device=device)
        how = self.quantization if self.training else "straight-through"
        shown: list[Tensor] = []
        past = torch.zeros(b, 96, luma.shape[3] // 8, luma.shape[4] // 8, device=device)
        last_y, last_c = luma[:, 0], chroma[:, 0]
        for t in range(frames):
            y, c = luma[:, t], chroma[:, t]
            place, price, one_sided = self._placed(ks, t, device)
            moved = vectors[:, t] if t else torch.zeros_like(vectors[:, t])
            if t == 0:
                raw = self.backbone.from_thumbnail(self.backbone.thumbnail(y, c))
            else:
                if detach:
                    last_y, last_c = last_y.detach(), last_c.detach()
                raw = compensate([(last_y, last_c)], moved)
            p = self.backbone.predicted(*raw, place.level, t == 0)
            values = self.backbone.analyse(pack_yuv420(y, c), p)
            hat, soft, index = quantize_conditional(self.codebook, values, place, how)
            if t == 0:
                table, act = self.context.keyframe(index, place.level)
            else:
                table, act = self.context(index, past, roughness(moved), place.level, place.kind)
            cost = laplace_bits(soft, table, one_sided)
            coded = F.interpolate((act > 0).float(), scale_factor=2, mode="nearest")
            # what an empty block would cost is kept with a small weight, so that its tables stay sensible
            bits_now = (cost * (coded + (1 - coded) * 0.05)).sum((1, 2, 3))
            out_y, out_c = unpack_yuv420(self.backbone.synthesise(hat, p))
            now_y = (out_y - y).square().sum((1, 2, 3)) * 255.0**2
            now_uv = (out_c - c).square().sum((1, 2, 3)) * 255.0**2
            share = self.key_weight if t == 0 else 1.0
            total_cost = total_cost + share * ((now_y + CHROMA_WEIGHT * now_uv) / price + bits_now)
            bits, sse_y, sse_uv = bits + bits_now, sse_y + now_y, sse_uv + now_uv
            last_y, last_c = self._eight_bit(out_y), self._eight_bit(out_c)
            past = index
            if not self.training:
                shown.append(pack_yuv420(last_y, last_c))

        total = frames * pixels
        loss = (total_cost * weight).mean() / (total - (1 - self.key_weight) * pixels)
        return Measure(loss, bits / total, sse_y / total, sse_uv * 2 / total, torch.stack(shown, 2) if shown else None)

    @staticmethod
    def _placed(ks: list[int], t: int, device: torch.device) -> tuple[Place, Tensor, Tensor]:
        """What the t-th frame of a GOP is quantized with; λ·step², and where K = 2, each [B] or [B,1,1,1]."""
        at = [cascaded(k, 0, t)[0] for k in ks]
        ends = torch.tensor([bounds(k) for k in at], device=device, dtype=torch.float32).view(-1, 2, 1, 1, 1)
        kind = torch.full((len(at),), INTER if t else KEY, device=device)
        place = Place(levels_of(at, device), kind, torch.full_like(kind, t), ends[:, 0], ends[:, 1])
        step = torch.tensor([nominal_step(level_of(k)) for k in at], device=device)
        return place, LAMBDA * step.square(), torch.tensor([k == 2 for k in at], device=device).view(-1, 1, 1, 1)

    @staticmethod
    def _eight_bit(x: Tensor) -> Tensor:
        """Clamp and round to 8-bit levels; the gradient passes (a little of it where the clamp acts)."""
        held = x.clamp(0, 1)
        held = held + LEAK * (x - held)
        return held + ((held.clamp(0, 1) * 255.0).round() / 255.0 - held).detach()
