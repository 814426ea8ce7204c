"""Plain tables of what is selectable: "name" -> "module:Class".  Adding a codec is one file and one line here."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import Any

from vcodec.errors import UnknownNameError

__all__ = ["BACKBONES", "CODECS", "ENTROPY_MODELS", "QUANTIZERS", "CodecEntry", "codec_entry", "load"]

BACKBONES = {
    "causalvae": "vcodec.backbones.causalvae:CausalVAE",
    "imagevae": "vcodec.backbones.causalvae:ImageVAE",
    "ivvae": "vcodec.backbones.ivvae:IVVAE",
    "qae": "vcodec.backbones.qae:QAE",
    "qae_layers": "vcodec.backbones.qae_layers:QAELayers",
    "qae_paper": "vcodec.backbones.qae_paper:QAEPaper",
}
QUANTIZERS = {
    "posterior": "vcodec.quantizers.posterior:PosteriorQuantizer",
    "conditional": "vcodec.quantizers.conditional:ConditionalCodebook",
    "scalar": "vcodec.quantizers.scalar:ScalarCodebook",
}
ENTROPY_MODELS = {
    "frames": "vcodec.entropy.frames:FrameEntropy",
    "latents": "vcodec.entropy.latents:LatentEntropy",
    "layers": "vcodec.entropy.layers:LayerEntropy",
    "neighbours": "vcodec.entropy.neighbours:NeighbourEntropy",
}


@dataclass(frozen=True)
class CodecEntry:
    """One selectable codec."""

    backbone: str
    """name in BACKBONES"""
    preset: str
    """name in the backbone module's PRESETS"""
    quantizer: str
    """name in QUANTIZERS"""
    entropy: str
    """name in ENTROPY_MODELS"""
    paper: str
    """the paper it comes from"""
    recipe: str
    """the recipe that trains it"""


CODECS = {
    "qae": CodecEntry("qae", "base", "conditional", "frames", "quantized-autoencoder", "adapt"),
    "qae:layers": CodecEntry("qae_layers", "layers", "conditional", "layers", "quantized-autoencoder", "qae-layers"),
    "qae:paper": CodecEntry("qae_paper", "paper", "scalar", "neighbours", "quantized-autoencoder", "qae-paper"),
    **{
        f"{family}:{preset}": CodecEntry(family, preset, "posterior", "latents", "iv-vae", family)
        for family, presets in {
            "ivvae": ("z4", "z8", "z16", "z16-dim96", "z4-small", "z8-small", "z16-small"),
            "causalvae": ("z4", "z8", "z16", "z4-small", "z8-small", "z16-small"),
            "imagevae": ("z2", "z4", "z8", "z16", "z2-small", "z4-small", "z8-small", "z16-small"),
        }.items()
        for preset in presets
    },
    "qae:paper-conditional": CodecEntry(
        "qae_paper", "paper-conditional", "scalar", "neighbours", "quantized-autoencoder", "qae-paper-conditional"
    ),
}


def _find(table: dict[str, Any], name: str, what: str) -> Any:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UnknownNameError(f"no {what} '{name}'{hint} There are: {', '.join(sorted(table))}")


def codec_entry(name: str) -> CodecEntry:
    """Entry of a codec, "family" or "family:preset"; raises UnknownNameError with the list and the nearest name."""
    entry: CodecEntry = _find(CODECS, name, "codec")
    return entry


def load(table: dict[str, str], name: str, what: str) -> Any:
    """The class behind a name of one of the tables."""
    module, _, attribute = _find(table, name, what).partition(":")
    return getattr(importlib.import_module(module), attribute)
