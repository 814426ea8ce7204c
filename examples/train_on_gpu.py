"""Train qae on a GPU, on from a release: all of its networks, under long unrolls.

    python examples/train_on_gpu.py FOOTAGE -o gpu.safetensors [--start qae] [--filter 24x5] [--minutes 9] [--compile]

FOOTAGE is a folder of videos; every ninth is held back.  Differs from ``vcodec train --recipe qae`` in what a GPU makes
possible: crops are cut on the device from footage that lies there, a frame of a step is one call that torch.compile
may merge (training/unrolled.py), unrolls grow from 6 to 13 frames, and indices are chosen as an encoder chooses them.
The averaged weights are kept; tables are counted anew in the end, on the CPU, and trees of side information grow anew.
--state writes the trained tensors, too, and --counted 0 leaves the start's tables.

The seventh release of qae: 8 minutes on an H100 beside four other runs (--compile, 3,777 steps; footage encoded again
to be sent there), with --keep-keyframes, as keyframes had become worse under it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vcodec.backbones.qae import KEY
from vcodec.checkpoint import Parts, assemble, load_codec, new_parts, save_codec
from vcodec.codec import Codec
from vcodec.datasets.base import Run
from vcodec.entropy.context import ContextConfig, ContextNet, FrozenContext
from vcodec.entropy.frames import FrameEntropy
from vcodec.scale import level_of, nominal_step
from vcodec.training.measure import draw_ks
from vcodec.training.unrolled import Coded, Unrolled, placed

VALIDATION_KS = (2, 4, 8, 16, 32, 64, 128, 256)
# shares of the learning rate, by part of a parameter's name: the first that fits
RATES = {"basis": 0.02, "analysis": 0.2, "loop_filter": 1.5, "codebook": 0.3, "context": 0.3}


@dataclass(frozen=True)
class Plan:
    """A run."""

    filter_width: int = 24
    filter_layers: int = 3
    contexts: bool = False  # of frames between keyframes are trained, too (keyframes' always are)
    chosen: bool = True  # indices as an encoder chooses them, else the nearest
    batch: int = 32
    crop: int = 160
    frames: tuple[int, ...] = (6, 6, 6, 9, 9, 9, 9, 9, 13, 13)  # of an unroll, by equal parts of the run
    rate: float = 6e-4
    warm_up: int = 200
    balance: float = 0.5
    key_weight: float = 0.4
    key_distortion: float = 1.5
    average: float = 0.999
    clip_norm: float = 1.5


class Material:
    """Footage on the device, and random crops of it."""

    def __init__(self, clips: Sequence[Sequence[Run]], device: torch.device) -> None:
        runs = [(run, i) for i, clip in enumerate(clips) for run in clip]
        self.device = device
        self.shapes = [run.luma.shape for run, _ in runs]
        self.planes = {
            name: torch.cat([torch.from_numpy(np.array(getattr(run, name))).reshape(-1) for run, _ in runs])
            .to(device)
            for name in ("luma", "chroma", "vectors")
        }  # fmt: skip
        sizes = np.cumsum([0] + [t * h * w for t, h, w in self.shapes])
        self.first = {"luma": sizes, "chroma": sizes // 2, "vectors": sizes // 32}
        # a clip's chance grows with the root of its frames: long clips do not drown the others
        count = np.bincount([i for _, i in runs], [s[0] for s in self.shapes], len(clips))
        chance = np.array([s[0] / count[i] * math.sqrt(count[i]) for s, (_, i) in zip(self.shapes, runs)])
        self.chance = chance / chance.sum()

    def batch(self, rng: np.random.Generator, size: int, frames: int, crop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Luma [B,T,1,crop,crop], chroma [B,T,2,..], vectors [B,T,2,..] of crops, mirrored at random."""
        long_enough = np.array([t >= frames and min(h, w) >= crop for t, h, w in self.shapes])
        chance = self.chance * long_enough
        picks = rng.choice(len(self.shapes), size, p=chance / chance.sum())
        rows = []
        for i in picks:
            t, h, w = self.shapes[i]
            at = (
                rng.integers(t - frames + 1),
                2 * rng.integers((h - crop) // 16 + 1),
                2 * rng.integers((w - crop) // 16 + 1),
            )
            rows.append((*(int(self.first[n][i]) for n in self.planes), h, w, *map(int, at), int(rng.random() < 0.5)))
        table = torch.tensor(rows).to(self.device)
        luma, chroma, vectors, h, w, t, y, x, mirrored = (table[:, i].view(-1, 1, 1, 1, 1) for i in range(9))
        flipped = mirrored > 0

        def cut(name: str, first: Tensor, channels: int, block: int) -> Tensor:
            """block: luma samples behind one element."""
            n = crop // block
            down, across, high, wide = (8 * y) // block, (8 * x) // block, h // block, w // block
            order = torch.arange(n, device=self.device)
            rows, columns = order.view(n, 1) + down, torch.where(flipped, n - 1 - order, order) + across
            time = torch.arange(frames, device=self.device).view(-1, 1, 1, 1) + t
            plane = torch.arange(channels, device=self.device).view(-1, 1, 1)
            return self.planes[name][first + ((time * channels + plane) * high + rows) * wide + columns]

        moved = cut("vectors", vectors, 2, 8).int()
        moved[:, :, 1:] = torch.where(flipped, -moved[:, :, 1:], moved[:, :, 1:])
        return cut("luma", luma, 1, 1).float() / 255, cut("chroma", chroma, 2, 2).float() / 255, moved


class Training:
    """One training run: a start, footage, and what comes of it."""

    def __init__(
        self, plan: Plan, start: Codec, train: Material, held: Material, say: Callable[[str], None], *, seed: int = 0
    ) -> None:
        self.plan, self.train, self.held, self.say, self.seed = plan, train, held, say, seed
        torch.manual_seed(seed)
        self.parts = grown(start, plan)
        context = ContextNet(ContextConfig(96, key_width=start.entropy.net.keys.width))
        context.thaw(start.entropy.tensors())
        backbone, codebook = cast(Any, self.parts.backbone), cast(Any, self.parts.quantizer)
        model = Unrolled(backbone, codebook, context, plan.crop, chosen=plan.chosen)
        model.key_distortion = plan.key_distortion
        self.model = model.to(train.device)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(plan.contexts or "context" not in name or "context.keys" in name)
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                share = next((s for part, s in RATES.items() if part in name), 1.0)
                groups.setdefault(share, []).append(parameter)
        self.every = [p for group in groups.values() for p in group]
        fused = train.device.type == "cuda"
        self.optimizer = torch.optim.Adam(
            [{"params": g, "share": s} for s, g in groups.items()], betas=(0.9, 0.99), fused=fused
        )
        self.average = [p.detach().clone() for p in self.every]
        self.frame: Callable[..., Coded] = self.model
        self.step, self.usual = 0, math.nan
        self.low_precision(True)

    def low_precision(self, on: bool) -> None:
        """bf16 inside the networks."""
        for module in self.model.modules():
            if hasattr(module, "low_precision"):
                module.low_precision = on  # type: ignore[assignment]

    def loss(self, rng: np.random.Generator, frames: int, frame: Callable[..., Coded]) -> Tensor:
        """Of a batch."""
        plan, device = self.plan, self.train.device
        ks = draw_ks(rng, plan.batch, ())
        batch = self.train.batch(rng, plan.batch, frames, plan.crop)
        weight = torch.tensor([(nominal_step(level_of(k)) / 10.0) ** plan.balance for k in ks]).to(device)
        total = torch.zeros(plan.batch, device=device)
        for t, coded in enumerate(unrolled(frame, batch, ks)):
            total = total + (plan.key_weight if t == 0 else 1.0) * coded.cost
        return (total * weight).mean() / ((frames - 1 + plan.key_weight) * plan.crop**2)

    def update(self, share: float) -> float:
        """One step at a share of the run; returns its loss."""
        plan = self.plan
        ramp = min(1.0, (self.step + 1) / plan.warm_up)
        rate = ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))) * plan.rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        frames = plan.frames[min(len(plan.frames) - 1, int(share * len(plan.frames)))]
        loss = self.loss(np.random.default_rng((self.seed, self.step)), frames, self.frame)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = 1.0 if math.isnan(self.usual) else plan.clip_norm * self.usual
        norm = float(nn.utils.clip_grad_norm_(self.every, limit))
        self.step += 1
        if math.isfinite(norm):
            self.usual = min(norm, limit) if math.isnan(self.usual) else 0.98 * self.usual + 0.02 * min(norm, 2 * limit)
            self.optimizer.step()
            decay = min(plan.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.every], 1 - decay)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, batches: int = 3) -> str:
        """The averaged weights on held-back crops, in full precision: mean cost and by K (cost, bpp, luma PSNR)."""
        kept = [p.detach().clone() for p in self.every]
        torch._foreach_copy_(self.every, self.average)
        self.low_precision(False)
        plan = self.plan
        ks = [VALIDATION_KS[i % 8] for i in range(plan.batch)]
        sums = torch.zeros(8, 3, device=self.train.device)
        frames = 9
        chosen, self.model.chosen = self.model.chosen, True
        for i in range(batches):
            crops = self.held.batch(np.random.default_rng((12345, i)), plan.batch // 8, frames, plan.crop)
            batch = cast(tuple[Tensor, Tensor, Tensor], tuple(x.repeat_interleave(8, 0) for x in crops))
            for t, coded in enumerate(unrolled(self.model, batch, ks)):
                psnr = -10 * torch.log10(coded.sse_y / plan.crop**2 / 255.0**2 + 1e-9)
                plain = (coded.sse_y + 3 * coded.sse_uv) / placed(ks, t, psnr.device).price.view(-1) + coded.bits
                row = torch.stack([plain / plan.crop**2, coded.bits / plan.crop**2, psnr], 1)
                sums += row.view(-1, 8, 3).mean(0) / (frames * batches)
        self.model.chosen = chosen
        self.low_precision(True)
        torch._foreach_copy_(self.every, kept)
        table = sums.cpu().numpy()
        scaled = table[:, 0] * [(nominal_step(level_of(k)) / 10.0) ** plan.balance for k in VALIDATION_KS]
        rows = "  ".join(f"{k}:{c:.4f}/{b:.4f}/{p:.2f}" for k, (c, b, p) in zip(VALIDATION_KS, table))
        return f"{scaled.mean():.5f}  {rows}"

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name; those of the networks in half precision, as they are released."""
        average = {id(p): a for p, a in zip(self.every, self.average)}
        out = {n: average.get(id(p), p).detach().cpu() for n, p in self.model.named_parameters()}
        return {n: (t.half() if n.startswith("backbone") else t).contiguous() for n, t in out.items()}

    def compile(self) -> None:
        """Merge a frame's operations, those between keyframes first; keeps to what works and gives the same."""
        merged = cast(Callable[..., Coded], torch.compile(self.model, dynamic=False))

        def between(luma: Tensor, chroma: Tensor, last: Any, *rest: Any) -> Coded:
            return (self.model if last is None else merged)(luma, chroma, last, *rest)

        for name, frame in (("between", between), ("all", merged)):
            began = time.monotonic()
            losses = []
            try:
                for way in (self.frame, frame):
                    loss = self.loss(np.random.default_rng(5), 3, way)
                    loss.backward()  # type: ignore[no-untyped-call]
                    norm = float(nn.utils.clip_grad_norm_(self.every, 1e9))
                    losses.append(float(loss.detach()))
                    self.optimizer.zero_grad(set_to_none=True)
                    self.say(f"{name}: loss {losses[-1]:.5f}, gradient {norm:.4f}, {time.monotonic() - began:.1f} s")
            except Exception as error:
                self.say(f"{name}: not compiled: {type(error).__name__} {str(error)[-1500:]}")
                return
            if not abs(losses[1] / losses[0] - 1) < 0.02:
                self.say(f"{name}: differs")
                return
            self.frame = frame

    def go(self, seconds: float, save: Callable[[dict[str, Tensor]], None], every: float = 40.0) -> None:
        """Train for so long, at least one step, saving between."""
        self.say(f"0 s, step 0: {self.validate()}")
        began = marked = time.monotonic()
        until, first, loss = began + seconds, 0, math.nan
        while (now := time.monotonic()) < until or not self.step:
            share = (now - began) / (until - began)
            value = self.update(share)
            loss = value if math.isnan(loss) else 0.98 * loss + 0.02 * value
            if self.step in (5, 25, 100) or now - marked > every:
                pace = (self.step - first) / (time.monotonic() - marked)
                self.say(
                    f"{now - began:.0f} s, step {self.step}, {pace:.2f} steps/s, loss {loss:.4f}, {self.usual:.3f}"
                )
                if self.step > 100:
                    self.say(f"{now - began:.0f} s, step {self.step}: {self.validate()}")
                    save(self.state())
                marked, first = time.monotonic(), self.step
        save(self.state())
        self.say(f"end, step {self.step}: {self.validate()}")


def unrolled(frame: Callable[..., Coded], batch: tuple[Tensor, Tensor, Tensor], ks: Sequence[int]) -> Iterable[Coded]:
    """Frames of a batch, each predicted from the one before."""
    luma, chroma, vectors = batch
    places = [placed(ks, t, luma.device) for t in range(luma.shape[1])]
    last: tuple[Tensor, Tensor] | None = None
    past = torch.zeros(len(luma), 96, luma.shape[3] // 8, luma.shape[4] // 8, device=luma.device)
    for t, at in enumerate(places):
        moved = vectors[:, t].contiguous()
        coded = frame(luma[:, t].contiguous(), chroma[:, t].contiguous(), last, past, moved, at)
        last, past = (coded.luma, coded.chroma), coded.indices
        yield coded


def grown(start: Codec, plan: Plan) -> Parts:
    """The start's networks, with the plan's loop filter."""
    sizes = {"filter_width": plan.filter_width, "filter_layers": plan.filter_layers}
    parts = new_parts("qae", {**start.config, "backbone": start.config["backbone"] | sizes})
    cast(Any, parts.backbone).grow_from(start.backbone)
    parts.quantizer.load_state_dict(start.quantizer.state_dict())
    return parts


def finished(state: dict[str, Tensor], plan: Plan, start: Codec, keep_keyframes: bool) -> Codec:
    """A codec of a run's state, with the start's tables; with its networks and steps of keyframes, if they are kept."""
    parts = grown(start, plan)
    context = ContextNet(ContextConfig(96, key_width=start.entropy.net.keys.width))
    for prefix, module in (("backbone.", parts.backbone), ("codebook.", parts.quantizer), ("context.", context)):
        module.load_state_dict({n.removeprefix(prefix): t.float() for n, t in state.items() if n.startswith(prefix)})
    integers = context.freeze()
    kept = () if plan.contexts else ("context.inter.",)
    if keep_keyframes:
        kept = (*kept, "context.key.")
        for name in ("refine", "analysis", "synthesis"):
            parts.backbone.get_submodule(name).load_state_dict(start.backbone.get_submodule(name).state_dict())
        for mine, theirs in zip(parts.quantizer.parameters(), start.quantizer.parameters(), strict=True):
            mine.data[KEY] = theirs.data[KEY]
    integers |= {n: t for n, t in start.entropy.tensors().items() if n.startswith(kept)}  # to the last bit
    # weights are released in half precision, exactly
    for tensor in (*parts.backbone.parameters(), *parts.quantizer.parameters()):
        tensor.data = tensor.data.half().float()
    old: FrameEntropy = start.entropy
    return assemble("qae", parts, FrameEntropy(FrozenContext(integers), old.index_tables, old.side_tables, old.trees))


def main() -> None:
    """Train, count and save."""
    from vcodec.datasets.base import Preparation
    from vcodec.datasets.footage import Footage, FootageConfig
    from vcodec.training.adapting import recounted

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--start", default="qae")
    parser.add_argument("--filter", default="24x3", help="channels x layers of the loop filter")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--contexts", action="store_true", help="train those of all frames along")
    parser.add_argument("--nearest", action="store_true", help="quantize to the nearest level")
    parser.add_argument("--keep-keyframes", action="store_true", help="keep their networks and steps as they were")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--from-state", type=Path, help="train nothing: only count and save")
    parser.add_argument("--counted", type=int, default=4000, help="frames")
    args = parser.parse_args()
    width, layers = map(int, args.filter.split("x"))
    plan = Plan(width, layers, args.contexts, not args.nearest, args.batch, args.crop)
    start = load_codec(args.start)
    footage = Footage.open([args.footage], FootageConfig(), Preparation(args.output.with_suffix(".cache")))
    train, held = footage.split(9)
    if args.from_state:
        state = load_file(args.from_state)
    else:
        device = torch.device(args.device)
        material = Material(train.clips, device), Material(held.clips, device)
        run = Training(plan, start, *material, lambda text: print(text, flush=True))
        if args.compile:
            run.compile()
        run.go(60 * args.minutes, lambda tensors: None)
        state = run.state()
    if args.state:
        save_file(state, args.state)
    codec = finished(state, plan, start, args.keep_keyframes)
    if args.counted:
        runs = [[run] for clip in train.runs() for run in clip if len(run.luma) >= 16]
        codec = recounted(codec, runs, frames=args.counted, grow=True)
    save_codec(codec, args.output)


if __name__ == "__main__":
    main()
