"""Training recipes: small TOML files that hold only what differs from the one they extend."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcodec.errors import InputError, UnknownNameError, UsageError

__all__ = ["Recipe", "load_recipe", "recipe_names"]

_FOLDER = Path(__file__).parent / "recipes"
_CHOICES = {
    "loss": ("", "rate-distortion", "layers", "mse", "vae"),
    "quantization": ("straight-through", "noise", "mixed"),
    "stop": ("none", "one-percent", "patience"),
    "start": ("scratch", "bundled"),
    "finish": ("count", "adapt"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything a training run depends on besides the user's files, seed and device."""

    codec: str = "qae"
    """codec name, family or family:preset"""
    model: dict[str, Any] = field(default_factory=dict)
    """changes to the codec's preset: tables ``backbone`` and ``quantizer`` of their configs' fields"""
    data: dict[str, Any] = field(default_factory=lambda: {"kind": "footage"})
    """material: ``kind`` (a name in datasets.DATASETS) and fields of that kind's Config"""
    loss: str = ""
    """rate-distortion (qae), layers (qae:layers), mse or vae (open-loop codecs); empty: the codec's own"""
    vae: dict[str, Any] = field(default_factory=dict)
    """weights of the VAE loss: fields of training.vae.VAEConfig"""
    quantization: str = "straight-through"
    """how a training step quantizes: straight-through, noise (uniform), mixed (noise for the rate only)"""
    start: str = "scratch"
    """where no checkpoint is named: from scratch, or from the codec's bundled weights"""
    finish: str = "count"
    """count: tables from nothing; adapt: tables from the start's, scenes of fixed cameras, and only what codes the
    held-back part for less is kept (qae; it needs a start)"""
    only: tuple[str, ...] = ()
    """parts that are trained, by the beginning of their names (backbone.refine, codebook, context.keys); empty: all"""
    ks: tuple[int, ...] = ()
    """codebook sizes to train; empty: all that the codec has, spread evenly over log2 K"""
    minutes: float = 60.0
    """length of the run where ``steps`` is 0; the learning rate follows the share of it that has passed"""
    steps: int = 0
    """length of the run in updates; 0: ``minutes`` decide"""
    batch: int = 8
    """crops in an update, over all processes"""
    accumulate: int = 1
    """parts that an update's crops are computed in, one after the other, on each process"""
    crop: int = 128
    """side of a crop, luma samples, a multiple of 32"""
    frames: tuple[int, ...] = (4,)
    """frames of a crop, one entry for each equal part of the run"""
    crops: tuple[int, ...] = ()
    """sides of the crops that go with ``frames``, entry by entry; empty: ``crop`` for all"""
    mixed: bool = False
    """entries of ``frames`` and ``crops`` drawn anew for each step, not one after the other"""
    low_precision: bool = True
    """bf16 inside networks that offer it"""
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
    held_back: int = 9
    """every so many-th clip is kept for validation and never trained on; 0: none"""
    evaluate_minutes: float = 5.0
    """between two validations, where minutes decide"""
    evaluate_steps: int = 0
    """between two validations, where steps decide; 0: a twelfth of the run"""
    validation_batches: int = 4
    """batches of 8 crops that a validation looks at"""
    validation_crop: int = 0
    """side of those crops; 0: twice that of training, up to 192"""
    validation_ks: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256)
    """codebook sizes that a validation looks at; ``ks`` where those are given"""
    checkpoint_seconds: float = 60.0
    """between two states on disk: what a killed run loses at most"""
    log_steps: int = 10
    """between two lines of steps.csv"""
    stop: str = "patience"
    """early stopping: none; one-percent (the validation loss fell by less, the paper's rule); patience: no K's smoothed
    validation cost fell by ``stop_gain`` during ``stop_patience`` validations"""
    stop_patience: int = 8
    """validations without gain, of the patience rule"""
    stop_gain: float = 0.002
    """relative fall of a cost that counts as gain, of the patience rule"""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"recipe: '{name}' must be one of {', '.join(filter(None, allowed))}, not {value!r}")
        if self.minutes <= 0 and not self.steps:
            raise UsageError("--minutes must be more than 0")
        for name in ("batch", "accumulate", "crop", "log_steps", "validation_batches"):
            if getattr(self, name) < 1:
                raise InputError(f"recipe: '{name}' must be at least 1, not {getattr(self, name)}")
        if self.steps < 0 or not self.frames or min(self.frames) < 1:
            raise InputError("recipe: 'steps' must be at least 0 and 'frames' a list of numbers from 1")
        if self.crops and (len(self.crops) != len(self.frames) or min(self.crops) < 1):
            raise InputError("recipe: 'crops' must be empty or have a side, at least 1, for each entry of 'frames'")


def recipe_names() -> list[str]:
    """Names of the recipes that come with vcodec."""
    return sorted(p.stem for p in _FOLDER.glob("*.toml"))


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by name or by path, with changes as ``key=value``; raises UnknownNameError or InputError."""
    values = _read(name, None, ())
    for change in changes:
        values = _merged(values, _change(change))
    return _checked(values, str(name))


def _read(name: str | Path, beside: Path | None, above: tuple[Path, ...]) -> dict[str, Any]:
    """Values of a recipe over those it extends.  beside: the file that names it."""
    if str(name).endswith(".toml"):
        path = Path(name) if beside is None else beside.parent / name
    else:
        path = _FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UnknownNameError(f"no recipe '{name}'; there are {', '.join(recipe_names())}, or give a .toml file")
    path = path.resolve()
    if path in above:
        raise InputError(f"{path}: recipes extend each other in a circle")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML recipe ({error})") from error
    base = values.pop("extends", None)
    _checked(values, str(path))  # an error names the file it is in
    return _merged(_read(str(base), path, (*above, path)), values) if base is not None else values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; another kind of data starts afresh."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        fresh = key == "data" and isinstance(value, dict) and value.get("kind", "") != (old or {}).get("kind", "")
        if isinstance(value, dict) and isinstance(old, dict) and not (fresh and "kind" in value):
            out[key] = _merged(old, value)
        else:
            out[key] = value
    return out


def _change(text: str) -> dict[str, Any]:
    """``key=value`` as a TOML line, where a bare word is a string; dots reach into tables."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: write it as key=value, for example --set batch=4 or --set data.frames=64")
    for line in (f"{key} = {value}", f'{key} = "{value.strip()}"'):
        try:
            return tomllib.loads(line)
        except tomllib.TOMLDecodeError:
            continue
    raise UsageError(f"--set {text}: not a value that TOML knows")


def _checked(values: dict[str, Any], origin: str) -> Recipe:
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{origin}: unknown field '{key}'; known are {', '.join(sorted(known))}")
        item = str if known[key].type == "tuple[str, ...]" else int
        out[key] = _typed(key, value, getattr(_DEFAULTS, key), item, origin)
    try:
        return dataclasses.replace(_DEFAULTS, **out)
    except InputError as error:
        raise type(error)(f"{origin}: {error}") from error


def _typed(key: str, value: Any, wanted: Any, item: type, origin: str) -> Any:
    """A value as its field wants it, whose default is ``wanted``; item: what its list is of, if it is one."""
    if isinstance(wanted, tuple):
        items = value if isinstance(value, list) else [value]
        if all(type(v) is item for v in items):
            return tuple(items)
    elif isinstance(wanted, float) and type(value) is int:
        return float(value)
    elif type(value) is type(wanted):
        return value
    names: dict[type, str] = {tuple: f"a list of {item.__name__}", dict: "a table"}
    name = names.get(type(wanted), type(wanted).__name__)
    raise InputError(f"{origin}: '{key}' must be {name}, not {value!r}")


_DEFAULTS = Recipe()
