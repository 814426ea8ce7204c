"""Small untrained codecs, one for each entry of the registry: random networks, frozen entropy models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from vcodec.checkpoint import assemble, new_parts
from vcodec.codec import Codec
from vcodec.entropy.context import ContextConfig, ContextNet, FrozenContext
from vcodec.entropy.frames import FrameEntropy
from vcodec.entropy.latents import LatentEntropy, plain_tensors
from vcodec.entropy.lattice import GROWN_FIRST
from vcodec.entropy.layers import PATH_ROWS, PATH_SYMBOLS, LayerEntropy
from vcodec.entropy.neighbours import BUCKETS, NeighbourEntropy
from vcodec.entropy.raster import context_count
from vcodec.entropy.surroundings import KINDS
from vcodec.entropy.tables import Tables, integer_rows
from vcodec.entropy.trees import LEAF, Trees
from vcodec.registry import CODECS, codec_entry
from vcodec.training.freezing import assumed_index_tables, assumed_side_tables

SMALL: dict[str, dict[str, Any]] = {
    "qae": {"backbone": {"width": 16, "refine_layers": 3, "analysis_layers": 3, "synthesis_layers": 4}},
    "qae:layers": {"backbone": {"width": 8}},
    "qae:paper-conditional": {"backbone": {"width": 8, "ks": (2, 8, 32)}, "quantizer": {"ks": (2, 8, 32)}},
    "qae:paper": {"backbone": {"width": 8}, "quantizer": {"ks": (2, 8, 32)}},
}


# presets of one class differ in numbers only: the contract runs over a small one or two of each
CONTRACT = [
    name
    for name, entry in CODECS.items()
    if entry.entropy != "latents"
    or name in ("ivvae:z4-small", "ivvae:z16-small", "causalvae:z8-small", "imagevae:z4-small")
]
SMALL |= {
    name: {"backbone": {"base": 4, "scale": 12.0}} for name, entry in CODECS.items() if entry.entropy == "latents"
}


@lru_cache(maxsize=32)
def small_codec(name: str, keys: bool = True) -> Codec:
    """An untrained codec with every part in use (networks that start at zero are shaken).

    keys: whether `qae` has context networks for keyframes.
    """
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(7)
    parts = new_parts(name, SMALL.get(name, {}))
    for parameter in parts.backbone.parameters():
        if parameter.abs().max() == 0:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return assemble(name, parts, _entropy(name, parts.backbone.latent_channels, generator, keys)).to("cpu")


def _entropy(name: str, channels: int, generator: torch.Generator, keys: bool) -> Any:
    if codec_entry(name).entropy == "neighbours":
        tables = {}
        for k in SMALL[name]["quantizer"]["ks"]:
            weights = torch.rand(channels * (BUCKETS + 1) ** 2, k, generator=generator).double().numpy() + 0.05
            tables[k] = Tables(integer_rows(weights))
        return NeighbourEntropy(tables)
    if codec_entry(name).entropy == "latents":
        return LatentEntropy(plain_tensors(channels))
    if codec_entry(name).entropy == "layers":
        return LayerEntropy(_frames(channels, generator), _random(PATH_ROWS, PATH_SYMBOLS, generator), _grey(generator))
    return _frames(channels, generator, 16 if keys else 0)


def _random(rows: int, symbols: int, generator: torch.Generator) -> Tables:
    return Tables(integer_rows(torch.rand(rows, symbols, generator=generator).double().numpy() + 0.05))


def _grey(generator: torch.Generator) -> dict[int, Tables]:
    return {k: _random(context_count(k), k, generator) for k in (2, 8, 32)}


def _frames(channels: int, generator: torch.Generator, key_width: int = 0) -> FrameEntropy:
    net = ContextNet(ContextConfig(channels=channels, key_width=key_width))
    for parameter in net.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    index, side = assumed_index_tables(), assumed_side_tables()
    nodes, kinds = small_trees(), len(KINDS)
    own = torch.rand(2 * kinds, side.shape[1], generator=generator).double().numpy() + 0.2
    side = np.concatenate([side, side[GROWN_FIRST:].repeat(2, 0) * own])
    tables = Tables(integer_rows(side))
    return FrameEntropy(FrozenContext(net.freeze()), Tables(integer_rows(index)), tables, Trees(nodes, len(side)))


def small_trees() -> np.ndarray:
    """Nodes of trees that ask two questions each, of a neighbour (column 14) and of the codebook (column 1)."""
    kinds = len(KINDS)
    nodes = np.full((5 * kinds, 3), LEAF, np.int32)
    for i in range(kinds):
        left, below = kinds + 2 * i, 3 * kinds + 2 * i
        nodes[i], nodes[left] = (14, 0, left), (1, 7, below)
        for place, at in enumerate((left + 1, below, below + 1)):
            nodes[at] = LEAF, GROWN_FIRST + (i if place == 0 else kinds + 2 * i + place - 1), 0
    return nodes


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth random texture, uint8."""
    coarse = rng.random((height // 6 + 3, width // 6 + 3))
    y = np.linspace(0, coarse.shape[0] - 1.001, height)
    x = np.linspace(0, coarse.shape[1] - 1.001, width)
    yi, xi = y.astype(int), x.astype(int)
    fy, fx = (y - yi)[:, None], (x - xi)[None]
    rows = coarse[yi] * (1 - fy) + coarse[yi + 1] * fy
    return ((rows[:, xi] * (1 - fx) + rows[:, xi + 1] * fx) * 255).astype(np.uint8)


def moving_frames(codec: Codec, frames: int, height: int, width: int, seed: int = 3) -> list[tuple[np.ndarray, ...]]:
    """A texture that drifts by (1, 2) samples a frame, as planes of the codec's pixel format."""
    rng = np.random.default_rng(seed)
    wide = [picture(rng, height + frames + 2, width + 2 * frames + 4) for _ in range(3)]
    out = []
    for t in range(frames):
        y = wide[0][t : t + height, 2 * t : 2 * t + width]
        h, w = (height + 1) // 2, (width + 1) // 2
        u, v = (p[t // 2 : t // 2 + h, t : t + w] for p in wide[1:])
        planes = (y,) if codec.pixel_format == "gray" else (y, u, v)
        out.append(tuple(np.ascontiguousarray(p) for p in planes))
    return out
