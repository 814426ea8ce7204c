"""A codec: backbone + quantizer + entropy model, and the way of a clip to a payload and back.

    compress     clip ─► backbone.encode ─► latent ─► entropy.choose, emit ─► payload
                              ▲                              │ dequantized
                              └──── state ◄── backbone.decode ◄┘      (closed loop: predict from what decoding has)
    decompress   payload ─► entropy.read ─► indices ─► dequantized ─► backbone.decode ─► clip

No float stands between the payload and the indices: `entropy.read` computes with integers only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from vcodec import helper
from vcodec.backbones.base import Backbone, Grid, Latent, Listed, PlaneBackbone
from vcodec.backbones.base import BytePlanes as Planes
from vcodec.backbones.color import rgb_from_yuv, yuv_from_rgb
from vcodec.backbones.layers import pack_yuv420, unpack_yuv420
from vcodec.backbones.samples import luma_error, packed_bytes
from vcodec.entropy.tables import SymbolReader, SymbolWriter
from vcodec.errors import DamagedError, InputError
from vcodec.evenness import Evenness
from vcodec.parsing import Parsing
from vcodec.scale import LAMBDA, USUAL, Quality, cascaded, step_at
from vcodec.states import Ahead, Payload, Settings, State

__all__ = ["Codec", "Grid", "Parsing", "Payload", "Settings", "State"]

T = TypeVar("T")


class _Coded(NamedTuple):
    """A step that was coded: what is to be written of it, what it decodes to where that is known, and what follows."""

    plan: Any
    decoded: Tensor | Planes | None
    before: Quality | None
    quality: Quality
    after: State


def physical_memory() -> int:
    """Bytes of memory that the machine has; without an answer, no bound."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**62


def _missed(clip: Tensor, shown: Tensor | Planes) -> float:
    """Mean squared error of the luma of what a step decodes to, 8-bit levels; clip [1,6,T,H/2,W/2]."""
    if not isinstance(shown, Tensor):
        return luma_error(clip, shown[0]) * 255.0**2
    return float((clip[:, :4] - shown[:, :4]).square().mean()) * 255.0**2


class Codec:
    """Clip ↔ payload, with explicit state.  ``state=None`` starts a GOP: the chunk decodes alone."""

    def __init__(
        self, name: str, backbone: Backbone, quantizer: Any, entropy: Any, weights_sha256: bytes = bytes(32)
    ) -> None:
        self.name, self.backbone, self.quantizer, self.entropy = name, backbone.eval(), quantizer.eval(), entropy
        self.weights_sha256 = weights_sha256
        self.device = torch.device("cpu")
        self.max_memory: int | None = None  # bytes that a step may take; None: what the machine has
        self.effort = 0  # of encoding, 0..9: looks at a step beside those that its backbone wants
        self.config: dict[str, Any] = {}  # effective configuration, as the checkpoint keeps it
        for module in (backbone, quantizer):
            module.requires_grad_(False)

    @property
    def pixel_format(self) -> str:
        """Planes of its frames: "yuv420p" or "gray"."""
        return "gray" if self.backbone.pixel_format == "gray" else "yuv420p"

    @property
    def chunk_frames(self) -> int:
        """Frames of a full chunk, beside `lead_frames` in the first of a GOP."""
        return self.backbone.chunk_frames

    @property
    def lead_frames(self) -> int:
        """Frames at the start of a GOP that are no part of its regular steps."""
        return self.backbone.lead_frames

    @property
    def step_frames(self) -> int:
        """Frames of a regular step."""
        return self.backbone.step_frames

    @property
    def abreast(self) -> bool:
        """Whether GOPs may be coded beside each other: on a CPU, where what a step takes is of no account."""
        return self.device.type == "cpu" and not self.backbone.memory_bound(self.step_frames, 16, 16)

    def to(self, device: str | torch.device) -> Codec:
        """Move networks to a device."""
        self.device = torch.device(device)
        self.backbone.to(self.device)
        for module in self.backbone.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.quantizer.to(self.device)
        self.entropy.to(self.device)
        return self

    # ------------------------------------------------------------------ frames <-> clip

    def to_clip(self, frames: Sequence[Planes], settings: Settings | None = None) -> Tensor:
        """8-bit planes -> float clip in 0..1 on the codable grid (bottom and right edges repeated)."""
        height, width = frames[0][0].shape
        grid = self.backbone.codable_grid(Grid(len(frames), height, width))
        if self.backbone.pixel_format == "yuv420p" and self.device.type == "cpu":
            return packed_bytes(frames, grid.height, grid.width)
        count = 1 if self.pixel_format == "gray" else 3

        def plane(i: int, rows: int, cols: int) -> Tensor:
            stack = np.stack([f[i] for f in frames])
            pad = ((0, 0), (0, rows - stack.shape[1]), (0, cols - stack.shape[2]))
            wide = np.pad(stack, pad, mode="edge") if any(b for _, b in pad) else stack
            return torch.from_numpy(wide).to(self.device).float().div(255.0)

        y = plane(0, grid.height, grid.width)
        if count == 1:
            return y[None, None]
        u, v = (plane(i, grid.height // 2, grid.width // 2) for i in (1, 2))
        if self.backbone.pixel_format == "rgb":
            tags = settings or Settings(2)
            rgb = rgb_from_yuv(y[:, None], torch.stack([u, v], 1), tags.color_space, tags.color_range)
            return rgb.transpose(0, 1)[None]
        return pack_yuv420(y[:, None], torch.stack([u, v], 1)).transpose(0, 1)[None]

    def to_frames(self, clip: Tensor, grid: Grid, settings: Settings | None = None) -> list[Planes]:
        """Clip -> rounded 8-bit planes, cropped to the grid."""
        h, w = grid.height, grid.width
        if self.backbone.pixel_format == "rgb":
            tags = settings or Settings(2)
            y, uv = yuv_from_rgb(clip[0].transpose(0, 1), tags.color_space, tags.color_range)
            clip = pack_yuv420(y, uv).transpose(0, 1)[None]
        byte = clip[0].clamp(0, 1).mul_(255.0).round_().to(torch.uint8).transpose(0, 1).cpu()  # [T,C,H,W]
        if self.pixel_format == "gray":
            return [(np.ascontiguousarray(f[0, :h, :w].numpy()),) for f in byte]
        out: list[Planes] = []
        luma, chroma = unpack_yuv420(byte)
        for y, c in zip(luma[:, 0, :h, :w].numpy(), chroma[:, :, : (h + 1) // 2, : (w + 1) // 2].numpy()):
            out.append((np.ascontiguousarray(y), np.ascontiguousarray(c[0]), np.ascontiguousarray(c[1])))
        return out

    def _check_memory(self, height: int, width: int) -> None:
        """Refuse pictures whose steps would not fit, before anything is allocated for them."""
        bound = self.backbone.memory_bound(self.step_frames, height, width)
        if not bound:
            return
        limit = self.max_memory
        if limit is None:
            limit = torch.cuda.mem_get_info(self.device)[1] if self.device.type == "cuda" else physical_memory()
        if bound <= limit:
            return
        needed = self.backbone.memory(self.step_frames, height, width)
        if needed > limit:
            raise InputError(
                f"{self.name} needs about {needed / 2**30:.1f} GiB for pictures of {width}x{height}, and may take "
                f"{limit / 2**30:.1f} GiB: scale the video down, choose a smaller codec, or raise --max-memory"
            )

    # ------------------------------------------------------------------ clip <-> payload

    def at(self, settings: Settings, step: int, quality: Quality = USUAL) -> tuple[int, int]:
        """(K, fine) of a step of the GOP."""
        if not self.backbone.cascade:
            return settings.k, settings.fine
        return cascaded(settings.k, settings.fine, step, quality)

    @torch.inference_mode()
    def look_ahead(self, clip: Tensor, before: State | Ahead | None, settings: Settings) -> Ahead:
        """What an encoder that has a whole clip before it may know when it codes the clip's first step.

        before: this of the clip before it in its GOP, or the state after that clip.  Without looking ahead, compress
        decides step by step, from what lies behind.
        """
        return Ahead(*self.backbone.look_ahead(clip, None if before is None else before.seen, settings.k))

    def compress(
        self, clip: Tensor, state: State | None, settings: Settings, ahead: Ahead | None = None
    ) -> tuple[Payload, State]:
        """Code a clip [1,C,T,H,W] on the codable grid; ahead: what look_ahead says of it."""
        payload, _, state = self._coded(clip, state, settings, SymbolWriter(), ahead)
        return payload, state

    def code(
        self,
        clip: Tensor,
        state: State | None,
        settings: Settings,
        writer: SymbolWriter | None = None,
        ahead: Ahead | None = None,
    ) -> tuple[Payload, Tensor | None, State]:
        """As compress, with the decoded clip when the codec has it at hand (closed loop), else None."""
        writer = SymbolWriter() if writer is None else writer
        payload, decoded, state = self._coded(clip, state, settings, writer, ahead)
        clips = [step if isinstance(step, Tensor) else self.to_clip([step]) for step in decoded]
        return payload, torch.cat(clips, 2) if clips else None, state

    @torch.inference_mode()
    def _coded(
        self, clip: Tensor, state: State | None, settings: Settings, writer: SymbolWriter, ahead: Ahead | None
    ) -> tuple[Payload, list[Tensor | Planes], State]:
        """As code, with what steps decode to, clips or planes on the codable grid."""
        self._check_memory(clip.shape[3] * (2 if self.backbone.pixel_format == "yuv420p" else 1), clip.shape[4])
        start = state if state is not None else self._opened(clip, settings, writer)
        parts = torch.split(clip, self.backbone.step_sizes(clip.shape[2], state is None), 2)
        boost: int | None = None
        # a GOP's first chunk waits where its first frame may turn out to be far from what follows
        waits, written = state is None and self.backbone.cascade, []

        def write(step: _Coded) -> None:
            if step.decoded is not None and self.backbone.cascade:
                written.append(behind.submit(self.entropy.emit_quality, writer, step.before, step.quality))
            written.append(behind.submit(self.entropy.emit, writer, step.plan))

        # coding symbols does not hold up the next frame: it follows in a thread of its own
        with ThreadPoolExecutor(1, initializer=helper.settled) as behind, helper.at_hand():
            while True:
                even, made = Evenness(len(parts)), []
                for step in self._steps(parts, start, settings, ahead, even, boost):
                    made.append(step)
                    if not waits:
                        write(step)
                known = made[0].quality.boost
                wanted = even.first_wants(known, boost is None) if waits else known
                if wanted == known:
                    break
                boost = wanted
            for step in made if waits else ():
                write(step)
        for job in written:
            job.result()
        data = writer.finish()
        payload = Payload(data, 0, writer.expected_bits, writer.count)
        return payload, [step.decoded for step in made if step.decoded is not None], made[-1].after

    def _steps(
        self,
        parts: Sequence[Tensor],
        start: State,
        settings: Settings,
        ahead: Ahead | None,
        even: Evenness,
        boost: int | None,
    ) -> Iterator[_Coded]:
        """Code the steps of a clip one after the other; boost: of the first, None: what looking ahead says."""
        inner, memory, steps, seen, before = start
        for number, part in enumerate(parts):
            if ahead is None:
                advice, seen = self.backbone.look_ahead(part, seen, settings.k)
            else:
                advice, seen = ahead.advice[number : number + 1], ahead.seen
            known = advice[0] if advice else None
            quality, more = self.backbone.quality(known), 0
            if number == 0 and boost is not None:
                quality = quality._replace(boost=boost)
            while True:
                quality = quality._replace(boost=quality.boost + more)
                plan, shown, after = self._step(part, inner, memory, self.at(settings, steps, quality), known)
                if shown is None or not self.backbone.cascade:
                    break
                more = even.lacking(_missed(part, shown), quality.boost)
                if not more:
                    break
            memory, inner, steps = plan.after, after, steps + 1
            yield _Coded(plan, shown, before, quality, State(inner, memory, steps, seen, quality))
            before = quality

    def _step(
        self, clip: Tensor, inner: Any, memory: Any, at: tuple[int, int], advice: Any
    ) -> tuple[Any, Tensor | Planes | None, Any]:
        """What is to be written of a step, what it decodes to where that is known, and the backbone's state after."""
        k, fine = at
        backbone: Any = self.backbone
        decode = backbone.decode_planes if isinstance(backbone, PlaneBackbone) else backbone.decode
        latent, after = self.backbone.encode_advised(clip, inner, k, advice)
        looks = self.backbone.looks(inner, self.effort)
        while True:
            plan = self.entropy.choose(latent.values, latent.side, latent.weight, self.quantizer, memory, k, fine)
            if not self.backbone.closed_loop:
                return plan, None, after
            levels = getattr(plan, "levels", None)  # as a list, where that is at hand
            if levels is None:
                sent = Latent(plan.hat, plan.side, None, latent.scratch)
            else:
                sent = Listed(levels, plan.side, self.device, latent.scratch)
            shown, after = decode(sent, inner, k)
            if looks == 0:
                return plan, shown, after
            latent.values, looks = self.backbone.corrected(clip, latent, plan.hat, shown), looks - 1

    def _opened(self, clip: Tensor, settings: Settings, writer: SymbolWriter) -> State:
        """Where a GOP starts: from nothing, or from a picture the model remembers where that is cheaper."""
        first = clip[:, :, : self.backbone.step_sizes(clip.shape[2], True)[0]]
        states = self._openings(Grid(first.shape[2], first.shape[3] * 2, first.shape[4] * 2))
        if len(states) == 1:
            return states[0]
        costs = [self._cost(first, state, settings) for state in states]
        chosen = costs.index(min(costs))
        writer.write_raw(np.array([chosen]))
        return states[chosen]

    def _openings(self, grid: Grid) -> list[State]:
        """What a GOP of these pictures may start from; the first is a keyframe."""
        known = self.backbone.openings(grid.height, grid.width)
        shape = tuple(self.backbone.latent_shape(grid)) if known else ()
        return [State(None, None, 0), *(State(inner, self.entropy.opening(shape), 0) for inner in known)]

    def _cost(self, clip: Tensor, start: State, settings: Settings) -> float:
        """Bits of a closed-loop step, and what its distortion is worth in bits."""
        payload, seen, _ = self.code(clip, start, settings)
        error = 0.0 if seen is None else float((seen - clip).square().sum()) * 255.0**2
        return error / (LAMBDA * step_at(*self.at(settings, start.steps)) ** 2) + payload.bits

    def decompress(
        self, payload: bytes, symbols: int, grid: Grid, state: State | None, settings: Settings
    ) -> tuple[Tensor, State]:
        """Decode a payload of ``grid`` (frames, height, width as shown); the clip is on the codable grid.

        ``symbols`` is the record's count and must be 0 (implied).  Raises DamagedError when the payload does not fit.
        """
        return self.draw(self.parse(payload, symbols, grid, state, settings), state)

    @torch.inference_mode()
    def parse(
        self, payload: bytes, symbols: int, grid: Grid, before: State | Parsing | None, settings: Settings
    ) -> Parsing:
        """Begin to read a payload, as decompress does, in a thread of its own: parsing does not wait for pictures.

        before: the state after the chunk before it in its GOP, or that chunk's parsing.
        """
        self._check_memory(grid.height, grid.width)
        reader, start = SymbolReader(payload), before
        if start is None:
            states = self._openings(self.backbone.codable_grid(grid))
            chosen = int(reader.read_raw(1)[0]) if len(states) > 1 else 0
            if chosen >= len(states):
                raise DamagedError("a payload starts from a picture that its model does not have")
            start = states[chosen]
        sizes = self.backbone.step_sizes(grid.frames, before is None)
        shapes = [tuple(self.backbone.step_shape(n, grid.height, grid.width)) for n in sizes]
        return Parsing(self, reader, sizes, shapes, settings, start)

    @torch.inference_mode()
    def draw(self, parsing: Parsing, state: State | None) -> tuple[Tensor, State]:
        """The pictures of what was parsed, on the codable grid; state: after the chunk before it, drawn."""
        parts, after = self._steps_of(parsing, state, self.backbone.decode)
        return torch.cat([clip[:, :, :size] for clip, size in zip(parts, parsing.sizes)], 2), after

    @torch.inference_mode()
    def draw_frames(
        self, parsing: Parsing, state: State | None, grid: Grid, settings: Settings
    ) -> tuple[list[Planes], State]:
        """As draw and then to_frames, sooner where there is a shorter way."""
        if not isinstance(self.backbone, PlaneBackbone):
            clip, after = self.draw(parsing, state)
            return self.to_frames(clip, grid, settings), after
        made, after = self._steps_of(parsing, state, self.backbone.decode_planes)
        sizes = [(grid.height, grid.width), *[((grid.height + 1) // 2, (grid.width + 1) // 2)] * 2]
        return [tuple(np.ascontiguousarray(p[:h, :w]) for p, (h, w) in zip(planes, sizes)) for planes in made], after

    def _steps_of(
        self, parsing: Parsing, state: State | None, decode: Callable[[Latent, Any, int], tuple[T, Any]]
    ) -> tuple[list[T], State]:
        """What each step that was parsed decodes to."""
        inner, parts = parsing.opening if state is None else state.backbone, []
        try:
            with helper.at_hand():  # drawing takes longer than parsing, which runs beside it
                for _ in parsing.sizes:
                    latent, k = parsing.step()
                    part, inner = decode(latent, inner, k)
                    parts.append(part)
        finally:
            memory, quality = parsing.memory()
        return parts, State(inner, memory, parsing.steps, None, quality)
