"""What the video VAEs share: clip [B,3,T,H,W] in 0..1 ↔ latent [B,z,t,h,w] in the model's own scale, as a stream.

    frames   0 │ 1 2 3 4 │ 5 6 7 8 │ …        the first frame stands alone, then groups of four
    latents  0 │    1    │    2    │ …        so 1+4n frames give 1+n latents

A chunk is the first frame with any number of groups, or groups alone; which of the two is said by the state, never by
the chunk's length: ``None`` begins a stream.  Any division into chunks, one for all included, gives the same result.
Frames that do not fill a group repeat the last one, sizes that are no multiple of 8 the last row and column.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vcodec.backbones.base import Backbone, Grid, Latent, LatentShape
from vcodec.backbones.footprint import Footprint
from vcodec.backbones.vae_layers import Stream, name_slots
from vcodec.errors import InputError
from vcodec.starting import whole_torch

__all__ = ["GROUP", "STRIDE", "Footprints", "Posterior", "VAEState", "VideoVAE"]

GROUP = 4  # frames in a latent of a video VAE, but for the first
STRIDE = 8  # samples behind a latent position
_BOUND_MAPS, _BOUND_LEAST = 32, 2**27  # for each frame, and beside that (see `memory_bound`)


@dataclass(frozen=True)
class VAEState:
    """Where a stream stands. Never changed by a call: keep it, and go on from it as often as you like.

    A stream that never goes back takes less memory with ``state.spent()``: the call that gets it writes the state
    after it in its place.  side: "encoder" or "decoder"; slots: by layer, the last frames of its input,
    [frames·B,C,h,w]; steps: latents that have passed.  `vcodec.save_state` and `vcodec.load_state` keep it in a file.
    """

    side: str
    slots: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    once: bool = False

    def spent(self) -> VAEState:
        """This one, to go on from once: after that it is gone, and a call with it is refused. Forks live on."""
        return VAEState(self.side, self.slots, self.steps, once=True)

    def fork(self) -> VAEState:
        """A copy that shares no memory with this one."""
        return VAEState(self.side, {n: t.clone() for n, t in self.slots.items()}, self.steps)

    @property
    def size_bytes(self) -> int:
        """Memory that the slots take."""
        return sum(t.nbytes for t in self.slots.values())


class Posterior(NamedTuple):
    """Distribution of a latent, in the model's own scale, [B,z,t,h,w] both."""

    mean: Tensor
    std: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A draw from it."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.std * noise


class Footprints(NamedTuple):
    """Most bytes that a call takes beside the weights, and bytes of the state after it, for each side."""

    encode: int
    decode: int
    encoder_slots: int
    decoder_slots: int


class VideoVAE(Backbone):
    """A causal video VAE; what is coded is the mean of its posterior."""

    pixel_format = "rgb"
    #: frames in a latent, but for the first
    group = GROUP
    step_frames = GROUP
    lead_frames = 1
    chunk_frames = 4 * GROUP
    stride = (STRIDE, STRIDE)
    causal = True
    closed_loop = False
    #: latents before a window from which decoding, or encoding, it alone is exact; with one less it is not (tested)
    decoder_preroll = 7
    encoder_preroll = 5
    #: equal parts of the latent's channels with statistics of their own (keyframe half, temporal half)
    halves = 1

    def __init__(self, config: Any) -> None:
        super().__init__()
        z, base = config.latent_channels, config.base
        if z < 1 or base < 4:
            raise ValueError(f"a VAE of base {base} with {z} latent channels; at least 4 and 1 are needed")
        if config.scale == 0 or not math.isfinite(config.scale) or not math.isfinite(config.shift):
            raise ValueError(f"scale {config.scale}, shift {config.shift}: both must be finite, scale not 0")
        self.config = config
        self.latent_channels = z

    def finish(self) -> None:
        """Name the slots; to be called once the networks are there."""
        name_slots(self)

    # ------------------------------------------------------------------ the networks

    @abstractmethod
    def analyse(self, x: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        """Frames [T·B,3,H,W] in −1..1 -> mean and log variance [t·B,z,h,w], before scale and shift."""

    @abstractmethod
    def synthesise(self, z: Tensor, stream: Stream) -> Tensor:
        """Latents [t·B,z,h,w] before scale and shift -> frames [T·B,3,H,W] in −1..1, not clamped."""

    # ------------------------------------------------------------------ streams

    def posterior(self, clip: Tensor, state: VAEState | None = None) -> tuple[Posterior, VAEState]:
        """Posterior of a chunk [B,3,T,H,W] in 0..1, and the state after it. Raises InputError."""
        if clip.ndim != 5 or clip.shape[1] != 3 or 0 in clip.shape:
            raise InputError(f"a clip must be [B,3,T,H,W] and not empty, not {list(clip.shape)}")
        b = clip.shape[0]
        x = _to_grid(clip * 2 - 1, self.group, first=state is None)
        stream = self._stream("encoder", b, state)
        mean, log_variance = (_clip(y, b) for y in self.analyse(_frames(x), stream))
        scale, shift = self.config.scale, self.config.shift
        std = torch.exp(0.5 * log_variance) * abs(scale)
        return Posterior((mean - shift) * scale, std), _after(stream, "encoder", state, mean.shape[2])

    def encode(self, clip: Tensor, state: VAEState | None = None, k: int = 0) -> tuple[Latent, VAEState]:
        """Latent of a chunk: the mean. ``k`` plays no part here."""
        posterior, after = self.posterior(clip, state)
        return Latent(posterior.mean), after

    def decode(self, latent: Latent | Tensor, state: VAEState | None = None, k: int = 0) -> tuple[Tensor, VAEState]:
        """Clip [B,3,T,H,W] of a latent [B,z,t,h,w] in the model's own scale, about 0..1, not clamped."""
        values = latent.values if isinstance(latent, Latent) else latent
        if values.ndim != 5 or values.shape[1] != self.latent_channels or 0 in values.shape:
            wanted = f"[B,{self.latent_channels},t,h,w]"
            raise InputError(f"a latent must be {wanted} and not empty, not {list(values.shape)}")
        b = values.shape[0]
        stream = self._stream("decoder", b, state)
        z = values / self.config.scale + self.config.shift
        clip = _clip(self.synthesise(_frames(z), stream), b)
        return (clip + 1) / 2, _after(stream, "decoder", state, values.shape[2])

    def decode_window(self, latent: Tensor, start: int, stop: int) -> Tensor:
        """Frames of latents start..stop−1 of a stream [B,z,t,h,w], as decoding all of it gives them.

        Memory of the network ends `decoder_preroll` latents back, so decoding begins there.
        """
        if not 0 <= start < stop <= latent.shape[2]:
            raise InputError(f"the stream has latents 0 to {latent.shape[2] - 1}, not {start} to {stop - 1}")
        begin = max(0, start - self.decoder_preroll)
        clip, _ = self.decode(latent[:, :, begin:stop])
        return clip[:, :, self.frames_before(start - begin) :]

    def encode_window(self, clip: Tensor, start: int, stop: int) -> Tensor:
        """Means of latents start..stop−1 of a stream of frames [B,3,T,H,W], as encoding all of it gives them.

        The last frame of the group `encoder_preroll` latents back stands for a first frame.
        """
        steps = self.latent_shape(self.codable_grid(Grid(*clip.shape[2:]))).steps
        if not 0 <= start < stop <= steps:
            raise InputError(f"the stream has latents 0 to {steps - 1}, not {start} to {stop - 1}")
        begin = max(0, start - self.encoder_preroll)
        latent, _ = self.encode(clip[:, :, self.frames_before(begin + 1) - 1 : self.frames_before(stop)])
        return latent.values[:, :, start - begin :]

    def forward(self, clip: Tensor, sample: bool = True) -> tuple[Tensor, Posterior]:
        """Training: reconstruction (cropped to the clip) and posterior, in a single step."""
        posterior, _ = self.posterior(clip)
        z = posterior.sample() if sample else posterior.mean
        out, _ = self.decode(z)
        return out[:, :, : clip.shape[2], : clip.shape[3], : clip.shape[4]], posterior

    def _stream(self, side: str, batch: int, state: VAEState | None) -> Stream:
        if state is not None and state.side != side:
            raise InputError(f"this is a state of the {state.side}, not of the {side}")
        return Stream(batch, True, {}) if state is None else Stream(batch, False, state.slots, state.once)

    # ------------------------------------------------------------------ shapes

    def frames_before(self, step: int) -> int:
        """Frames of a stream before latent number ``step``."""
        return 0 if step == 0 else 1 + self.group * (step - 1)

    def codable_grid(self, grid: Grid) -> Grid:
        """1+4n frames, sizes in multiples of 8."""
        frames = 1 + -(-(grid.frames - 1) // self.group) * self.group
        return Grid(frames, -(-grid.height // STRIDE) * STRIDE, -(-grid.width // STRIDE) * STRIDE)

    def latent_shape(self, grid: Grid) -> LatentShape:
        steps = 1 + (grid.frames - 1) // self.group
        return LatentShape(self.latent_channels, steps, grid.height // STRIDE, grid.width // STRIDE)

    def memory(self, frames: int, height: int, width: int) -> int:
        """Bytes that coding so many frames in one call takes, beside the weights: the larger of both sides.

        1+4n frames begin a stream; any other number goes on with one, whose state is kept.
        """
        found = self.footprints(frames, height, width)
        return max(found.encode, found.decode)

    def memory_bound(self, frames: int, height: int, width: int) -> int:
        """More than `memory`, at once: of maps of `base` channels at full resolution never so many are alive."""
        grid = self.codable_grid(Grid(frames, height, width))
        maps = _BOUND_MAPS * (grid.frames + 2) * self.config.base * grid.height * grid.width
        weights = 3 * sum(p.numel() for p in self.parameters())  # folded for inference (group_conv.py)
        return int((maps + weights) * next(self.parameters()).element_size() + _BOUND_LEAST)

    def footprints(self, frames: int, height: int, width: int, spent: bool = False) -> Footprints:
        """Bytes of each side as in `memory`; spent: the state gone on with is given away.

        Counted, the first time in a second or so, by running the networks on tensors without memory.
        """
        grid = self.codable_grid(Grid(1, height, width))
        return _footprints(type(self), self.config, next(self.parameters()).dtype, grid._replace(frames=frames), spent)

    def macs(self, grid: Grid) -> dict[str, float]:
        """Counted by running the networks on tensors without memory."""
        whole_torch()
        from torch.utils.flop_counter import FlopCounterMode

        with torch.device("meta"):
            twin = type(self)(self.config).eval()
            clip = torch.empty(1, 3, *grid)
            latent = torch.empty(1, *self.latent_shape(grid))
        out = {}
        for side, work in (("encode", lambda: twin.encode(clip)), ("decode", lambda: twin.decode(latent))):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                work()
            out[side] = counter.get_total_flops() / 2
        return out

    def step_shape(self, frames: int, height: int, width: int) -> LatentShape:
        return self.latent_shape(self.codable_grid(Grid(1, height, width)))


@lru_cache(maxsize=16)
def _footprints(kind: type[VideoVAE], config: Any, dtype: torch.dtype, grid: Grid, spent: bool) -> Footprints:
    whole_torch()
    with torch.device("meta"):
        twin = kind(config).eval().to(dtype)
    with torch.device("meta"), torch.inference_mode():
        group, frames = twin.group, grid.frames
        goes_on = (frames - 1) % group > 0 or group == 1
        states: list[VAEState | None] = [None, None]
        if goes_on:
            latent, states[0] = twin.encode(torch.empty(1, 3, 1, *grid[1:], dtype=dtype))
            states[1] = twin.decode(latent)[1]
        shape = (twin.latent_channels, -(-frames // group), grid.height // STRIDE, grid.width // STRIDE)
        sides: list[tuple[Callable[..., Any], Tensor]] = [
            (twin.encode, torch.empty(1, 3, *grid, dtype=dtype)),
            (twin.decode, torch.empty(1, *shape, dtype=dtype)),
        ]
        peaks, slots = [], []
        for (work, given), state in zip(sides, states):
            before = 0 if state is None else state.size_bytes
            with Footprint() as footprint:
                _, after = work(given, state.spent() if state and spent else state)
            peaks.append(before + footprint.held)
            slots.append(after.size_bytes)
    return Footprints(*peaks, *slots)


def _to_grid(clip: Tensor, group: int, first: bool) -> Tensor:
    """The clip with whole groups and multiples of 8: last frame, row and column repeated."""
    frames, height, width = clip.shape[2:]
    more = -(frames - 1 if first else frames) % group
    if more:
        clip = torch.cat([clip, clip[:, :, -1:].expand(-1, -1, more, -1, -1)], 2)
    bottom, right = -height % STRIDE, -width % STRIDE
    return F.pad(clip, (0, right, 0, bottom, 0, 0), mode="replicate") if bottom or right else clip


def _frames(clip: Tensor) -> Tensor:
    """[B,C,T,H,W] -> [T·B,C,H,W], channels last."""
    return clip.permute(2, 0, 1, 3, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _clip(frames: Tensor, batch: int) -> Tensor:
    """[T·B,C,H,W] -> [B,C,T,H,W]."""
    return frames.unflatten(0, (-1, batch)).permute(1, 2, 0, 3, 4).contiguous()  # type: ignore[no-any-return, no-untyped-call]


def _after(stream: Stream, side: str, state: VAEState | None, steps: int) -> VAEState:
    return VAEState(side, stream.now, steps + (0 if state is None else state.steps))
