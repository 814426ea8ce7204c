"""vcodec: a neural video codec. Video in, quantized latents in a file of its own, video out.

    import vcodec

    vcodec.encode("in.mp4", "out.vae", k=32)
    vcodec.decode("out.vae", "back.mkv")
    with vcodec.open("out.vae") as video:
        for planes in video.frames(100, 110):
            ...

The names below are loaded on first use: `import vcodec` itself is quick and imports neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vcodec.api import VaeFile, decode, encode, open
    from vcodec.backbones.videovae import VAEState
    from vcodec.checkpoint import load_codec, load_state, save_codec, save_state
    from vcodec.codec import Codec, Grid, Payload, Settings
    from vcodec.datasets.latents import LatentDataset
    from vcodec.errors import (
        BatchError,
        DamagedError,
        InputError,
        MediaError,
        OutputError,
        UnknownNameError,
        UnsupportedError,
        UsageError,
        VcodecError,
        WeightsError,
    )

__version__ = "0.12.2"

__all__ = [
    "BatchError",
    "Codec",
    "DamagedError",
    "Grid",
    "InputError",
    "LatentDataset",
    "MediaError",
    "OutputError",
    "Payload",
    "Settings",
    "UnknownNameError",
    "UnsupportedError",
    "UsageError",
    "VAEState",
    "VaeFile",
    "VcodecError",
    "WeightsError",
    "__version__",
    "decode",
    "encode",
    "load_codec",
    "load_state",
    "open",
    "save_codec",
    "save_state",
]

_HOMES = {
    "vcodec.api": ("VaeFile", "decode", "encode", "open"),
    "vcodec.backbones.videovae": ("VAEState",),
    "vcodec.checkpoint": ("load_codec", "load_state", "save_codec", "save_state"),
    "vcodec.codec": ("Codec", "Grid", "Payload", "Settings"),
    "vcodec.datasets.latents": ("LatentDataset",),
    "vcodec.errors": tuple(name for name in __all__ if name.endswith("Error")),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'vcodec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
