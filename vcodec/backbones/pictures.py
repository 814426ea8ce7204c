"""Decoded frames in bytes, from integers made once of a codec's weights: compiled, or in tensors on other devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.backbones import drawing, exact, keydrawing
from vcodec.backbones.blocks import blocks, packed
from vcodec.backbones.layers import Stack, pack_yuv420, unpack_yuv420
from vcodec.backbones.rows import LayerRows, layer_rows
from vcodec.backbones.samples import compiled
from vcodec.spots import Spots, listed

__all__ = ["Pictures"]

Planes = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Network:
    """A keyframe's network, as tensors multiply it and as compiled loops do."""

    layers: list[exact.ExactLayer]
    compiled: list[keydrawing.KeyLayer]

    @classmethod
    def of(cls, net: Stack) -> Network:
        layers = exact.layers_of(net)
        return cls(layers, keydrawing.key_layers(layers))

    def parts(self, frame: Tensor, d: Tensor | None, offset: Tensor) -> Tensor:
        """What it makes of a picture [B,96,h,w] and of what was added to it, int16 in parts: the same shape, int64."""
        shift = self.layers[-1].shift + exact.BELOW
        return (exact.sums_of(exact.seen(frame, d), self.layers, offset).long() + (1 << shift - 1)) >> shift

    def loops(self, offset: Tensor) -> tuple[list[keydrawing.KeyLayer], list[npt.NDArray[np.int64]]]:
        """What compiled loops want of it."""
        return self.compiled, exact.biases_under(self.layers, offset)


@dataclass(frozen=True)
class Pictures:
    """Integers of all that decoding multiplies with: as tensors do it, and as compiled loops do."""

    transform: exact.ExactTransform
    columns: npt.NDArray[np.int32]
    layers: list[exact.ExactLayer]
    rows: LayerRows
    refine: Network
    synthesis: Network
    analysis: Stack

    @classmethod
    def of(cls, basis: Tensor, loop_filter: Stack, refine: Stack, synthesis: Stack, analysis: Stack) -> Pictures:
        """basis [96,96,1,1]: of each sample of a block what latents add to it."""
        transform, layers = exact.transform_of(basis), exact.layers_of(loop_filter)
        drawn_with = Network.of(refine), Network.of(synthesis)
        return cls(transform, drawing.columns(transform), layers, layer_rows(layers), *drawn_with, analysis)

    def refined(self, smooth: Planes, offset: Tensor) -> Planes:
        """A keyframe's prediction of its thumbnail's planes, both int16 in parts; offset [width] of refine."""
        if compiled(smooth[0]):
            luma, chroma = keydrawing.refined(_in_arrays(smooth), *self.refine.loops(offset))
            return torch.from_numpy(luma)[None, None], torch.from_numpy(chroma)[None]
        x = pack_yuv420(*smooth)
        return unpack_yuv420(_within(x + packed(self.refine.parts(blocks(x), None, offset))))

    def bent(self, values: Tensor, planes: Planes, offset: Tensor) -> Tensor:
        """What a keyframe's latent [B,96,h,w] adds to its prediction, int16 [B,96,h,w]; offset [width] of synthesis."""
        if compiled(values):
            added, busy = drawing.changed(listed(values.detach()), self.columns, self.transform)
            added[~busy] = 0
            made = keydrawing.bent(_in_arrays(planes), added, *self.synthesis.loops(offset))
            return torch.from_numpy(made).permute(2, 0, 1)[None]
        d, p = exact.changes(values, self.transform), blocks(pack_yuv420(*planes))
        more = self.synthesis.parts(_within(p.int() + d), d, offset)
        return (d + more).clamp(-exact.SHORT, exact.SHORT).to(torch.int16)

    @cached_property
    def _analysis(self) -> Network:
        """In integers once it is asked for: decoding has no use for it."""
        return Network.of(self.analysis)

    def analysed(self, missing: Tensor, planes: Planes, offset: Tensor) -> Tensor:
        """What a keyframe's encoder adds to its latent [1,96,h,w], in 8-bit levels; compiled.

        missing [1,96,h,w]: blocks of what the prediction misses of the frame; offset [width] of analysis.
        """
        d = (missing[0].permute(1, 2, 0) * exact.WHITE).round().to(torch.int16).contiguous().numpy()
        made = keydrawing.bent(_in_arrays(planes), d, *self._analysis.loops(offset)) - d
        return torch.from_numpy(made).permute(2, 0, 1)[None] / exact.PARTS

    def changes(self, values: Tensor) -> Tensor | Spots:
        """A latent [B,96,h,w] in 8-bit levels as ``draw`` wants it: a list, or what it adds, int16 in parts."""
        return listed(values) if compiled(values) else exact.changes(values, self.transform)

    def draw(self, planes: Planes, added: Tensor | Spots, offset: Tensor, grey: Tensor) -> Planes:
        """Luma [B,1,H,W] and chroma [B,2,H/2,W/2] in bytes, of their prediction, int16 in parts.

        added: a latent as a list, or what it adds, int16 [B,96,H/8,W/8]; offset [width] of the filter's first layer;
        grey [B]: chroma is 128.
        """
        if not compiled(planes[0]):
            if isinstance(added, Spots):
                added = exact.changes(added.dense(planes[0].device), self.transform)
            return self._in_tensors(planes, added, offset, grey)
        given = _in_arrays(planes)
        if isinstance(added, Spots):
            where = drawing.changed(added, self.columns, self.transform)
        else:
            every = added[0].permute(1, 2, 0).contiguous().numpy()
            where = every, np.ones(every.shape[:2], np.bool_)
        biases = self.rows.biases.copy()
        for known, bias in zip(biases, exact.biases_under(self.layers, offset), strict=True):
            known[: len(bias)] = bias
        biases[-1] += 1 << self.layers[-1].shift + exact.LEVEL - 1  # half a level
        luma, chroma = drawing.draw(given, where, self.rows._replace(biases=biases), bool(grey))
        return torch.from_numpy(luma)[None, None], torch.from_numpy(chroma)[None]

    def _in_tensors(self, planes: Planes, added: Tensor, offset: Tensor, grey: Tensor) -> Planes:
        d = packed(added)
        frame = _within(pack_yuv420(*planes).int() + d)
        sums = exact.sums_of(exact.seen(frame, d), self.layers, offset)
        luma, chroma = unpack_yuv420(exact.levels_of(frame, sums, self.layers[-1].shift))
        return luma, torch.where(grey.view(-1, 1, 1, 1), torch.full_like(chroma, exact.GREY), chroma)


def _in_arrays(planes: Planes) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Of the one picture there is."""
    return planes[0][0, 0].contiguous().numpy(), planes[1][0].contiguous().numpy()


def _within(frame: Tensor) -> Tensor:
    """A frame in parts as networks may see it: int16."""
    return frame.clamp(exact.LOWEST, exact.HIGHEST).to(torch.int16)
