"""Mean squared error of an open-loop codec with a scalar codebook (quantized-autoencoder, section II.C)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vcodec.backbones.base import Backbone
from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec
from vcodec.datasets.base import AnyBatch, Dataset
from vcodec.entropy.neighbours import BUCKETS, NeighbourEntropy, table_rows
from vcodec.entropy.tables import Tables, integer_rows
from vcodec.quantizers.scalar import ScalarCodebook
from vcodec.training.measure import Measure
from vcodec.training.quantization import quantize_scalar

__all__ = ["Reconstruction", "fit_codebook", "freeze_neighbours"]


class Reconstruction(nn.Module):
    """Backbone and codebook with the paper's loss.  A step draws one K and trains the whole batch with it."""

    def __init__(
        self,
        backbone: Backbone,
        codebook: ScalarCodebook,
        quantization: str = "straight-through",
        ks: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.backbone, self.codebook, self.quantization = backbone, codebook, quantization
        self.pixel_format = backbone.pixel_format
        self.ks = self.validation_ks = ks or codebook.config.ks

    def draw(self, rng: np.random.Generator, size: int) -> list[int]:
        return [self.ks[int(rng.random() * len(self.ks))]] * size

    def forward(self, batch: AnyBatch, ks: list[int], balance: float) -> Measure:
        """ks: the same K for each crop."""
        clip = batch.clip(self.pixel_format)
        k = ks[0]
        latent, _ = self.backbone.encode(clip, None, k)
        how = self.quantization if self.training else "straight-through"
        latent.values = quantize_scalar(self.codebook, latent.values, k, how)
        out, _ = self.backbone.decode(latent, None, k)
        error = (out - clip).square().flatten(1).mean(1)
        # rate is not in the loss; what is reported is the paper's, log2 K bits an element
        bits = latent.values[0].numel() * np.log2(k) / batch.samples
        rate = torch.full_like(error, float(bits))
        hat = None if self.training else out
        return Measure(error.mean(), rate, error.detach() * 255.0**2, torch.zeros_like(error), hat)


def fit_codebook(codebook: ScalarCodebook, latents: list[Tensor], rounds: int = 30) -> None:
    """Put the levels of each K where these latents are (Lloyd's algorithm): for networks trained without quantizing."""
    values = torch.cat([x.flatten() for x in latents])
    places = (torch.arange(1 << 18) * 2654435761) % len(values)  # spread over all of it, always the same
    values = (values[places] if len(values) > len(places) else values).sort().values
    with torch.no_grad():
        for k in codebook.config.ks:
            levels = torch.quantile(values[:: -(-len(values) // (1 << 16))], (torch.arange(k) + 0.5) / k)
            # equal chances crowd the middle: half of each, so that the tails have levels too
            even = torch.linspace(float(values[0]), float(values[-1]), k + 1)
            levels = (levels + (even[1:] + even[:-1]) / 2) / 2
            for _ in range(rounds):
                index = torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)
                count = torch.bincount(index, minlength=k)
                total = torch.zeros(k).index_add_(0, index, values)
                levels = torch.where(count > 0, total / count.clamp(min=1), levels).sort().values
            codebook.levels[str(k)].copy_(levels)


def freeze_neighbours(
    name: str,
    parts: Parts,
    dataset: Dataset,
    *,
    crop: int = 64,
    frames: int = 0,
    fit: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Codec:
    """A codec with tables counted on training material, for each K that has a codebook.

    frames: of the clips looked at, 0: the codec's step; fit: put the codebooks' levels where the latents are first.
    """
    backbone, codebook = parts.backbone.eval(), parts.quantizer
    if not isinstance(codebook, ScalarCodebook):
        raise TypeError("neighbour tables are for scalar codebooks")
    channels = backbone.latent_channels
    tables: dict[int, Tables] = {}
    with torch.inference_mode():
        drawn = (
            dataset.batch(np.random.default_rng((seed, i)), 4, frames or backbone.step_frames, crop) for i in range(16)
        )
        clips = [batch.clip(backbone.pixel_format) for batch in drawn]
        if fit:
            fit_codebook(codebook, [backbone.encode(clip, None, 2)[0].values for clip in clips])
        for done, k in enumerate(codebook.config.ks, 1):
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
            if progress:
                progress(done, len(codebook.config.ks))
    return assemble(name, parts, NeighbourEntropy(tables))
