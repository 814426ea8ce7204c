"""Train the keyframes of the sixth release of qae, and nothing else of it: on from a release, with larger networks.

    python examples/train_keyframes.py FOOTAGE -o keyframes.safetensors [--start qae] [--minutes 60]

What `vcodec train --recipe qae-keyframes` does, with three things more that this release had: a keyframe's squared
error weighs 1.7, as all of its GOP starts from it; three batches in ten are of pictures at half their size; half are
mirrored.  Tables are counted anew in the end, on 4,000 frames of what was trained on.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vcodec import training
from vcodec.backbones.layers import pack_yuv420, unpack_yuv420
from vcodec.backbones.qae import CHROMA_WEIGHT
from vcodec.checkpoint import assemble, load_codec, save_codec
from vcodec.datasets.base import Batch, Dataset, Preparation
from vcodec.datasets.footage import Footage, FootageConfig
from vcodec.entropy.context import FrozenContext
from vcodec.entropy.frames import FrameEntropy
from vcodec.entropy.rate import laplace_bits
from vcodec.scale import level_of, nominal_step
from vcodec.training.adapting import recounted
from vcodec.training.objectives import new_objective
from vcodec.training.quantization import quantize_conditional
from vcodec.training.rate_distortion import RateDistortion

DISTORTION = 1.7
RATES = {"analysis": 0.3, "keys": 0.3, "codebook": 0.2}  # shares of the learning rate
RATE = 6e-4


def cost(model: RateDistortion, luma: Tensor, chroma: Tensor, ks: list[int]) -> Tensor:
    """Distortion + λ·bits a sample of luma, of each picture."""
    place, price, one_sided = model._placed(ks, 0, luma.device)
    net = model.backbone
    p = net.predicted(*net.from_thumbnail(net.thumbnail(luma, chroma)), place.level, True)
    values = net.analyse(pack_yuv420(luma, chroma), p)
    hat, soft, index = quantize_conditional(model.codebook, values, place, "straight-through")
    table, act = model.context.keyframe(index, place.level)
    coded = F.interpolate((act > 0).float(), scale_factor=2, mode="nearest")
    bits = (laplace_bits(soft, table, one_sided) * (coded + (1 - coded) * 0.05)).sum((1, 2, 3))
    shown_luma, shown_chroma = unpack_yuv420(net.synthesise(hat, p))
    off = (shown_luma - luma).square().sum((1, 2, 3))
    off = off + CHROMA_WEIGHT * (shown_chroma - chroma).square().sum((1, 2, 3))
    return (DISTORTION * off * 255.0**2 / price + bits) / luma[0].numel()


def batch(dataset: Dataset, step: int) -> tuple[Tensor, Tensor, list[int]]:
    """Eight crops of 192x192, and a K for each."""
    rng = np.random.default_rng((7, step))
    halved = rng.random() < 0.3
    crops = cast(Batch, dataset.batch(rng, 8, 1, 256 if halved else 192))
    luma, chroma = crops.luma[:, 0], crops.chroma[:, 0]
    if halved:
        luma, chroma = F.avg_pool2d(luma, 2), F.avg_pool2d(chroma, 2)
    if rng.random() < 0.5:
        luma, chroma = luma.flip(3), chroma.flip(3)
    return luma.contiguous(), chroma.contiguous(), [round(2 ** rng.uniform(1, 8)) for _ in range(8)]


def main() -> None:
    """Train, count and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--start", default="qae")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--counted", type=int, default=4000)
    args = parser.parse_args()
    torch.manual_seed(1)
    plan = training.load_recipe("qae-keyframes")
    start = load_codec(args.start)
    parts, objective = new_objective(plan, start)
    model = cast(RateDistortion, objective)
    folder = args.output.with_suffix(".cache")
    dataset, _ = Footage.open([args.footage], FootageConfig(), Preparation(folder)).split(plan.held_back)

    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            share = next((s for part, s in RATES.items() if part in name), 1.0)
            groups.setdefault(share, []).append(parameter)
    optimizer = torch.optim.Adam([{"params": g, "share": s} for s, g in groups.items()], betas=(0.9, 0.99))
    every = [p for group in groups.values() for p in group]
    average = {n: t.detach().clone() for n, t in model.state_dict().items()}
    for module in model.modules():
        if hasattr(module, "low_precision"):
            module.low_precision = True  # type: ignore[assignment]

    began, step, usual = time.monotonic(), 0, math.nan
    while (share := (time.monotonic() - began) / (60 * args.minutes)) < 1.0:
        rate = RATE * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        luma, chroma, ks = batch(dataset, step)
        weight = torch.tensor([nominal_step(level_of(k)) / 10.0 for k in ks]) ** plan.balance
        loss = (cost(model, luma, chroma, ks) * weight).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(every, 1.0 if math.isnan(usual) else 1.5 * usual))
        step += 1
        if not math.isfinite(norm):
            continue
        usual = norm if math.isnan(usual) else 0.98 * usual + 0.02 * min(norm, 2 * usual)
        optimizer.step()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                average[name].lerp_(tensor, 1 - min(0.998, (1 + step) / (10 + step)))
        if step % 100 == 0:
            print(f"step {step}, {100 * share:.0f} %, loss {loss.item():.4f}", flush=True)

    model.load_state_dict(average)
    for tensor in (*parts.backbone.parameters(), *parts.quantizer.parameters()):
        tensor.data = tensor.data.half().float()  # weights are released in half precision, exactly
    old: FrameEntropy = start.entropy
    net = FrozenContext(model.context.freeze())
    codec = assemble("qae", parts, FrameEntropy(net, old.index_tables, old.side_tables))
    runs = [[run] for clip in dataset.runs() for run in clip if len(run.luma) >= 16]
    save_codec(recounted(codec, runs, frames=args.counted), args.output)
    print(f"{args.output}: {step} steps")


if __name__ == "__main__":
    main()
