"""Training of `qae:layers`, and the counting of its tables.

    batch ─► first frames ─┬─► content, of K grey levels ─► restored ─► squared error, in cells
                           └─► as residuals of nothing ─► rate and distortion

Where layers are found, their pictures are such frames' contents: no search is needed in training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones.qae_layers import QAELayers
from vcodec.checkpoint import Parts, assemble
from vcodec.codec import Codec, Settings
from vcodec.datasets.base import AnyBatch, Dataset
from vcodec.entropy.context import ContextNet, FrozenContext
from vcodec.entropy.layers import PATH_ROWS, PATH_SYMBOLS, LayerEntropy
from vcodec.entropy.raster import RASTER_KS, context_count, contexts
from vcodec.entropy.rate import laplace_bits
from vcodec.entropy.tables import Tables, integer_rows
from vcodec.quantizers.conditional import ConditionalCodebook, bounds
from vcodec.scale import LAMBDA, level_of, levels_of, nominal_step
from vcodec.training.freezing import (
    CODEBOOKS,
    CountingWriter,
    assumed_entropy,
    blend,
    counted_entropy,
)
from vcodec.training.growing import Watched
from vcodec.training.measure import Measure, draw_ks

__all__ = ["LayerCoding", "cornered", "draw_pictures", "freeze_layers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _content(picture: Tensor) -> Tensor:
    """The part of a picture [H,W] that is not black (all of it, if all is)."""
    rows, columns = (picture.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else picture


def cornered(pictures: Tensor) -> Tensor:
    """Pictures [B,1,H,W], the content of each moved to its top left corner."""
    out = torch.zeros_like(pictures)
    for there, picture in zip(out[:, 0], pictures[:, 0]):
        part = _content(picture)
        there[: part.shape[0], : part.shape[1]] = part
    return out


class LayerCoding(nn.Module):
    """Backbone, codebook and context of `qae:layers` with their joint loss, on the first frame of each clip."""

    pixel_format = "gray"

    def __init__(
        self,
        backbone: QAELayers,
        codebook: ConditionalCodebook,
        context: ContextNet,
        ks: tuple[int, ...] = (),
        validation_ks: tuple[int, ...] = RASTER_KS,
    ) -> None:
        """ks: codebook sizes to train, empty: all; validation_ks: those to look at where ks is empty."""
        super().__init__()
        self.backbone, self.codebook, self.context = backbone, codebook, context
        self.ks, self.validation_ks = ks, ks or validation_ks

    def draw(self, rng: np.random.Generator, size: int) -> list[int]:
        """K of each clip, spread over the scale."""
        return draw_ks(rng, size, self.ks)

    def forward(self, batch: AnyBatch, ks: list[int], balance: float) -> Measure:
        """ks: a K for each clip; balance: keeps small K from being drowned."""
        pictures = batch.clip(self.pixel_format)[:, :, 0]
        cells = torch.tensor(ks, device=pictures.device) - 1.0
        content = cornered(pictures)
        restored = self.backbone.restored(torch.round(content * cells.view(-1, 1, 1, 1)), ks)
        blur = (restored - content).square().mean((1, 2, 3)) * cells.square()
        residual = self._residual(pictures, ks, balance)
        return Measure(100.0 * blur.mean() + residual.loss, residual.bpp, residual.mse_y, residual.mse_uv)

    def _residual(self, pictures: Tensor, ks: list[int], balance: float) -> Measure:
        device, pixels = pictures.device, pictures[0].numel()
        level = levels_of(ks, device)
        ends = torch.tensor([bounds(k) for k in ks], device=device, dtype=torch.float32)
        low, high = ends[:, 0].view(-1, 1, 1, 1), ends[:, 1].view(-1, 1, 1, 1)
        one_sided = torch.tensor([k == 2 for k in ks], device=device).view(-1, 1, 1, 1)
        step = torch.tensor([nominal_step(level_of(k)) for k in ks], device=device)
        kind = torch.zeros_like(level, dtype=torch.int64)
        hat, soft = self.codebook(self.backbone.analyse(pictures), level, kind, kind, low, high)
        table, act = self.context.keyframe(soft.detach().round(), level)
        coded = F.interpolate((act > 0).float(), scale_factor=2, mode="nearest")
        bits = (laplace_bits(soft, table, one_sided) * (coded + (1 - coded) * 0.05)).sum((1, 2, 3))
        error = (self.backbone.synthesise(hat) - pictures).square().sum((1, 2, 3)) * 255.0**2
        cost = (error / (LAMBDA * step.square()) + bits) * (step / 10.0) ** balance
        return Measure(cost.mean() / pixels, bits / pixels, error / pixels, torch.zeros_like(error))


def freeze_layers(
    name: str,
    parts: Parts,
    context: ContextNet,
    pictures: Tensor,
    dataset: Dataset,
    *,
    clips: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Codec:
    """A codec whose tables are counted: grey levels of ``pictures`` [N,1,H,W], whose contents are such as layers are;
    all else on so many whole clips of ``dataset``."""
    net = FrozenContext(context.freeze())
    path_prior = _assumed_paths()
    frames = assumed_entropy(net)
    grey = _grey_tables(pictures)
    entropy = LayerEntropy(frames, Tables(integer_rows(path_prior)), grey)
    codec = Codec(name, parts.backbone, parts.quantizer, entropy)
    writer = CountingWriter(watched=Watched())
    rng = np.random.default_rng((seed, 2))
    for done in range(clips):
        clip = dataset.batch(rng, 1, parts.backbone.step_frames, 64).clip("gray")
        codec.code(clip, None, Settings(int(rng.choice(CODEBOOKS))), writer)
        if progress:
            progress(done + 1, clips)
    _count_residuals(codec, draw_pictures(dataset, seed, 200), rng, writer)
    paths = blend(writer.counts[id(entropy.paths)], path_prior, 4.0)
    frames = counted_entropy(frames, writer)
    return assemble(name, parts, LayerEntropy(frames, Tables(integer_rows(paths)), grey))


class _Counts:
    """A port that counts what is written through it."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.counts = np.zeros(shape)

    def symbols(self, rows: Ints, symbols: Ints | None) -> Ints:
        """Count symbols under rows."""
        if symbols is None:
            raise ValueError("nothing to count")
        np.add.at(self.counts, (rows, symbols), 1)
        return symbols

    def raw(self, count: int, values: Ints | None) -> Ints:
        """Nothing to count."""
        raise ValueError("grey levels have no raw values")


def _grey_tables(pictures: Tensor) -> dict[int, Tables]:
    """Tables of grey levels, from the contents of pictures [N,1,H,W]."""
    out = {}
    contents = [np.round(_content(picture[0]).numpy() * 255.0).astype(np.int64) for picture in pictures]
    for k in RASTER_KS:
        port = _Counts((context_count(k), k))
        for content in contents:
            levels = (content * (k - 1) * 2 + 255) // 510
            rows, columns = (a.ravel() for a in np.mgrid[0 : levels.shape[0], 0 : levels.shape[1]])
            port.symbols(contexts(np.pad(levels, 3), k, rows, columns), levels.ravel())
        # where a context was rare, what all of them hold together fills in
        every = port.counts.sum(0) + 0.5
        out[k] = Tables(integer_rows(port.counts + every / every.sum() + 1e-4))
    return out


@torch.inference_mode()
def _count_residuals(codec: Codec, pictures: Tensor, rng: np.random.Generator, writer: CountingWriter) -> None:
    """Code pairs of pictures as clips of two residuals, at a K drawn for each."""
    still = torch.zeros(1, 0, 2, 2, dtype=torch.int64)
    side = {"paths": still, "pictures": still, "sizes": still[:, :, 0]}
    for pair in torch.split(pictures, 2):
        values = codec.backbone.analyse(pair).transpose(0, 1)[None]  # type: ignore[operator]
        plan = codec.entropy.choose(values, side, None, codec.quantizer, None, int(rng.choice(CODEBOOKS)), 0)
        codec.entropy.emit(writer, plan)


def _assumed_paths() -> Floats:
    """Any value is possible; small changes of velocity are likelier."""
    rows = np.full((PATH_ROWS, PATH_SYMBOLS), 0.02)
    rows[10:, 4:11] += 0.5 ** np.abs(np.arange(-3, 4))
    rows[10:, 19:26] += 0.2 * 0.5 ** np.abs(np.arange(-3, 4))
    rows[1:5, :2] += 1.0
    rows[0, :4] += 1.0
    return rows


def draw_pictures(dataset: Dataset, seed: int, count: int, side: int = 64) -> Tensor:
    """Single frames of a dataset [count,1,side,side]."""
    rng = np.random.default_rng((seed, 1))
    parts = [dataset.batch(rng, min(64, count - n), 1, side).clip("gray")[:, :, 0] for n in range(0, count, 64)]
    return torch.cat(parts)
