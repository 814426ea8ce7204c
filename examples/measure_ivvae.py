"""Time an IV-VAE against its structure written down plainly (tests/plain_ivvae.py), in one run, in turns.

Beside the time it takes it prints the CPU time, which other work on the machine changes less (with one thread).

python examples/measure_ivvae.py --preset z16 --size 128 --frames 17 --threads 2 --repeats 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from tests.plain_ivvae import PlainIVVAE
from vcodec.backbones.base import Grid
from vcodec.backbones.ivvae import IVVAE, PRESETS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="z16")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = PRESETS[args.preset]
    model = IVVAE(config).eval()
    plain = PlainIVVAE(dict(model.state_dict()), config.scale, config.shift)
    clip = torch.rand(1, 3, args.frames, args.size, args.size)
    latent = torch.randn(1, *model.latent_shape(model.codable_grid(Grid(*clip.shape[2:]))))

    def streamed_encode() -> torch.Tensor:
        state, out = None, []
        for part in torch.split(clip, [1] + [4] * ((args.frames - 1) // 4), 2):
            made, state = model.encode(part, state)
            out.append(made.values)
        return torch.cat(out, 2)

    def streamed_decode() -> torch.Tensor:
        state, out = None, []
        for part in latent.split(1, 2):
            made, state = model.decode(part, state)
            out.append(made)
        return torch.cat(out, 2)

    jobs: dict[str, Callable[[], Any]] = {
        "encode plain": lambda: plain.encode(clip * 2 - 1),
        "encode single-step": lambda: model.encode(clip)[0].values,
        "encode streamed": streamed_encode,
        "decode plain": lambda: plain.decode(latent) / 2 + 0.5,
        "decode single-step": lambda: model.decode(latent)[0],
        "decode streamed": streamed_decode,
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    outputs = {}
    with torch.inference_mode():
        for _ in range(args.repeats):
            for name, job in jobs.items():
                began, used = time.perf_counter(), time.process_time()
                outputs[name] = job()
                seconds[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - used)
    for name in jobs:
        plainly = f"{name.split()[0]} plain"
        parts = []
        for took, what in ((seconds, "s"), (cpu, "s of CPU")):
            middle, base = (sorted(took[n])[len(took[n]) // 2] for n in (name, plainly))
            parts.append(f"{middle:7.2f} {what} {base / middle:5.2f}x")
        error = (outputs[name] - outputs[plainly]).abs().max().item()
        print(f"{name:20s} {'  '.join(parts)}  largest difference {error:.1e}")


if __name__ == "__main__":
    main()
