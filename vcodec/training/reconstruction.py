"""Mean squared error of an open-loop codec with a scalar codebook (quantized-autoencoder, section II.C)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from vcodec.backbones.base import Backbone
from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec
from vcodec.datasets.base import Batch, Dataset
from vcodec.entropy.neighbours import BUCKETS, NeighbourEntropy, table_rows
from vcodec.entropy.tables import Tables, integer_rows
from vcodec.quantizers.scalar import ScalarCodebook
from vcodec.training.measure import Measure

__all__ = ["Reconstruction", "freeze_neighbours"]


class Reconstruction(nn.Module):
    """Backbone and codebook with the paper's loss.  A step draws one K and trains the whole batch with it."""

    def __init__(self, backbone: Backbone, codebook: ScalarCodebook) -> None:
        super().__init__()
        self.backbone, self.codebook = backbone, codebook

    def forward(self, batch: Batch, ks: list[int], balance: float) -> Measure:
        """batch: luma [B,T,1,h,w]; ks: the K each crop asks for, of which the first is taken."""
        clip = batch.luma.transpose(1, 2)
        own = np.array(self.codebook.config.ks)
        k = int(own[np.abs(np.log2(own) - np.log2(ks[0])).argmin()])
        latent, _ = self.backbone.encode(clip, None, k)
        hat, _ = self.codebook(latent.values, k)
        latent.values = hat
        out, _ = self.backbone.decode(latent, None, k)
        error = (out - clip).square().mean((1, 2, 3, 4))
        # rate is not in the loss; what is reported is the paper's, log2 K bits an element
        bits = latent.values[0].numel() * np.log2(k) / clip[0].numel()
        rate = torch.full_like(error, float(bits))
        return Measure(error.mean(), rate, error.detach() * 255.0**2, torch.zeros_like(error))


def freeze_neighbours(name: str, parts: Parts, dataset: Dataset, *, seed: int = 0) -> Codec:
    """A codec with tables counted on training footage, for each K that has a codebook."""
    backbone, codebook = parts.backbone.eval(), parts.quantizer
    if not isinstance(codebook, ScalarCodebook):
        raise TypeError("neighbour tables are for scalar codebooks")
    channels = backbone.latent_channels
    tables: dict[int, Tables] = {}
    with torch.inference_mode():
        drawn = (dataset.batch(np.random.default_rng((seed, i)), 4, backbone.step_frames, 64) for i in range(16))
        clips = [batch.clip(backbone.pixel_format) for batch in drawn]
        for k in codebook.config.ks:
            counts = np.zeros((channels * (BUCKETS + 1) ** 2, k))
            for clip in clips:
                latent = backbone.encode(clip, None, k)[0].values
                for index in codebook.quantize(latent, k).numpy():
                    past = None
                    for frame in index.transpose(1, 0, 2, 3):
                        rows = table_rows(past, frame.shape, k)
                        np.add.at(counts, (rows, frame.reshape(-1)), 1)
                        past = frame
            # where a context was rare, its channel's own distribution fills in
            own = counts.reshape(channels, -1, k).sum(1)
            own = (own + 0.5) / (own + 0.5).sum(1, keepdims=True)
            tables[k] = Tables(integer_rows(counts + 8.0 * own.repeat((BUCKETS + 1) ** 2, 0)))
    return assemble(name, parts, NeighbourEntropy(tables))
