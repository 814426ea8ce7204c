"""`qae`: the quantized autoencoder scaled to natural colour video (quantized-autoencoder, section IV).

One frame a step, in native 4:2:0.  The latent stands at 1/8 resolution: 64 luma + 16 + 16 chroma samples are behind
each position, and the 96 channels are a complete basis of them.  A learned linear path (DCT at the start) carries what
motion does not predict; networks of plain 3×3 convolutions, which start at zero, bend it.

    others:    last decoded frame ─ light ─┬──────────────────┬─ motion (integers) ─┐
                                           └─ smoothed, twice ┘                     │
               memory ──────────── light ──────── source of each block ─────────────┴► p   (prediction, both sides)
    keyframe:  thumbnail (integers, 1/16) ──► bicubic ──► refine ────────► p

    encode:    frame ─► blocks of x − p ──► A ─► latent        keyframe: + analysis(x, x − p)
    decode:    latent ─► S ─► d      r = p + d                 keyframe: + synthesis(r, d)
               r + loop filter(r, d) at 1/2 resolution ─► 8-bit frame ─► state

A keyframe's networks run at 1/8 resolution; the loop filter runs for every frame.  Each network's first layer gets a
learned offset for K, so that one model serves all K.

A block whose detail is new in each frame comes from the last one smoothed (softening.py).
The memory is the GOP's keyframe: what a thing that moves away uncovers is there.  A model of one's own footage may hold
scenes, pictures of what its cameras see when nothing happens; a GOP may start from one in place of a keyframe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec.backbones import motion, softening
from vcodec.backbones.base import BytePlanes, Grid, Latent, LatentShape, Listed, PlaneBackbone
from vcodec.backbones.blocks import blocks, packed
from vcodec.backbones.compensation import compensate
from vcodec.backbones.exact import as_parts, from_parts
from vcodec.backbones.layers import Stack, block_basis, pack_yuv420, unpack_yuv420
from vcodec.backbones.lookahead import Advice, Seen, look_ahead, rough_motion
from vcodec.backbones.pictures import Pictures
from vcodec.backbones.samples import all_grey, compiled, errors, in_floats, missing_blocks, packed_bytes, unpacked
from vcodec.backbones.weighting import fitted, weighted
from vcodec.scale import USUAL, Quality, level_of, nominal_step
from vcodec.sources import BLURRED, MEMORY, SOFT
from vcodec.spots import Spots

__all__ = ["PRESETS", "QAE", "QAEConfig", "QAEState"]

KEY, INTER = 0, 1
CHROMA_WEIGHT = 3.0  # of a chroma sample's squared error; a luma sample's is 1: what 6:1:1 in decibels comes to
FINE = 1 / 32  # what an output of 1 of a network is worth: eight 8-bit levels
KEY_WORTH = 2.0  # of a keyframe's squared error, beside what looking ahead says: by measurement
_BALANCE = 0.45  # times luma's squared error over chroma's: what the latter is worth, by measurement
_WORTH = (3.0, 8.0)  # at least and most
_EXACT = 0.02  # squared error that counts as none
_KEY_LOOKS = 2  # at a keyframe's latent, beside the first
_MUCH = 0.25  # of a plane: what is worth an offset of the thumbnail's levels
THUMB_STEP = 8  # grey levels between two values of the keyframe's thumbnail


@dataclass(frozen=True)
class QAEConfig:
    """Sizes of the networks."""

    width: int = 128
    """channels inside refine, analysis and synthesis, >= 8"""
    refine_layers: int = 4
    """3×3 layers of the keyframe's prediction, >= 2"""
    analysis_layers: int = 5
    """3×3 layers of the keyframe's encoder, >= 2"""
    synthesis_layers: int = 7
    """3×3 layers of the keyframe's decoder, >= 2"""
    filter_width: int = 24
    """channels inside the loop filter, >= 4"""
    filter_layers: int = 3
    """3×3 layers of the loop filter, >= 2"""
    chunk_frames: int = 8
    """frames in one chunk record, 1..64; what decoding holds in memory"""
    scenes: int = 0
    """pictures held of what a fixed camera sees, 0..15"""
    scene_size: tuple[int, int] = (16, 16)
    """their height and width, multiples of 16"""


PRESETS = {"base": QAEConfig()}


class QAEState(NamedTuple):
    """What the decoder has: the last frame in bytes, and its motion."""

    luma: Tensor  # uint8 [B,1,H,W]
    chroma: Tensor  # uint8 [B,2,H/2,W/2]
    coarse: Tensor | None  # [B,3,H/16,W/16], None after a keyframe
    memory: tuple[Tensor, Tensor]  # planes as above, since the GOP began
    scene: bool = False  # whether that was a remembered scene: seen under another light


@dataclass(frozen=True)
class Prediction:
    """A frame's prediction, luma [B,1,H,W] and chroma [B,2,H/2,W/2]; what conditions the networks: level [B].

    In coding planes are int16, in parts of a level (exact.py); in training samples in 0..1.
    """

    planes: tuple[Tensor, Tensor]
    level: Tensor
    key: bool = False
    """whether it is a keyframe's"""

    @cached_property
    def packed(self) -> Tensor:
        """As a clip's frame [B,6,H/2,W/2]."""
        luma, chroma = (p if p.is_floating_point() else from_parts(p) for p in self.planes)
        return pack_yuv420(luma, chroma)


class QAE(PlaneBackbone):
    """The default codec's networks.  Clips are [B,6,1,H/2,W/2] in 0..1 with H, W multiples of 16."""

    pixel_format = "yuv420p"
    step_frames = 1
    stride = (8, 8)
    latent_channels = 96
    causal = True
    closed_loop = True
    cascade = True
    revision = 7

    def __init__(self, config: QAEConfig) -> None:
        super().__init__()
        self.config = config
        self.chunk_frames = config.chunk_frames
        basis = block_basis()
        self.forward_basis = nn.Parameter(basis[:, :, None, None].clone())
        self.inverse_basis = nn.Parameter(basis.t()[:, :, None, None].clone())
        w = config.width
        self.refine = Stack(96, w, 96, config.refine_layers, kinds=1, skips=True)
        self.analysis = Stack(192, w, 96, config.analysis_layers, kinds=1, skips=True)
        self.synthesis = Stack(192, w, 96, config.synthesis_layers, kinds=1, skips=True)
        self.loop_filter = Stack(12, config.filter_width, 6, config.filter_layers, kinds=2, skips=True)
        self._known: tuple[object, Pictures] | None = None  # of which weights
        drawn_with = self.loop_filter, self.refine, self.synthesis, self.analysis
        self._held = [module._parameters for net in drawn_with for module in net.modules()]
        weight = torch.ones(1, 96, 1, 1)
        weight[:, 64:] = CHROMA_WEIGHT
        self.register_buffer("weight", weight, persistent=False)
        self.weight: Tensor
        n, (height, width) = config.scenes, config.scene_size
        self.register_buffer("scene_luma", torch.zeros(n, 1, height, width, dtype=torch.uint8), persistent=n > 0)
        self.register_buffer(
            "scene_chroma", torch.zeros(n, 2, height // 2, width // 2, dtype=torch.uint8), persistent=n > 0
        )
        self.scene_luma: Tensor
        self.scene_chroma: Tensor

    @torch.no_grad()
    def grow_from(self, smaller: QAE) -> None:
        """Take over the weights of a codec with smaller networks; raises ValueError where these are not as large."""
        for name, module in self.named_children():
            if isinstance(module, Stack):
                module.grow_from(cast(Stack, smaller.get_submodule(name)))
        for name, value in smaller.state_dict().items():
            if name.partition(".")[0] in ("forward_basis", "inverse_basis"):
                self.get_parameter(name).copy_(value)

    # ------------------------------------------------------------------ shapes

    def codable_grid(self, grid: Grid) -> Grid:
        return Grid(grid.frames, -(-grid.height // 16) * 16, -(-grid.width // 16) * 16)

    def latent_shape(self, grid: Grid) -> LatentShape:
        return LatentShape(96, grid.frames, grid.height // 8, grid.width // 8)

    def macs(self, grid: Grid) -> dict[str, float]:
        """Of a clip that begins with a keyframe."""
        positions = (grid.height // 8) * (grid.width // 8)
        every = positions * (96 * 96 + 16 * self.loop_filter.macs())
        once = positions * (self.refine.macs() + self.synthesis.macs())
        analysis = positions * (grid.frames * 96 * 96 + self.analysis.macs())
        decode = float(grid.frames * every + once)
        return {"encode": decode + analysis, "decode": decode}

    # ------------------------------------------------------------------ the networks

    @staticmethod
    def _bend(net: Stack, x: Tensor, level: Tensor, kind: int = KEY) -> Tensor:
        return net.in_halves(x, level, torch.full_like(level, kind, dtype=torch.int64)) * FINE

    def predicted(self, luma: Tensor, chroma: Tensor, level: Tensor, key: bool) -> Prediction:
        """Prediction of a frame from planes: of the thumbnail (key) or motion compensated; level [B]; in training."""
        if not key:
            return Prediction((luma, chroma), level)
        smooth = pack_yuv420(luma, chroma)
        refined = smooth + packed(self._bend(self.refine, blocks(smooth) - 0.5, level))
        return Prediction(unpack_yuv420(refined), level, True)

    def analyse(self, x: Tensor, p: Prediction, missing: Tensor | None = None) -> Tensor:
        """Frame x [B,6,H/2,W/2] -> latent [B,96,h,w] in 8-bit levels; missing: blocks of x − p, where known."""
        r = blocks(x - p.packed) if missing is None else missing
        values = F.conv2d(r, self.forward_basis)
        if not p.key:
            return values.mul_(255.0)
        if missing is not None:  # integers are sooner made than floats
            offset = _offset(self.analysis, p.level, KEY)
            return values.mul_(255.0) + self._pictures().analysed(missing, p.planes, offset)
        bent = self._bend(self.analysis, torch.cat([blocks(x) - 0.5, r * 8.0], 1), p.level)
        return (values + bent).mul_(255.0)

    def synthesise(self, values: Tensor, p: Prediction) -> Tensor:
        """Latent [B,96,h,w] -> frame [B,6,H/2,W/2], not yet rounded: as training has it, in floats."""
        coded = self._coded(values, p)
        d = packed(coded)
        frame = p.packed + d
        kind = torch.full_like(p.level, KEY if p.key else INTER, dtype=torch.int64)
        return frame + self.loop_filter.in_halves(torch.cat([frame - 0.5, d * 8.0], 1), p.level, kind) * FINE

    def _coded(self, values: Tensor, p: Prediction) -> Tensor:
        """What a latent adds to the samples of blocks [B,96,h,w]; a keyframe's network bends it."""
        coded = F.conv2d(values / 255.0, self.inverse_basis)
        if p.key:
            r = blocks(p.packed) + coded
            coded = coded + self._bend(self.synthesis, torch.cat([r - 0.5, coded * 8.0], 1), p.level)
        return coded

    # ------------------------------------------------------------------ side information

    @staticmethod
    def thumbnail(luma: Tensor, chroma: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Integer means of 16×16 luma and 8×8 chroma blocks: [B,3,H/16,W/16] in 0..31; offsets [B,3], usually 4."""
        first = THUMB_STEP // 2 if offsets is None else offsets[:, :, None, None]
        return ((_means(luma, chroma) - first) / THUMB_STEP).round().clamp(0, 255 // THUMB_STEP).long()

    @staticmethod
    def offsets(luma: Tensor, chroma: Tensor) -> Tensor:
        """Where a thumbnail's levels stand, [B,3] in 0..7: on what is flat, where that fills much of a plane."""
        rest = _means(luma, chroma).round().long().flatten(2) % THUMB_STEP
        count = F.one_hot(rest, THUMB_STEP).sum(2)
        usual = torch.full_like(count[:, :, 0], THUMB_STEP // 2)
        return torch.where(count.amax(2) > _MUCH * rest.shape[2], count.argmax(2), usual)

    @classmethod
    def from_thumbnail(cls, thumb: Tensor, offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Smooth planes of a thumbnail, in 0..1."""
        luma, chroma = cls._smooth(thumb, offsets)
        return (luma / 255.0).float(), (chroma / 255.0).float()

    @staticmethod
    def _smooth(thumb: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same in 8-bit levels, float64: which holds these sums exactly, their weights having 17 bits each way."""
        first = THUMB_STEP // 2 if offsets is None else offsets[:, :, None, None]
        means = (thumb * THUMB_STEP + first).double()
        luma = F.interpolate(means[:, :1], scale_factor=16, mode="bicubic", align_corners=False)
        chroma = F.interpolate(means[:, 1:], scale_factor=8, mode="bicubic", align_corners=False)
        return luma.clamp(0, 255), chroma.clamp(0, 255)

    def predict(self, side: dict[str, Tensor], state: QAEState | None, k: int) -> Prediction:
        """The prediction that encoder and decoder share."""
        level = torch.full((len(side["grey"]),), level_of(k), device=side["grey"].device)
        if state is None:
            luma, chroma = self._smooth(side["thumbnail"], side["offsets"])
            smooth = as_parts(luma), as_parts(chroma)
            return Prediction(self._pictures().refined(smooth, _offset(self.refine, level, KEY)), level, True)
        vectors = motion.dense_vectors(side["coarse"], side["choice"])
        last = weighted(state.luma, state.chroma, side["weights"][:, 0])
        references, source = [last], side["coarse"][:, 2]
        if source.any():
            used = set(source.flatten().tolist())
            kept = weighted(*state.memory, side["weights"][:, 1]) if MEMORY in used else last
            references.append(kept)
            references += [softening.softened(last, s, vectors) if s in used else last for s in (SOFT, BLURRED)]
        return Prediction(compensate(references, vectors), level)

    @staticmethod
    def _moved(planes: tuple[Tensor, Tensor], state: QAEState, advice: Advice, k: int) -> dict[str, Tensor]:
        """Light and motion of a frame that is coded with a codebook of K levels.

        Light is only looked at where it has changed between source frames, or since a scene was remembered: decoded
        frames differ in it from coding alone.
        """
        worth, step = price(k), nominal_step(level_of(k))
        known = [(state.luma, state.chroma)]
        if state.memory[0] is not state.luma:
            known.append(state.memory)
        light = torch.zeros(planes[0].shape[0], len(known), 4, dtype=torch.int64, device=planes[0].device)
        looks = (advice.lighter or state.scene, advice.lit or state.scene)
        for i, looked_at in enumerate(looks[: len(known)]):
            if looked_at:
                light[:, i : i + 1] = fitted(in_floats(planes), [in_floats(known[i])], worth)
        last, _ = weighted(*known[0], light[:, 0])
        reference = motion.Reference.of(last)
        beside = weighted(*known[1], light[:, 1])[0] if len(known) > 1 else None
        start = rough_motion(planes[0], state.luma)[0] if advice.start is None else advice.start
        coarse, choice, grain = motion.search(planes[0], reference, start, worth, step, beside, state.coarse)
        both = torch.zeros(light.shape[0], 2, 4, dtype=torch.int64, device=light.device)
        both[:, 0] = light[:, 0]
        if len(known) > 1 and (coarse[:, 2] == MEMORY).any():
            both[:, 1] = light[:, 1]
        grained = torch.tensor([grain], device=light.device)
        return {"coarse": coarse, "choice": choice, "grain": grained, "weights": both}

    def _balance(self, state: QAEState | None, advice: Advice) -> Tensor:
        """What squared error is worth in each channel [1,96,1,1]: in chroma the more, the less of it there is.

        6:1:1 in decibels is the mean of logarithms: a plane's error counts by its share.  The last frame tells.
        """
        if state is None or advice.before is None:
            return self.weight
        pairs = zip(advice.before, (state.luma, state.chroma), strict=True)
        luma, chroma = (errors(a, b) + _EXACT for a, b in pairs)
        worth = (_BALANCE * luma / chroma).clamp(*_WORTH)
        return torch.cat([self.weight[:, :64], worth.repeat_interleave(16, 1)[:, :, None, None]], 1)

    # ------------------------------------------------------------------ Backbone

    def openings(self, height: int, width: int) -> list[QAEState]:
        if self.config.scenes == 0 or (height, width) != tuple(self.config.scene_size):
            return []
        planes = [(self.scene_luma[i : i + 1], self.scene_chroma[i : i + 1]) for i in range(self.config.scenes)]
        return [QAEState(*scene, None, scene, True) for scene in planes]

    def look_ahead(self, clip: Tensor, seen: Seen | None, k: int) -> tuple[list[Advice], Seen]:
        return look_ahead(*unpacked(clip), seen, k)

    def encode(self, clip: Tensor, state: QAEState | None, k: int) -> tuple[Latent, QAEState | None]:
        return self.encode_advised(clip, state, k, None)

    def encode_advised(
        self, clip: Tensor, state: QAEState | None, k: int, advice: Advice | None
    ) -> tuple[Latent, QAEState | None]:
        advice = advice or Advice(None, self.weight.new_ones(1, 1, 1, 1))
        planes = advice.now or unpack_yuv420(clip[:, :, 0])
        if state is None:
            luma, chroma = in_floats(planes)
            offsets = self.offsets(luma, chroma)
            side = {"thumbnail": self.thumbnail(luma, chroma, offsets), "offsets": offsets}
        else:
            side = self._moved(planes, state, advice, k)
        side["grey"] = all_grey(planes[1])
        p = self.predict(side, state, k)
        values = self.analyse(clip[:, :, 0], p, missing_blocks(planes, p.planes) if compiled(clip) else None)
        if side["grey"].any():
            values[:, 64:] *= ~side["grey"].view(-1, 1, 1, 1)
        worth = KEY_WORTH if state is None else 1.0
        weight = self._balance(state, advice) * worth, advice.weight
        return Latent(values[:, :, None], side, weight, p), state

    def quality(self, advice: Advice | None) -> Quality:
        return USUAL if advice is None else Quality(advice.flatness, advice.boost)

    def looks(self, state: QAEState | None, effort: int) -> int:
        return effort if state is not None else _KEY_LOOKS * (1 + effort)

    def corrected(self, clip: Tensor, latent: Latent, hat: Tensor, shown: BytePlanes) -> Tensor:
        """Half way to where the linear path sends what is missing: near enough, the networks only bend it."""
        decoded = packed_bytes([shown], *shown[0].shape).to(clip.device)
        missing = F.conv2d(blocks((clip - decoded)[:, :, 0]), self.forward_basis) * 255.0
        return (latent.values + hat + missing[:, :, None]) / 2

    def decode(self, latent: Latent, state: QAEState | None, k: int) -> tuple[Tensor, QAEState | None]:
        planes = self._drawn(latent, state, k)
        return pack_yuv420(*in_floats(planes))[:, :, None], self._after(latent, state, planes)

    def decode_planes(self, latent: Latent, state: QAEState | None, k: int) -> tuple[BytePlanes, QAEState | None]:
        planes = self._drawn(latent, state, k)
        y, (u, v) = planes[0][0, 0].cpu().numpy(), planes[1][0].cpu().numpy()
        return (y, u, v), self._after(latent, state, planes)

    @staticmethod
    def _after(latent: Latent, state: QAEState | None, planes: tuple[Tensor, Tensor]) -> QAEState:
        memory = planes if state is None else state.memory
        return QAEState(*planes, latent.side.get("coarse"), memory, state is not None and state.scene)

    def _drawn(self, latent: Latent, state: QAEState | None, k: int) -> tuple[Tensor, Tensor]:
        """Planes in bytes: exact integers."""
        p = latent.scratch if latent.scratch is not None else self.predict(latent.side, state, k)
        pictures, kind = self._pictures(), KEY if p.key else INTER
        added: Tensor | Spots
        if p.key:
            added = pictures.bent(latent.values[:, :, 0], p.planes, _offset(self.synthesis, p.level, KEY))
        elif isinstance(latent, Listed):
            added = latent.spots
        else:
            added = pictures.changes(latent.values[:, :, 0])
        return pictures.draw(p.planes, added, _offset(self.loop_filter, p.level, kind), latent.side["grey"])

    def _pictures(self) -> Pictures:
        """Integers of today's weights."""
        weights = [self.inverse_basis, *(p for held in self._held for p in held.values())]
        which = tuple((id(p), p._version) for p in weights if p is not None)
        if self._known is None or self._known[0] != which:
            self._known = (
                which,
                Pictures.of(self.inverse_basis, self.loop_filter, self.refine, self.synthesis, self.analysis),
            )
        return self._known[1]


def _offset(net: Stack, level: Tensor, kind: int) -> Tensor:
    """What K adds to a network's first layer [width], float64."""
    return net.offset(level[:1].double(), torch.full_like(level[:1], kind, dtype=torch.int64))[0]  # type: ignore[no-any-return]


def _means(luma: Tensor, chroma: Tensor) -> Tensor:
    """Of 16×16 luma and 8×8 chroma blocks, in 8-bit levels [B,3,H/16,W/16]."""
    return torch.cat([F.avg_pool2d(luma, 16), F.avg_pool2d(chroma, 8)], 1) * 255.0


def price(k: int) -> float:
    """Sum of absolute differences (samples in 0..1) that a bit of motion is worth: above sqrt(λ), by measurement."""
    level = level_of(k)
    share = 1.4 if k == 2 else 0.6 + 0.1 * max(0.0, 4.0 - level)  # K = 2 stands for all that is coarser (the cascade)
    return share * nominal_step(level) / 255.0
