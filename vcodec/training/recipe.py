"""Training recipes: small TOML files that hold only what differs from the one they extend."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcodec.errors import InputError, UnknownNameError

__all__ = ["Recipe", "load_recipe", "recipe_names"]

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """Everything a training run depends on besides data, seed and time."""

    codec: str = "qae"
    """codec name, family or family:preset"""
    minutes: float = 60.0
    """length of the run; the learning rate follows the share of it that has passed"""
    batch: int = 8
    """crops in a step"""
    crop: int = 128
    """side of a crop, luma samples, a multiple of 32"""
    frames: tuple[int, ...] = (4,)
    """frames of a crop, one entry for each equal part of the run"""
    learning_rate: float = 5e-4
    """of the networks, at its top; falls as a cosine to a fiftieth"""
    basis_rate: float = 0.02
    """the linear transforms' share of the learning rate: they start as a complete basis"""
    analysis_rate: float = 0.1
    """the encoder network's share: what reaches it through the quantizer is mostly noise"""
    warm_up: int = 200
    """steps until the learning rate is at its top"""
    balance: float = 0.5
    """exponent that keeps the cheap, small K from being drowned by the dear, large K"""
    clip_norm: float = 1.5
    """largest norm of a step's gradient, of its running mean"""
    key_weight: float = 0.4
    """weight of a keyframe's cost in an unroll, which is far shorter than a GOP"""
    average: float = 0.999
    """decay of the weights' moving average, which is what is evaluated and kept"""
    footage_frames: int = 128
    """frames kept of each clip"""
    held_back: int = 9
    """every so many-th clip is kept for validation and never trained on; 0: none"""
    evaluate_minutes: float = 5.0
    """between two validations (and checkpoints)"""


def recipe_names() -> list[str]:
    """Names of the recipes that come with vcodec."""
    return sorted(p.stem for p in _FOLDER.glob("*.toml"))


def _fields(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin}: not a TOML recipe ({error})") from error


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by name or by path; raises UnknownNameError or InputError naming the field."""
    path = Path(name) if str(name).endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UnknownNameError(f"no recipe '{name}'; there are {', '.join(recipe_names())}, or give a .toml file")
    values = _fields(path.read_text("utf-8"), str(path))
    base = values.pop("extends", None)
    recipe = load_recipe(base) if base else Recipe()
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{path}: unknown field '{key}'; known are {', '.join(sorted(known))}")
        wanted = getattr(recipe, key)
        if isinstance(wanted, tuple):
            values[key] = tuple(value) if isinstance(value, list) else (value,)
        elif isinstance(wanted, float) and isinstance(value, int):
            values[key] = float(value)
        elif type(value) is not type(wanted):
            raise InputError(f"{path}: '{key}' must be {type(wanted).__name__}, not {value!r}")
    return dataclasses.replace(recipe, **values)
