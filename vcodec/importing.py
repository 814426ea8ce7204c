"""Checkpoints of the released IV-VAE (iv-vae) as vcodec weights: each key and each shape checked, nothing guessed."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vcodec.backbones.ivvae import IVVAE, PRESETS, IVVAEConfig
from vcodec.checkpoint import Parts, new_parts
from vcodec.errors import UsageError, WeightsError

__all__ = ["Imported", "import_checkpoint"]

_SHOWN = 4  # how many keys that do not fit are named


@dataclasses.dataclass(frozen=True)
class Imported:
    """A checkpoint read: the codec's name and its parts, quantizer and tables still to be made."""

    name: str
    parts: Parts


def import_checkpoint(path: str | Path, scale: float | None = None, shift: float | None = None) -> Imported:
    """Read a checkpoint (.pth, .pt or .safetensors) of the released structure, of any base width and z.

    scale, shift: of the latent; known for the released widths, else both are needed. Raises WeightsError, UsageError.
    """
    tensors = _read(Path(path))
    name, config = _recognize(Path(path), tensors, scale, shift)
    with torch.device("meta"):
        wanted = {n: tuple(t.shape) for n, t in IVVAE(config).state_dict().items()}
    _compare(Path(path), wanted, tensors)
    parts = new_parts(name, {"backbone": dataclasses.asdict(config)})
    parts.backbone.load_state_dict({n: t.float() for n, t in tensors.items()})
    return Imported(name, parts)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint")
    try:
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors, which could run code; it is not loaded. Save its state_dict() alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a checkpoint that torch can read ({error})") from error
    for wrapper in ("state_dict", "model", "module"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise WeightsError(f"{path}: not a state_dict of tensors")
    names = [str(n) for n in loaded]
    prefix = "module." if all(n.startswith("module.") for n in names) else ""
    return {str(n).removeprefix(prefix): t for n, t in loaded.items()}


def _recognize(
    path: Path, tensors: dict[str, Tensor], scale: float | None, shift: float | None
) -> tuple[str, IVVAEConfig]:
    """Name and configuration, from two of the shapes."""
    latent, first = tensors.get("conv2.conv_2d.weight"), tensors.get("encoder.conv1.conv_2d.weight")
    if latent is None or first is None or latent.ndim != 4 or first.ndim != 4:
        raise WeightsError(
            f"{path}: not an IV-VAE; it has no 'conv2.conv_2d.weight' and 'encoder.conv1.conv_2d.weight' of four axes"
        )
    z, base = latent.shape[1], first.shape[0]
    known = [n for n, c in PRESETS.items() if (c.latent_channels, c.base) == (z, base) and not n.endswith("-small")]
    if (scale is None) != (shift is None):
        raise UsageError("--scale and --shift go together")
    if scale is None or shift is None:
        if not known:
            raise UsageError(
                f"{path} has z = {z} and base width {base}, whose latent scale and shift are not known: "
                "give them with --scale and --shift (latent = scale · (posterior − shift))"
            )
        scale, shift = PRESETS[known[0]].scale, PRESETS[known[0]].shift
    own = known[0] if known else f"z{z}" if f"z{z}" in PRESETS else "z16"
    try:
        config = IVVAEConfig(z, base, scale, shift)
        with torch.device("meta"):
            IVVAE(config)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: {error}") from error
    return f"ivvae:{own}", config


def _compare(path: Path, wanted: dict[str, tuple[int, ...]], tensors: dict[str, Tensor]) -> None:
    """Raise WeightsError naming what does not fit."""
    missing = sorted(set(wanted) - set(tensors))
    foreign = sorted(set(tensors) - set(wanted))
    shapes = [
        f"{n} is {list(tensors[n].shape)}, not {list(s)}"
        for n, s in wanted.items()
        if n in tensors and tuple(tensors[n].shape) != s
    ]
    broken = [n for n, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    problems = [
        f"{what}: {', '.join(items[:_SHOWN])}{f' and {len(items) - _SHOWN} more' if len(items) > _SHOWN else ''}"
        for what, items in (
            ("missing", missing),
            ("unknown", foreign),
            ("wrong shape", shapes),
            ("not finite", broken),
        )
        if items
    ]
    if problems:
        raise WeightsError(f"{path}: does not fit the released structure; {'; '.join(problems)}")
