"""A codec in one .safetensors file: networks, integer tables, and a JSON header with its configuration.

The hash that a .vae file names is SHA-256 over the configuration and every tensor (name, type, shape, bytes, in the
order of names), not over the file: notes in the header may change, what decodes may not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vcodec.backbones.base import Backbone, Grid
from vcodec.backbones.videovae import VAEState
from vcodec.codec import Codec
from vcodec.errors import InputError, WeightsError
from vcodec.registry import BACKBONES, ENTROPY_MODELS, QUANTIZERS, CodecEntry, codec_entry, load

__all__ = [
    "Parts",
    "bundled_path",
    "content_hash",
    "describe_codec",
    "load_codec",
    "load_state",
    "new_parts",
    "save_codec",
    "save_state",
]

_FORMAT = 1
_WEIGHTS = Path(__file__).parent / "weights"


@dataclasses.dataclass
class Parts:
    """The trainable parts of a codec, before its entropy model is frozen."""

    backbone: Backbone
    quantizer: nn.Module
    config: dict[str, Any]


def bundled_path(name: str) -> Path:
    """Where the bundled weights of a codec are (whether or not they exist)."""
    return _WEIGHTS / f"{name.replace(':', '-')}.safetensors"


def new_parts(name: str, config: dict[str, Any] | None = None) -> Parts:
    """Backbone and quantizer of a codec, freshly made: from its preset, or from a checkpoint's configuration."""
    entry = codec_entry(name)
    backbone_class = load(BACKBONES, entry.backbone, "backbone")
    quantizer_class = load(QUANTIZERS, entry.quantizer, "quantizer")
    preset = importlib.import_module(backbone_class.__module__).PRESETS[entry.preset]
    wanted = {} if config is None else config
    try:
        backbone_config = dataclasses.replace(preset, **wanted.get("backbone", {}))
        backbone: Backbone = backbone_class(backbone_config)
        quantizer_config = dataclasses.replace(
            quantizer_class.Config(channels=backbone.latent_channels), **wanted.get("quantizer", {})
        )
        quantizer: nn.Module = quantizer_class(quantizer_config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"codec '{name}': a configuration that this vcodec does not know ({error})") from error
    made: dict[str, Any] = {"revision": backbone.revision} if backbone.revision else {}
    made |= {"backbone": dataclasses.asdict(backbone_config), "quantizer": dataclasses.asdict(quantizer_config)}
    return Parts(backbone, quantizer, made)


def _entropy_class(entry: CodecEntry) -> Any:
    return load(ENTROPY_MODELS, entry.entropy, "entropy model")


def content_hash(name: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """SHA-256 of a codec's content, 32 bytes."""
    digest = hashlib.sha256(json.dumps([_FORMAT, name, config], sort_keys=True).encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"|{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _tensors(codec: Codec) -> dict[str, Tensor]:
    out = {f"backbone.{n}": t for n, t in codec.backbone.state_dict().items()}
    out |= {f"quantizer.{n}": t for n, t in codec.quantizer.state_dict().items()}
    out |= {f"entropy.{n}": t for n, t in codec.entropy.tensors().items()}
    return {n: t.detach().cpu().contiguous() for n, t in out.items()}


def assemble(name: str, parts: Parts, entropy: Any) -> Codec:
    """A codec of trained parts and a frozen entropy model, with its hash."""
    codec = Codec(name, parts.backbone, parts.quantizer, entropy)
    codec.config = parts.config
    codec.weights_sha256 = content_hash(name, parts.config, _tensors(codec))
    return codec


def save_codec(codec: Codec, path: str | Path, notes: dict[str, Any] | None = None) -> None:
    """Write a codec to one file, replacing it at once; notes (how it was made) do not enter its hash."""
    target = Path(path)
    header = {"vcodec": _FORMAT, "codec": codec.name, "config": codec.config, "notes": notes or {}}
    part = target.with_name(target.name + ".part")
    save_file(_narrowed(_tensors(codec)), part, metadata={"vcodec": json.dumps(header, sort_keys=True)})
    part.replace(target)


def _narrowed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network in half precision, if that holds all of it exactly (weights released so); what loads is the same."""
    wide = {n: t for n, t in tensors.items() if n.startswith("backbone.") and t.dtype == torch.float32}
    if not all(torch.equal(t.half().float(), t) for t in wide.values()):
        return tensors
    return tensors | {n: t.half() for n, t in wide.items()}


def load_codec(name_or_path: str | Path, *, device: str = "cpu") -> Codec:
    """A codec by name (its bundled weights) or from a checkpoint.

    A string that names an existing file or ends in .safetensors is a path.  Raises UnknownNameError, WeightsError.
    """
    if isinstance(name_or_path, str) and not name_or_path.endswith(".safetensors"):
        codec_entry(name_or_path)
        path = bundled_path(name_or_path)
        if not path.is_file():
            raise WeightsError(
                f"codec '{name_or_path}' has no bundled weights: train some with "
                f"'vcodec train DATA --codec {name_or_path} -o model.safetensors' and give --weights model.safetensors"
            )
    else:
        path = Path(name_or_path)
    return _read(path).to(device)


def _read(path: Path) -> Codec:
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["vcodec"])
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path}: not a vcodec checkpoint ({error})") from error
    if header.get("vcodec") != _FORMAT:
        raise WeightsError(f"{path}: checkpoint format {header.get('vcodec')}, this vcodec reads {_FORMAT}")
    name, config = str(header["codec"]), header["config"]
    entry = codec_entry(name)
    parts = new_parts(name, config)
    if config.get("revision", 0) != parts.backbone.revision:
        raise WeightsError(
            f"{path}: made for revision {config.get('revision', 0)} of codec '{name}', this vcodec decodes revision "
            f"{parts.backbone.revision}: train them again, or use the vcodec that they were made with"
        )
    groups: dict[str, dict[str, Tensor]] = {"backbone": {}, "quantizer": {}, "entropy": {}}
    for key, tensor in tensors.items():
        group, _, rest = key.partition(".")
        if group not in groups:
            raise WeightsError(f"{path}: holds '{key}', which no codec has")
        groups[group][rest] = tensor
    try:
        parts.backbone.load_state_dict(groups["backbone"])
        parts.quantizer.load_state_dict(groups["quantizer"])
        entropy = _entropy_class(entry).from_tensors(groups["entropy"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path}: its tensors do not fit codec '{name}' ({error})") from error
    return assemble(name, parts, entropy)


def describe_codec(name: str) -> dict[str, Any]:
    """What `vcodec codecs --json` prints of a codec (DESIGN §6)."""
    entry = codec_entry(name)
    with torch.device("meta"):  # its shape alone: the largest has 240 M parameters
        backbone = new_parts(name).backbone
    path = bundled_path(name)
    bundled = path.is_file()
    codec = _read(path) if bundled else None
    grid = backbone.codable_grid(Grid(backbone.chunk_frames, 128, 128))
    macs = backbone.macs(grid)
    extra = _entropy_class(entry).macs(backbone.latent_channels, backbone.latent_shape(grid))
    pixels = grid.frames * grid.height * grid.width
    parameters = sum(p.numel() for p in backbone.parameters())
    return {
        "codec": name,
        "family": name.partition(":")[0],
        "paper": entry.paper,
        "parameters": parameters,
        "kmac_per_pixel": {k: round((macs[k] + extra[k]) / pixels / 1000, 2) for k in ("encode", "decode")},
        "stride": list(backbone.stride),
        "latent_channels": backbone.latent_channels,
        "causal": backbone.causal,
        "weights": "bundled" if bundled else "none",
        "sha256": codec.weights_sha256.hex() if codec else None,
    }


def save_state(state: VAEState, path: str | Path) -> None:
    """Write where a VAE's stream stands, replacing the file at once."""
    target = Path(path)
    part = target.with_name(target.name + ".part")
    facts = json.dumps({"side": state.side, "steps": state.steps})
    save_file({n: t.contiguous() for n, t in state.slots.items()}, part, metadata={"vcodec-state": facts})
    part.replace(target)


def load_state(path: str | Path) -> VAEState:
    """A state that save_state wrote; raises InputError."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["vcodec-state"])
            slots = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
            return VAEState(str(facts["side"]), slots, int(facts["steps"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not the state of a stream ({error})") from error
