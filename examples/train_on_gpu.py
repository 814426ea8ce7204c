"""Train qae on a GPU, on from a release: what is between keyframes, over whole GOPs, as an encoder codes them.

    python examples/train_on_gpu.py record FOOTAGE -o MATERIAL [--jobs 2]       (CPU)
    python examples/train_on_gpu.py train MATERIAL -o STATE.safetensors [--filter 24x3] [--minutes 9] [--compile]
    python examples/train_on_gpu.py count FOOTAGE STATE.safetensors -o gpu.safetensors       (CPU)

record codes the footage with the release and keeps frames and the vectors that its encoder sent; every ninth clip is
held back.  train differs from ``vcodec train --recipe qae`` in what a GPU makes possible: groups of crops, each at its
own place in a GOP of 48 frames, take turns (training/gops.py); a frame is one call that torch.compile may merge
(training/unrolled.py); indices are chosen as an encoder chooses them; what only keyframes have stays the start's.  At
the end contexts are trained alone.  The averaged weights are kept.  count grows trees of side information and counts
tables for them.

The ninth release of qae: 9 minutes on an H100 beside another run (--compile, 1,546 steps and 131 of contexts; footage
encoded again to be sent there).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vcodec.backbones.layers import Stack
from vcodec.backbones.qae import KEY
from vcodec.checkpoint import Parts, assemble, load_codec, new_parts, save_codec
from vcodec.codec import Codec
from vcodec.entropy.context import ContextConfig, ContextNet, FrozenContext
from vcodec.entropy.frames import FrameEntropy
from vcodec.scale import level_of, nominal_step
from vcodec.training.gops import GOP, Group, Material, record
from vcodec.training.measure import draw_ks
from vcodec.training.unrolled import Coded, Unrolled, placed

FLOOR = 0.3  # squared levels: so that no ratio is of nothing
VALIDATION_KS = (2, 4, 8, 16, 32, 64, 128, 256)
# shares of the learning rate, by part of a parameter's name: the first that fits
RATES = {"basis": 0.02, "loop_filter": 1.5, "codebook": 0.3}
TRAINED = (*RATES, "context.")  # keyframes' networks among them are left out
KEYS_OWN = ("refine", "analysis", "synthesis", "context.keys")
Save = Callable[[dict[str, Tensor]], None]


@dataclass(frozen=True)
class Plan:
    """A run."""

    filter_width: int = 24
    filter_layers: int = 3
    batch: int = 32
    crop: int = 256
    groups: int = 8
    windows: tuple[int, ...] = (8, 16, 16, 24)  # frames of an unroll, by equal parts of the run; GOP is a multiple
    rate: float = 6e-4
    warm_up: int = 200
    contexts: float = 0.12  # of the run: contexts alone
    curve: bool = False  # minimize what a BD-rate counts in place of distortion + λ·bits
    slope: float = 1.15  # what a ratio of squared errors is worth, as a ratio of rates: that of the usual curves
    balance: float = 0.5  # of small and large K in the other
    average: float = 0.999
    clip_norm: float = 1.5


class Training:
    """One training run: a start, material, and what comes of it."""

    def __init__(
        self,
        plan: Plan,
        start: Codec,
        train: Material,
        held: Material,
        say: Callable[[str], None],
        state: dict[str, Tensor] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.plan, self.train, self.held, self.say, self.seed = plan, train, held, say, seed
        torch.manual_seed(seed)
        parts = grown(start, plan)
        context = ContextNet(ContextConfig(96, key_width=start.entropy.net.keys.width))
        context.thaw(start.entropy.tensors())
        backbone, codebook = cast(Any, parts.backbone), cast(Any, parts.quantizer)
        self.model = Unrolled(backbone, codebook, context, plan.crop).to(train.device)
        if state is not None:
            self.model.load_state_dict({n: t.float() for n, t in state.items()}, strict=False)
        self.networks, self.contexts = [], []
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(False)
            if any(part in name for part in KEYS_OWN) or not any(part in name for part in TRAINED):
                continue
            if "context." in name:
                self.contexts.append(parameter)
                continue
            groups.setdefault(next(s for part, s in RATES.items() if part in name), []).append(parameter)
            self.networks.append(parameter.requires_grad_(True))
        self.optimizer = self._adam([{"params": g, "share": s} for s, g in groups.items()])
        self.every, self.average = self.networks, [p.detach().clone() for p in self.networks]
        self.frame: Callable[..., Coded] = self.model
        self.step, self.usual = 0, math.nan
        self.groups: list[Group | None] = [None] * plan.groups
        self.low_precision(True)

    def _adam(self, groups: list[dict[str, Any]]) -> torch.optim.Adam:
        return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=self.train.device.type == "cuda")

    def low_precision(self, on: bool) -> None:
        """bf16 inside the networks."""
        for module in self.model.modules():
            if hasattr(module, "low_precision"):
                module.low_precision = on  # type: ignore[assignment]

    def coded(self, material: Material, group: Group, count: int, frame: Callable[..., Coded]) -> Any:
        """(each of a group's next frames, the group after it)."""
        luma, chroma, vectors = material.frames(group, count)
        for t in range(count):
            at = placed(group.ks, group.done, luma.device)
            now = luma[:, t].contiguous(), chroma[:, t].contiguous()
            if group.last is None:
                past = torch.zeros(len(luma), 96, luma.shape[3] // 8, luma.shape[4] // 8, device=luma.device)
                out = self.model(*now, None, past, vectors[:, t], at)
                key = out.bits.detach()
                group = group._replace(memory=(out.luma, out.chroma), key_bits=key, other_bits=torch.zeros_like(key))
            else:
                out = frame(*now, group.last, group.past, vectors[:, t].contiguous(), at, group.memory)
                group = group._replace(other_bits=cast(Tensor, group.other_bits) + out.bits.detach())
            group = group._replace(done=group.done + 1, last=(out.luma, out.chroma), past=out.indices.detach())
            yield out, group

    def lost(self, out: Coded) -> Tensor:
        """Logarithm of a frame's squared error [B], planes as in psnr_yuv."""
        area = self.plan.crop**2
        luma, chroma = out.sse_y / area + FLOOR, out.sse_uv / (area / 2) + FLOOR
        return 0.75 * luma.log() + 0.25 * chroma.log()

    def loss(self, number: int, count: int, frame: Callable[..., Coded]) -> Tensor:
        """Of the next frames of a group, which moves on."""
        plan = self.plan
        group = self.groups[number]
        if group is None or group.done + count > self.train.gop:
            rng = np.random.default_rng((self.seed, self.step))
            ks = [int(k) for k in rng.permutation(draw_ks(rng, plan.batch, ()))]
            group = self.train.group(rng, rng.integers(len(self.train), size=plan.batch).tolist(), ks)
        sent, quality, cost = torch.zeros(3, plan.batch, device=self.train.device)
        for out, after in self.coded(self.train, group, count, frame):
            sent, quality, cost, group = sent + out.bits, quality + self.lost(out), cost + out.cost, after
        if plan.curve:
            total = sent / group.rate() + plan.slope * quality
        else:
            weight = torch.tensor([(nominal_step(level_of(k)) / 10.0) ** plan.balance for k in group.ks])
            total = cost * weight.to(cost) / plan.crop**2
        last, memory = (tuple(plane.detach() for plane in cast(Any, planes)) for planes in (group.last, group.memory))
        self.groups[number] = group._replace(last=cast(Any, last), memory=cast(Any, memory))
        mean: Tensor = total.mean() / count
        return mean

    def update(self, share: float, rate: float) -> float:
        """One step at a share of the run; returns its loss."""
        plan = self.plan
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        count = plan.windows[min(len(plan.windows) - 1, int(share * len(plan.windows)))]
        loss = self.loss(self.step % plan.groups, count, self.frame)
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
    def validate(self) -> str:
        """The averaged weights over held-back GOPs: what --curve minimizes, and by K bits a sample and luma PSNR."""
        kept = [p.detach().clone() for p in self.every]
        torch._foreach_copy_(self.every, self.average)
        self.low_precision(False)
        ks, area = list(VALIDATION_KS), self.plan.crop**2
        sums, worth = torch.zeros(len(ks), 2, device=self.train.device), 0.0
        for first in range(0, len(self.held), 4):
            picks = range(first, min(first + 4, len(self.held)))
            group = self.held.group(None, [i for i in picks for _ in ks], ks * len(picks))
            lost = torch.zeros(len(ks) * len(picks), device=self.train.device)
            for out, after in self.coded(self.held, group, self.held.gop, self.model):
                lost, group = lost + self.lost(out) / self.held.gop, after
                psnr = -10 * torch.log10(out.sse_y / area / 255.0**2 + 1e-9)
                rows = torch.stack([out.bits / area, psnr], 1)
                sums += rows.view(len(picks), len(ks), 2).sum(0) / (self.held.gop * len(self.held))
            rate = (group.rate() / area).log()
            worth += float((rate + self.plan.slope * lost).sum()) / (len(ks) * len(self.held))
        self.low_precision(True)
        torch._foreach_copy_(self.every, kept)
        return f"{worth:.5f}  " + "  ".join(f"{k}:{b:.4f}/{p:.2f}" for k, (b, p) in zip(ks, sums.cpu().numpy()))

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name; those of the networks in half precision, as they are released."""
        average = {id(p): a for p, a in zip(self.every, self.average)}
        out = {n: average.get(id(p), p).detach().cpu() for n, p in self.model.named_parameters()}
        return {n: (t.half() if n.startswith("backbone") else t).contiguous() for n, t in out.items()}

    def compile(self) -> None:
        """Merge a frame's operations; keeps to what works and gives the same."""
        merged = cast(Callable[..., Coded], torch.compile(self.model, dynamic=False))
        began, losses = time.monotonic(), []
        try:
            for way in (self.frame, merged):
                self.groups[0] = None
                loss = self.loss(0, 3, way)
                loss.backward()  # type: ignore[no-untyped-call]
                norm = float(nn.utils.clip_grad_norm_(self.every, 1e9))
                losses.append(float(loss.detach()))
                self.optimizer.zero_grad(set_to_none=True)
                self.say(f"loss {losses[-1]:.5f}, gradient {norm:.4f}, {time.monotonic() - began:.1f} s")
        except Exception as error:
            self.say(f"not compiled: {type(error).__name__} {str(error)[-1500:]}")
        else:
            if abs(losses[1] / losses[0] - 1) < 0.02:
                self.frame = merged
        self.groups[0] = None

    def run(self, seconds: float, rate: float, save: Save, said: float) -> None:
        """Steps for so long, at least one; validates and saves every ``said`` seconds."""
        began = marked = time.monotonic()
        first, loss = self.step, math.nan
        while (now := time.monotonic()) < began + seconds or self.step == first:
            share = (now - began) / seconds
            ramp = min(1.0, (self.step - first + 1) / self.plan.warm_up)
            value = self.update(share, ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))) * rate)
            loss = value if math.isnan(loss) else 0.98 * loss + 0.02 * value
            if now - marked > said:
                self.say(f"{now - began:.0f} s, step {self.step}, loss {loss:.4f}, {self.usual:.3f}: {self.validate()}")
                save(self.state())
                marked = time.monotonic()

    def go(self, seconds: float, save: Save, said: float) -> None:
        """Train the networks for so long, then the contexts; saves after each, and every ``said`` seconds."""
        plan = self.plan
        self.say(f"0 s: {self.validate()}")
        self.run((1 - plan.contexts) * seconds, plan.rate, save, said)
        with torch.no_grad():
            torch._foreach_copy_(self.networks, self.average)
        self.say(f"networks, step {self.step}: {self.validate()}")
        save(self.state())
        for p in self.networks:
            p.requires_grad_(False)
        self.every = [p.requires_grad_(True) for p in self.contexts]
        self.average, self.usual = [p.detach().clone() for p in self.every], math.nan
        self.optimizer, self.frame = self._adam([{"params": self.every, "share": 0.5}]), self.model
        self.run(plan.contexts * seconds, plan.rate, save, said)
        self.say(f"end, step {self.step}: {self.validate()}")
        save(self.state())


def grown(start: Codec, plan: Plan) -> Parts:
    """The start's networks, with the plan's loop filter: grown from the start's, or its strongest channels."""
    sizes = {"filter_width": plan.filter_width, "filter_layers": plan.filter_layers}
    parts = new_parts("qae", {**start.config, "backbone": start.config["backbone"] | sizes})
    mine, old = cast(Any, parts.backbone), cast(Any, start.backbone)
    if plan.filter_width >= old.config.filter_width and plan.filter_layers >= old.config.filter_layers:
        mine.grow_from(old)
    else:
        kept = {n: t for n, t in old.state_dict().items() if not n.startswith("loop_filter")}
        mine.load_state_dict(kept, strict=False)
        if plan.filter_layers == old.config.filter_layers:
            narrowed(mine.loop_filter, old.loop_filter)
    parts.quantizer.load_state_dict(start.quantizer.state_dict())
    return parts


@torch.no_grad()
def narrowed(mine: Stack, old: Stack) -> None:
    """Take over the channels of a wider stack that weigh most, by norms of what makes them and of what reads them."""
    layers = [[s.first, *(cast(nn.Conv2d, m) for m in s.middle), s.last] for s in (mine, old)]
    kept = torch.arange(old.first.in_channels)
    for i, (conv, wide) in enumerate(zip(*layers, strict=True)):
        before = kept
        kept = torch.arange(wide.out_channels)
        if wide is not old.last:
            made, read = wide.weight, layers[1][i + 1].weight.transpose(0, 1)
            strength = made.flatten(1).norm(dim=1) * read.flatten(1).norm(dim=1)
            kept = strength.topk(conv.out_channels).indices.sort().values
        conv.weight.copy_(wide.weight[kept][:, before])
        cast(Tensor, conv.bias).copy_(cast(Tensor, wide.bias)[kept])
        if i == 0:
            mine.offset.table.copy_(old.offset.table[:, :, kept])


def finished(state: dict[str, Tensor], start: Codec, contexts: bool) -> Codec:
    """A codec of a run's state, with the start's tables and what is its keyframes' own; contexts: the run's, too."""
    layers = 2 + sum("loop_filter.middle" in n and n.endswith("weight") for n in state)
    parts = grown(start, Plan(len(state["backbone.loop_filter.first.weight"]), layers))
    context = ContextNet(ContextConfig(96, key_width=start.entropy.net.keys.width))
    for prefix, module in (("backbone.", parts.backbone), ("codebook.", parts.quantizer), ("context.", context)):
        module.load_state_dict({n.removeprefix(prefix): t.float() for n, t in state.items() if n.startswith(prefix)})
    kept = "context.key." if contexts else "context."
    integers = context.freeze() | {n: t for n, t in start.entropy.tensors().items() if n.startswith(kept)}
    for mine, theirs in zip(parts.quantizer.parameters(), start.quantizer.parameters(), strict=True):
        mine.data[KEY] = theirs.data[KEY]
    # weights are released in half precision, exactly
    for tensor in (*parts.backbone.parameters(), *parts.quantizer.parameters()):
        tensor.data = tensor.data.half().float()
    old: FrameEntropy = start.entropy
    return assemble("qae", parts, FrameEntropy(FrozenContext(integers), old.index_tables, old.side_tables, old.trees))


def train(args: argparse.Namespace) -> None:
    """Write the state of a run, and its log to stdout."""
    width, layers = map(int, args.filter.split("x"))
    plan = Plan(width, layers, args.batch, args.crop, windows=tuple(args.windows), curve=args.curve)
    began = time.monotonic()
    start, device = load_codec(args.start), torch.device(args.device)
    files = sorted(args.material.glob("*.npz"))
    clips = sorted({path.name.split(".")[0] for path in files})
    held = set(clips[8::9]) or set(clips[:1])
    parts = [[p for p in files if (p.name.split(".")[0] in held) == back] for back in (False, True)]
    material = [Material(part, plan.crop, device) for part in parts]
    state = load_file(args.state) if args.state else None
    run = Training(plan, start, material[0], material[1], lambda text: print(text, flush=True), state)
    if args.compile:
        run.compile()
    run.go(60 * args.minutes - (time.monotonic() - began), lambda state: save_file(state, args.output), args.said)


def count(args: argparse.Namespace) -> None:
    """From a run's state to a codec."""
    from vcodec.datasets.base import Preparation
    from vcodec.datasets.footage import Footage, FootageConfig
    from vcodec.training.adapting import recounted

    codec = finished(load_file(args.state), load_codec(args.start), args.contexts)
    if args.frames:
        footage = Footage.open([args.footage], FootageConfig(), Preparation(args.output.with_suffix(".cache")))
        runs = [[run] for clip in footage.split(9)[0].runs() for run in clip if len(run.luma) >= 16]
        codec = recounted(codec, runs, frames=args.frames, grow=True)
    save_codec(codec, args.output)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="qae")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("record")
    verb.add_argument("footage", type=Path)
    verb.add_argument("-o", "--output", type=Path, required=True)
    verb.add_argument("--gop", type=int, default=GOP)
    verb.add_argument("--jobs", type=int, default=2)
    verb = verbs.add_parser("train")
    verb.add_argument("material", type=Path)
    verb.add_argument("-o", "--output", type=Path, required=True)
    verb.add_argument("--filter", default="24x3", help="channels x layers of the loop filter")
    verb.add_argument("--state", type=Path, help="of a run, to go on from")
    verb.add_argument("--minutes", type=float, default=9.0, help="compiling is part of it")
    verb.add_argument("--said", type=float, default=120.0, help="seconds between validations")
    verb.add_argument("--batch", type=int, default=Plan.batch)
    verb.add_argument("--crop", type=int, default=Plan.crop)
    verb.add_argument("--windows", type=int, nargs="+", default=Plan.windows)
    verb.add_argument("--curve", action="store_true", help="minimize what a BD-rate counts")
    verb.add_argument("--compile", action="store_true")
    verb.add_argument("--device", default="cuda")
    verb = verbs.add_parser("count")
    verb.add_argument("footage", type=Path)
    verb.add_argument("state", type=Path)
    verb.add_argument("-o", "--output", type=Path, required=True)
    verb.add_argument("--contexts", action="store_true", help="the run's, too")
    verb.add_argument("--frames", type=int, default=4000, help="coded to count tables; 0: the start's are left")
    args = parser.parse_args()
    if args.verb == "record":
        record(args.footage, args.output, args.start, gop=args.gop, jobs=args.jobs)
    else:
        {"train": train, "count": count}[args.verb](args)


if __name__ == "__main__":
    main()
