"""Decoded frames in bytes, from integers made once of a codec's weights: compiled, or in tensors on other devices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.backbones import drawing, exact
from vcodec.backbones.blocks import packed
from vcodec.backbones.layers import Stack, pack_yuv420, unpack_yuv420
from vcodec.backbones.rows import LayerRows, layer_rows
from vcodec.spots import Spots, listed

__all__ = ["Pictures"]

Planes = tuple[Tensor, Tensor]
_GREY = 128


@dataclass(frozen=True)
class Pictures:
    """Integers of the linear path and the loop filter: as tensors multiply them, and as compiled loops do."""

    transform: exact.ExactTransform
    layers: list[exact.ExactLayer]
    columns: npt.NDArray[np.int32]
    rows: LayerRows

    @classmethod
    def of(cls, basis: Tensor, net: Stack) -> Pictures:
        """basis [96,96,1,1], of each sample of a block what latents add to it; net: the loop filter."""
        transform = exact.transform_of(basis)
        layers = exact.layers_of(
            [conv.weight for conv in net.convolutions],
            [conv.bias for conv in net.convolutions if conv.bias is not None],
            net.offset.table,
        )
        return cls(transform, layers, drawing.columns(transform), layer_rows(layers))

    def changes(self, values: Tensor) -> Tensor | Spots:
        """A latent [B,96,h,w] in 8-bit levels as ``draw`` wants it: a list, or what it adds, int16 in parts."""
        return listed(values) if _compiled(values) else exact.changes(values, self.transform)

    def draw(self, planes: Planes, added: Tensor | Spots, offset: Tensor, grey: Tensor) -> Planes:
        """Luma [B,1,H,W] and chroma [B,2,H/2,W/2] in bytes, of their prediction, int16 in parts.

        added: a latent as a list, or what it adds, int16 [B,96,H/8,W/8]; offset [width] of the filter's first layer;
        grey [B]: chroma is 128.
        """
        if isinstance(added, Tensor) and not _compiled(added):
            return self._in_tensors(planes, added, offset, grey)
        given = planes[0][0, 0].contiguous().numpy(), planes[1][0].contiguous().numpy()
        if isinstance(added, Spots):
            where = drawing.changed(added, self.columns, self.transform)
        else:
            every = added[0].permute(1, 2, 0).contiguous().numpy()
            where = every, np.ones(every.shape[:2], np.bool_)
        biases = self.rows.biases.copy()
        first = exact.first_biases(self.layers[0], offset)
        biases[0, : len(first)] = first
        luma, chroma = drawing.draw(given, where, self.rows._replace(biases=biases), bool(grey))
        return torch.from_numpy(luma)[None, None], torch.from_numpy(chroma)[None]

    def _in_tensors(self, planes: Planes, added: Tensor, offset: Tensor, grey: Tensor) -> Planes:
        shown = exact.bent(pack_yuv420(*planes), packed(added), self.layers, offset)
        luma, chroma = unpack_yuv420(shown)
        return luma, torch.where(grey.view(-1, 1, 1, 1), torch.full_like(chroma, _GREY), chroma)


def _compiled(values: Tensor) -> bool:
    """Whether loops draw a frame: here, one picture."""
    return len(values) == 1 and values.device.type == "cpu"
