"""What the study of `quantized-autoencoder` trains: the paper's network with its codebook, and the rate when asked."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from vcodec.backbones.qae_paper import QAEPaper
from vcodec.checkpoint import Parts, new_parts
from vcodec.entropy.neighbours import NeighbourRate
from vcodec.quantizers.scalar import ScalarCodebook

__all__ = ["Autoencoder", "new_autoencoder"]


class Autoencoder(nn.Module):
    """Backbone and codebook; forward(clip, k) -> (mean squared error of samples in 0..1, bits a pixel)."""

    def __init__(self, parts: Parts, rate: NeighbourRate | None = None) -> None:
        super().__init__()
        self.parts = parts
        self.backbone = cast(QAEPaper, parts.backbone)
        self.codebook = cast(ScalarCodebook, parts.quantizer)
        self.rate = rate

    def forward(self, clip: Tensor, k: int) -> tuple[Tensor, Tensor]:
        latent, _ = self.backbone.encode(clip, None, k)
        values = latent.values
        hat, index = self.codebook(values, k)
        latent.values = hat
        out, _ = self.backbone.decode(latent, None, k)
        error = (out - clip).square().mean()
        if self.rate is None:
            return error, error.new_tensor(0.0)
        return error, self.rate(values, index, self.codebook.codebook(k)).sum() / clip.numel()


def new_autoencoder(name: str, width: int, ks: tuple[int, ...]) -> Autoencoder:
    """A fresh `qae:paper` for one K, or a `qae:paper-conditional` for several."""
    backbone: dict[str, Any] = {"width": width} | ({"ks": ks} if len(ks) > 1 else {})
    return Autoencoder(new_parts(name, {"backbone": backbone, "quantizer": {"ks": ks}}))
