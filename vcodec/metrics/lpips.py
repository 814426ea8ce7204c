"""LPIPS, the learned perceptual distance of Zhang et al. (2018), version 0.1, with weights that the user brings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.errors import WeightsError

__all__ = ["LPIPS_HELP", "Lpips"]

LPIPS_HELP = (
    "LPIPS weights are not part of vcodec and never downloaded; make the file once with: pip install lpips && "
    "python -c \"import lpips, torch; torch.save(lpips.LPIPS(net='alex').state_dict(), 'lpips-alex.pt')\""
)

# Convolutions as (index among the layers of the published network, stride, padding); "pool" halves; a level ends
# each of the lists, behind its last ReLU.
_ALEX: tuple[tuple[Any, ...], ...] = (
    ((0, 4, 2),),
    ("pool", (3, 1, 2)),
    ("pool", (6, 1, 1)),
    ((8, 1, 1),),
    ((10, 1, 1),),
)
_VGG: tuple[tuple[Any, ...], ...] = (
    ((0, 1, 1), (2, 1, 1)),
    ("pool", (5, 1, 1), (7, 1, 1)),
    ("pool", (10, 1, 1), (12, 1, 1), (14, 1, 1)),
    ("pool", (17, 1, 1), (19, 1, 1), (21, 1, 1)),
    ("pool", (24, 1, 1), (26, 1, 1), (28, 1, 1)),
)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """The distance of frame pairs: RGB ─► backbone ─► 5 levels, unit length per place ─► (a-b)² · head ─► sum of means.

    The file is a state dict, .pt or .safetensors: of `lpips.LPIPS`, or a torchvision backbone ("features.N.weight")
    with the heads ("lin0.model.1.weight" ...) beside it. Alex or VGG is told from its shapes.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises WeightsError, naming how to get the file."""
        state = _load(Path(path))
        self._convs: dict[int, tuple[Tensor, Tensor]] = {}
        heads: dict[int, Tensor] = {}
        for name, tensor in state.items():
            if match := re.search(r"(?:slice\d+|features)\.(\d+)\.weight$", name):
                bias = state.get(name.removesuffix("weight") + "bias")
                if bias is not None:
                    self._convs[int(match[1])] = (tensor.float(), bias.float())
            elif match := re.search(r"lins?\.?(\d)\.model\.1\.weight$", name):
                heads[int(match[1])] = tensor.float()
        first = self._convs.get(0)
        self._levels = _ALEX if first is not None and first[0].shape[-1] == 11 else _VGG
        wanted = [step[0] for level in self._levels for step in level if step != "pool"]
        lacking = [f"layer {i}" for i in wanted if i not in self._convs] + [
            f"lin{i}" for i in range(5) if i not in heads
        ]
        if lacking:
            raise WeightsError(f"{path}: no weights of LPIPS (it lacks {', '.join(lacking[:3])}). {LPIPS_HELP}")
        self._heads = [heads[i] for i in range(5)]
        self._shift, self._scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))

    @torch.inference_mode()
    def __call__(self, reference: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint8]) -> float:
        """Distance of two RGB pictures, uint8 [3,H,W]; 0 is none. Sides are 32 pixels at least, else repeated out."""
        pair = torch.from_numpy(np.stack((reference, coded))).float() / 127.5 - 1
        if (side := min(pair.shape[-2:])) < 32:
            pair = F.interpolate(pair, scale_factor=-(-32 // side), mode="nearest")
        maps, total = (pair - self._shift) / self._scale, 0.0
        for level, head in zip(self._levels, self._heads):
            for step in level:
                maps = self._step(maps, step)
            unit = maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)
            total += float(F.conv2d((unit[:1] - unit[1:]).square(), head).mean())
        return total

    def _step(self, maps: Tensor, step: Any) -> Tensor:
        if step == "pool":
            return F.max_pool2d(maps, 3 if self._levels is _ALEX else 2, 2)
        index, stride, padding = step
        weight, bias = self._convs[index]
        return F.relu(F.conv2d(maps, weight, bias, stride, padding))


def _load(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. {LPIPS_HELP}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the file makes it raise
        raise WeightsError(f"{path}: cannot be read as weights ({type(error).__name__}). {LPIPS_HELP}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: no state dict of tensors. {LPIPS_HELP}")
    return loaded
