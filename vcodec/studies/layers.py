"""The codec of the study that is to pass x265 and SVT-AV1: `qae:layers`, trained on single digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vcodec.backbones.qae_layers import QAELayers
from vcodec.checkpoint import new_parts, save_codec
from vcodec.datasets.base import Batch
from vcodec.datasets.moving_digits import MovingDigits
from vcodec.entropy.context import ContextConfig, ContextNet
from vcodec.quantizers.conditional import ConditionalCodebook
from vcodec.studies.fitting import Fit, fit
from vcodec.training.layered import LayerCoding, draw_pictures, freeze_layers

__all__ = ["fit_layers"]

_BATCH, _SIDE, _BALANCE = 32, 32, 0.5


def fit_layers(
    folder: Path,
    train: MovingDigits,
    held: MovingDigits,
    steps: int,
    pictures: int,
    seed: int,
    show: Callable[[str], None],
) -> Path:
    """Train `qae:layers` (or go on with it) and give its codec file, which is made once.

    pictures: digits that grey levels are counted on.
    """
    path = folder / "models" / "layers.safetensors"
    if path.exists():
        return path
    torch.manual_seed(seed)
    parts = new_parts("qae:layers")
    if not isinstance(parts.backbone, QAELayers) or not isinstance(parts.quantizer, ConditionalCodebook):
        raise TypeError("qae:layers is not what it was")
    context = ContextNet(ContextConfig(channels=parts.backbone.latent_channels))
    model = LayerCoding(parts.backbone, parts.quantizer, context)
    alone, held_alone = MovingDigits(train.glyphs, 1), MovingDigits(held.glyphs, 1)

    def drawn(digits: MovingDigits, *number: int) -> tuple[Batch, list[int]]:
        rng = np.random.default_rng(number)
        return digits.batch(rng, _BATCH, 1, _SIDE), model.draw(rng, _BATCH)

    looks = [drawn(held_alone, 10**6, i) for i in range(8)]

    def loss(step: int) -> torch.Tensor:
        value: torch.Tensor = model(*drawn(alone, seed, step), _BALANCE).loss
        return value

    def held_back() -> float:
        return sum(float(model(batch, ks, _BALANCE).loss) for batch, ks in looks) / len(looks)

    fit(model, loss, held_back, folder / "runs" / "layers", Fit(steps, rate=1e-3, average=0.99), show)
    made = freeze_layers("qae:layers", parts, context, draw_pictures(alone, seed, pictures), train, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_codec(made, path, {"study": "qae", "model": "layers", "steps": steps, "pictures": pictures})
    return path
