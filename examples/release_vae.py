"""Make a codec of a trained small VAE: scale and shift, half precision, quantizer, tables; and measure its latents.

    python examples/release_vae.py RUN/video.safetensors DATA -o ivvae-z16-small.safetensors --codec ivvae:z16-small

Printed for each K, on clips held back from training: bits per element of the payload, its share of a bf16 .pt, and the
PSNR of decode(q(mean)) and decode(mean) against the source.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from vcodec.checkpoint import new_parts, save_codec
from vcodec.codec import Codec
from vcodec.datasets.clips import rgb_clips
from vcodec.datasets.footage import video_files
from vcodec.entropy.tables import SymbolWriter
from vcodec.training.latents import calibrate, posteriors


def measure(codec: Codec, clips: list[torch.Tensor], k: int) -> dict[str, float]:
    """Bits per element and loss of quantization, over clips."""
    bits = elements = 0.0
    psnr = {"mean": 0.0, "quantized": 0.0}
    with torch.inference_mode():
        for clip in clips:
            mean = codec.backbone.posterior(clip[None])[0].mean
            writer = SymbolWriter()
            plan = codec.entropy.choose(mean, {}, None, codec.quantizer, None, k, 0)
            codec.entropy.emit(writer, plan)
            bits += 8 * len(writer.finish())
            elements += mean.numel()
            t, h, w = clip.shape[1:]
            for name, latent in (("mean", mean), ("quantized", plan.hat)):
                out = codec.backbone.decode(latent)[0][0, :, :t, :h, :w].clamp(0, 1)
                psnr[name] += float(-10 * torch.log10((out - clip).square().mean())) / len(clips)
    return {
        "k": k,
        "bits_per_element": round(bits / elements, 3),
        "share_of_bf16": round(bits / elements / 16, 4),
        "psnr_mean": round(psnr["mean"], 3),
        "psnr_quantized": round(psnr["quantized"], 3),
        "loss_db": round(psnr["mean"] - psnr["quantized"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--notes", default="{}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = video_files([args.data])
    held, used = files[8::9], [f for i, f in enumerate(files) if i % 9 != 8]
    parts = new_parts(args.codec)
    parts.backbone.load_state_dict({n: t.half().float() for n, t in load_file(args.weights).items()})
    clips = list(rgb_clips(used, runs=2))
    raw = torch.cat([item.mean.flatten(1) for item in posteriors(parts.backbone.eval(), clips)], 1)
    scaling = {"scale": round(1 / float(raw.std()), 4), "shift": round(float(raw.mean()), 4)}
    ready = new_parts(args.codec, {"backbone": scaling})
    ready.backbone.load_state_dict(parts.backbone.state_dict())
    codec = calibrate(args.codec, ready, posteriors(ready.backbone.eval(), clips))
    tests = list(rgb_clips(held, runs=2, seed=1))
    points = [measure(codec, tests, k) for k in (8, 16, 32, 64, 128, 256)]
    for point in points:
        print(json.dumps(point), flush=True)
    save_codec(codec, args.output, json.loads(args.notes) | scaling | {"latents": points, "clips": len(clips)})
    print(json.dumps({"sha256": codec.weights_sha256.hex(), "bytes": args.output.stat().st_size} | scaling))


if __name__ == "__main__":
    main()
