"""Training of `qae:layers`: rate and distortion of pictures, once as layers and once as residuals; then its tables.

    batch ─► first frames ─┬─► content moved to the top left corner ─► as a layer
                           └─► as they are ──────────────────────────► as a residual of nothing

Where layers are found, their pictures are such frames' contents: no search is needed in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.qae_layers import LAYER, RESIDUAL, QAELayers
from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec, Settings
from vcodec.datasets.base import Batch, Dataset
from vcodec.entropy.context import ContextNet, FrozenContext
from vcodec.entropy.frames import FrameEntropy
from vcodec.entropy.layers import PATH_ROWS, PATH_SYMBOLS, SEEN, LayerEntropy
from vcodec.entropy.rate import laplace_bits
from vcodec.entropy.tables import Tables, integer_rows
from vcodec.quantizers.conditional import ConditionalCodebook, bounds
from vcodec.scale import LAMBDA, level_of, levels_of, nominal_step
from vcodec.training.freezing import (
    CODEBOOKS,
    CountingWriter,
    assumed_index_tables,
    assumed_side_tables,
    blend,
    symmetric,
)
from vcodec.training.measure import Measure

__all__ = ["LayerCoding", "cornered", "freeze_layers"]

Floats = npt.NDArray[np.float64]


def cornered(pictures: Tensor) -> Tensor:
    """Pictures [B,1,H,W], the content of each moved to its top left corner."""
    out = torch.zeros_like(pictures)
    for there, picture in zip(out[:, 0], pictures[:, 0]):
        rows, columns = (picture.any(axis).nonzero()[:, 0] for axis in (1, 0))
        if len(rows):
            part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            there[: part.shape[0], : part.shape[1]] = part
    return out


class LayerCoding(nn.Module):
    """Backbone, codebook and context of `qae:layers` with their joint loss, on the first frame of each clip."""

    def __init__(self, backbone: QAELayers, codebook: ConditionalCodebook, context: ContextNet) -> None:
        super().__init__()
        self.backbone, self.codebook, self.context = backbone, codebook, context

    def forward(self, batch: Batch, ks: list[int], balance: float) -> Measure:
        """batch: luma [B,T,1,h,w]; ks: a K for each clip; balance: keeps small K from being drowned."""
        pictures = batch.luma[:, 0]
        layer = self._coded(cornered(pictures), ks, balance, LAYER)
        residual = self._coded(pictures, ks, balance, RESIDUAL)
        return Measure(layer.loss + 0.1 * residual.loss, layer.bpp, layer.mse_y, layer.mse_uv)

    def _coded(self, pictures: Tensor, ks: list[int], balance: float, of: int) -> Measure:
        device, pixels = pictures.device, pictures[0].numel()
        level = levels_of(ks, device)
        ends = torch.tensor([bounds(k) for k in ks], device=device, dtype=torch.float32)
        low, high = ends[:, 0].view(-1, 1, 1, 1), ends[:, 1].view(-1, 1, 1, 1)
        one_sided = torch.tensor([k == 2 for k in ks], device=device).view(-1, 1, 1, 1)
        step = torch.tensor([nominal_step(level_of(k)) for k in ks], device=device)
        price = LAMBDA * step.square() / (SEEN if of == LAYER else 1.0)
        kind = torch.full((len(ks),), 0 if of == LAYER else 1, device=device)
        values = self.backbone.analyse(pictures, level, of)
        hat, soft = self.codebook(values, level, kind, torch.zeros_like(kind), low, high)
        table, act = self.context(soft.detach().round(), torch.zeros_like(soft), level, kind)
        coded = F.interpolate((act > 0).float(), scale_factor=2, mode="nearest")
        bits = (laplace_bits(soft, table, one_sided) * (coded + (1 - coded) * 0.05)).sum((1, 2, 3))
        out = self.backbone.synthesise(hat, level, of)
        error = (out - pictures).square().sum((1, 2, 3)) * 255.0**2
        cost = (error / price + bits) * (step / 10.0) ** balance
        return Measure(cost.mean() / pixels, bits / pixels, error / pixels, torch.zeros_like(error))


def freeze_layers(
    name: str,
    parts: Parts,
    context: ContextNet,
    pictures: Tensor,
    clips: Sequence[Tensor],
    *,
    seed: int = 0,
    rounds: int = 2,
) -> Codec:
    """A codec whose tables are counted: of ``pictures`` [N,1,H,W] in 0..1 as layers, and on whole ``clips`` [1,1,T,H,W]."""
    net = FrozenContext(context.freeze())
    index_prior, side_prior, path_prior = assumed_index_tables(), assumed_side_tables(), _assumed_paths()
    index, side, paths = index_prior, side_prior, path_prior
    for _ in range(rounds):
        frames = FrameEntropy(net, Tables(integer_rows(index)), Tables(integer_rows(side)))
        entropy = LayerEntropy(frames, Tables(integer_rows(paths)))
        codec = Codec(name, parts.backbone, parts.quantizer, entropy)
        counts: dict[int, Floats] = {}
        rng = np.random.default_rng(seed)
        _count_pictures(codec, pictures, rng, counts)
        for clip in clips:
            _, _, _ = codec.code(clip, None, Settings(int(rng.choice(CODEBOOKS))), _writer(counts))
        index = blend(symmetric(counts[id(frames.index_tables)]), index_prior, 20.0)
        side = blend(counts[id(frames.side_tables)], side_prior, 4.0)
        paths = blend(counts[id(entropy.paths)], path_prior, 4.0)
    frames = FrameEntropy(net, Tables(integer_rows(index)), Tables(integer_rows(side)))
    return assemble(name, parts, LayerEntropy(frames, Tables(integer_rows(paths))))


def _writer(counts: dict[int, Floats]) -> CountingWriter:
    writer = CountingWriter()
    writer.counts = counts
    return writer


@torch.inference_mode()
def _count_pictures(codec: Codec, pictures: Tensor, rng: np.random.Generator, counts: dict[int, Floats]) -> None:
    """Code each picture as a clip of one layer and one frame, at a K drawn for it."""
    still = torch.zeros(1, 1, 1, 2, dtype=torch.int64)
    for picture in cornered(pictures):
        k = int(rng.choice(CODEBOOKS))
        level = levels_of([k])
        layer = codec.backbone.analyse(picture[None], level, LAYER)[:, :, None]
        values = torch.cat([layer, torch.zeros_like(layer)], 2)
        plan = codec.entropy.choose(values, {"paths": still}, None, codec.quantizer, None, k, 0)
        codec.entropy.emit(_writer(counts), plan)


def _assumed_paths() -> Floats:
    """Any value is possible; small changes of velocity are likelier."""
    rows = np.full((PATH_ROWS, PATH_SYMBOLS), 0.02)
    rows[8:, 4:11] += 0.5 ** np.abs(np.arange(-3, 4))
    rows[8:, 19:26] += 0.2 * 0.5 ** np.abs(np.arange(-3, 4))
    rows[1:5, :2] += 1.0
    rows[0, :4] += 1.0
    return rows


def draw_pictures(dataset: Dataset, seed: int, count: int, side: int) -> Tensor:
    """Single frames of a dataset [count,1,side,side]."""
    rng = np.random.default_rng((seed, 1))
    parts = [dataset.batch(rng, min(64, count - n), 1, side).clip("gray")[:, :, 0] for n in range(0, count, 64)]
    return torch.cat(parts)
