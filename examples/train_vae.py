"""Train the small video VAEs on a CPU: image VAE, inflation, then 9-frame clips (iv-vae, 4.2, without its GAN stage).

    python examples/train_vae.py DATA RUN --model ivvae --channels 16 --image-minutes 5 --minutes 25

RUN/image.safetensors and RUN/video.safetensors (averaged weights) are written every two minutes; with --resume the
stage goes on from there (the optimizer's moments start anew). Loss: mean absolute error + BETA · KL per element.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from vcodec.backbones.causalvae import CausalVAE, CausalVAEConfig, ImageVAE
from vcodec.backbones.inflation import inflate_causal, inflate_ktc
from vcodec.backbones.ivvae import IVVAE, IVVAEConfig
from vcodec.datasets.footage import video_files
from vcodec.media import open_video
from vcodec.media.pixels import RgbConverter


def load_runs(data: Path, cache: Path, length: int = 17, runs: int = 3) -> list[list[np.ndarray]]:
    """A few runs of consecutive RGB frames [T,H,W,3] of each video."""
    out = []
    cache.mkdir(parents=True, exist_ok=True)
    for path in video_files([data]):
        kept = cache / f"{path.stem}.npy"
        if not kept.exists():
            with open_video(path, audio=False) as reader:
                total = reader.info.frames or 300
                starts = np.linspace(0, max(0, total - length), runs).round().astype(int)
                convert = RgbConverter(reader.info)
                stack = [
                    convert(frame)
                    for number, frame in enumerate(reader.frames())
                    if any(s <= number < s + length for s in starts)
                ]
            np.save(kept, np.stack(stack[: len(stack) // length * length]))
        stack = np.load(kept, mmap_mode="r")
        out.append([stack[i : i + length] for i in range(0, len(stack), length)])
    return out


def batch(clips: list, rng: np.random.Generator, size: int, frames: int, crop: int) -> torch.Tensor:
    """Random crops [size,3,frames,crop,crop] in 0..1, mirrored and reversed in time at random."""
    parts = []
    for _ in range(size):
        runs = clips[rng.integers(len(clips))]
        run = runs[rng.integers(len(runs))]
        t, y, x = (int(rng.integers(n - m + 1)) for n, m in zip(run.shape, (frames, crop, crop)))
        part = run[t : t + frames, y : y + crop, x : x + crop]
        if rng.random() < 0.5:
            part = part[:, :, ::-1]
        if rng.random() < 0.5:
            part = part[::-1]
        parts.append(torch.from_numpy(np.ascontiguousarray(part)).permute(3, 0, 1, 2))
    return torch.stack(parts).float().div(255)


def psnr(model: torch.nn.Module, clips: list, frames: int, crop: int) -> float:
    rng, total = np.random.default_rng(1), 0.0
    with torch.inference_mode():
        for _ in range(8):
            clip = batch(clips, rng, 2, frames, crop)
            mse = (model(clip, sample=False)[0].clamp(0, 1) - clip).square().mean((1, 2, 3, 4))
            total += float((-10 * torch.log10(mse)).mean()) / 8
    return total


def train(model, clips, held, path: Path, minutes: float, lengths: list[int], crop: int, beta: float, rate: float):
    """One stage; lengths: frames of a clip, one for each equal part of it. Averaged weights end in `path` and model."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.0)
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    began, saved, step, smooth = time.monotonic(), time.monotonic(), 0, [0.0, 0.0]

    def use_average() -> dict[str, torch.Tensor]:
        kept = {n: p.detach().clone() for n, p in model.named_parameters()}
        model.load_state_dict(average)
        return kept

    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        frames = lengths[int(share * len(lengths))]
        clip = batch(clips, rng, 8 if frames == 1 else 2, frames, crop)
        out, posterior = model(clip)
        mae = (out - clip).abs().mean() * 2
        mean, std = posterior
        kl = (0.5 * (mean.square() + std.square() - 1) - torch.log(std)).mean()
        (mae + beta * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for n, p in model.named_parameters():
                average[n].lerp_(p, 1 - decay)
        step += 1
        smooth = [0.98 * a + 0.02 * float(b) if step > 1 else float(b) for a, b in zip(smooth, (mae, kl))]
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            save_file(average, path)
            kept = use_average()
            value = psnr(model.eval(), held, lengths[-1], 64)
            model.load_state_dict(kept)
            model.train()
            line = {"stage": path.stem, "step": step, "share": round(share, 3), "mae": smooth[0], "kl": smooth[1]}
            print(json.dumps(line | {"psnr": round(value, 3)}), flush=True)
    use_average()
    save_file(average, path)
    print(
        json.dumps({"stage": path.stem, "steps": step, "psnr": psnr(model.eval(), held, lengths[-1], 64)}), flush=True
    )


@torch.no_grad()
def narrow(wide: IVVAE, video: IVVAE, clips: list) -> None:
    """Start an IV-VAE from one of more latent channels: each half's latent projected on its principal directions."""
    rng, many, few = np.random.default_rng(2), wide.latent_channels, video.latent_channels
    posteriors = [wide.posterior(batch(clips, rng, 2, 5, 64))[0] for _ in range(24)]
    means = torch.cat([p.mean.transpose(0, 1).flatten(1) for p in posteriors], 1)
    down, h, f = torch.zeros(few, many), many // 2, few // 2
    for half in range(2):
        part = means[half * h : half * h + h]
        vectors = torch.linalg.eigh(torch.cov(part)).eigenvectors.flip(1)[:, :f]
        down[half * f : half * f + f, half * h : half * h + h] = vectors.T
    middle = means.mean(1)
    for name, tensor in video.state_dict().items():
        if tensor.shape == wide.state_dict()[name].shape:
            tensor.copy_(wide.state_dict()[name])
    pac, own = wide.encoder.head["2"], video.encoder.head["2"]
    # mean = C · P · [parts of the atrous convolutions]; all linear, so the projection moves into their weights
    c = torch.cat([wide.conv1.conv_2d.weight[:, :, 0, 0], wide.conv1.conv_3d.weight[:, :, 0, 0, 0]])
    rows = torch.cat([torch.arange(h), many + torch.arange(h)])  # the means among [mu2D, logvar2D, mu3D, logvar3D]
    to_mean = down @ c[rows] @ pac.PAC_conv.conv.weight[:, :, 0, 0]  # [few, 12·many]
    own.PAC_conv.conv.weight.zero_()
    own.PAC_conv.conv.bias.zero_()
    count = len(pac.RATES)
    for i, rate in enumerate(pac.RATES):
        columns = torch.cat([torch.arange(i * many, (i + 1) * many), (count + i) * many + torch.arange(many)])
        source, target = pac.get_submodule(f"PAC_{rate}").conv, own.get_submodule(f"PAC_{rate}").conv
        target.weight[:few] = torch.einsum("oi,ichw->ochw", to_mean[:, columns], source.weight)
        target.bias[:few] = to_mean[:, columns] @ source.bias
        own.PAC_conv.conv.weight[:few, i * few : (i + 1) * few, 0, 0] = torch.eye(few)
    own.PAC_conv.conv.bias[:few] = (down @ c[rows] @ pac.PAC_conv.conv.bias)[:few]
    bias = torch.cat([wide.conv1.conv_2d.bias, wide.conv1.conv_3d.bias])[rows]
    for half, conv in enumerate((video.conv1.conv_2d, video.conv1.conv_3d)):
        conv.weight.zero_()
        conv.weight.flatten(1)[torch.arange(f), half * f + torch.arange(f)] = 1
        conv.bias[:f] = (down @ bias - down @ middle)[half * f : half * f + f]
        conv.bias[f:] = -3.0
    flat = torch.cat([wide.conv2.conv_2d.weight[:, :, 0, 0], wide.conv2.conv_3d.weight[:, :, 0, 0, 0]])
    kernel = wide.decoder.conv1.conv.weight
    video.decoder.conv1.conv.weight.copy_(torch.einsum("ochw,cz->ozhw", kernel, flat @ down.T))
    offset = flat @ middle + torch.cat([wide.conv2.conv_2d.bias, wide.conv2.conv_3d.bias])
    video.decoder.conv1.conv.bias.copy_(wide.decoder.conv1.conv.bias + torch.einsum("ochw,c->o", kernel, offset))
    for half, conv in enumerate((video.conv2.conv_2d, video.conv2.conv_3d)):
        conv.weight.zero_()
        conv.weight.flatten(1)[torch.arange(f), half * f + torch.arange(f)] = 1
        conv.bias.zero_()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", choices=("ivvae", "causalvae"), default="ivvae")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--base", type=int, default=8)
    parser.add_argument("--image-minutes", type=float, default=5)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--beta", type=float, default=5e-4)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--start", type=Path, help="video.safetensors of an IV-VAE of more channels")
    parser.add_argument("--start-channels", type=int, default=16)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    args.run.mkdir(parents=True, exist_ok=True)
    clips = load_runs(args.data, args.run.parent / "footage")
    held, clips = clips[8::9], [c for i, c in enumerate(clips) if i % 9 != 8]
    z = args.channels
    image = ImageVAE(CausalVAEConfig(z // 2 if args.model == "ivvae" else z, args.base))
    video = IVVAE(IVVAEConfig(z, args.base)) if args.model == "ivvae" else CausalVAE(CausalVAEConfig(z, args.base))
    image_path, video_path = args.run / "image.safetensors", args.run / "video.safetensors"
    if args.resume and video_path.exists():
        video.load_state_dict(load_file(video_path))
    elif args.start:
        wide = IVVAE(IVVAEConfig(args.start_channels, args.base))
        wide.load_state_dict(load_file(args.start))
        narrow(wide, video, clips)
        print(json.dumps({"stage": "narrowed", "psnr": psnr(video.eval(), held, 9, 64)}), flush=True)
        video.train()
    else:
        if args.resume and image_path.exists():
            image.load_state_dict(load_file(image_path))
        else:
            train(image, clips, held, image_path, args.image_minutes, [1], args.crop, args.beta, args.rate)
        (inflate_ktc if args.model == "ivvae" else inflate_causal)(image, video)
    train(video, clips, held, video_path, args.minutes, [5, 5, 9], args.crop, args.beta, args.rate / 2)


if __name__ == "__main__":
    main()
