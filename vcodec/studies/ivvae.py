"""`vcodec study ivvae`: the ablation of iv-vae (tables 4 and 5, figure 1b) at equal steps on the same clips.

    image VAE of z, 1.5 base ─► inflate ─► causal, gcconv                  ─┬─► clips ─► held-back clips: PSNR, SSIM
    image VAE of z/2, base   ─► inflate ─► ktc, gcconv-ktc, ivvae, 3d-3d   ─┘

One image VAE serves all seeds; a seed changes what the video stage draws: clips, noise, and new layers' weights.
Finished models are not trained again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from vcodec.backbones.ablation import VARIANTS
from vcodec.backbones.causalvae import ImageVAE
from vcodec.backbones.inflation import inflate
from vcodec.backbones.videovae import VideoVAE
from vcodec.datasets import open_dataset
from vcodec.datasets.base import Batch, Dataset, Preparation
from vcodec.errors import InputError
from vcodec.models import device_named
from vcodec.studies.fitting import Fit, History, claim, fit
from vcodec.studies.ivvae_report import summarize, write_report
from vcodec.studies.reconstructing import measure_clips
from vcodec.training.vae import VAE, VAEConfig

__all__ = ["CHANNELS", "MAIN", "SCALES", "Plan", "Scale", "Study", "plans", "run"]

MAIN = ("causal", "gcconv", "ktc", "gcconv-ktc", "ivvae")  # table 4
BRANCHES = "3d-3d"  # table 5, beside ivvae
BY_CHANNELS = ("causal", "ivvae")  # table 1
CHANNELS = (8, 4, 16)  # the first is the main ablation's
HELD_BACK = 9  # one clip of so many
_LOOKS_SEED, _CLIPS_SEED = 10**6, 10**6 + 1


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    base: int
    """channels of a half at full resolution; one trunk has half as many more (64 and 96 in the paper)"""
    image_steps: int
    """of each image VAE"""
    image_batch: int
    image_crop: int
    steps: int
    """of each video VAE"""
    batch: int
    crop: int
    frames: int
    """of a clip trained on, 1+4n"""
    seeds: int
    """trainings of each row of table 4"""
    branch_seeds: int
    """of 3D+3D, table 5's"""
    clips: int
    """held-back clips measured"""
    side: int
    """their rows and columns"""
    shown: int
    """their frames, 1+4n"""
    interval: int = 1
    """frames of the source from one to the next: more is more motion (section 4.1 takes 3)"""
    held: int = 16
    """held-back clips whose loss is looked at while a model trains"""
    looks: int = 6
    """at the held-back loss, evenly over a training"""
    kl: float = 1e-6
    """weight of the divergence from N(0, 1), nats an element"""
    image_rate: float = 1e-3
    rate: float = 1e-3
    """learning rates at their top"""


SCALES = {
    "quick": Scale(
        base=4, image_steps=40, image_batch=2, image_crop=32, steps=10, batch=1, crop=32, frames=5, seeds=2,
        branch_seeds=1,
        clips=4, side=32, shown=9, held=4, looks=2,
    ),
    "hour": Scale(
        base=8, image_steps=2200, image_batch=2, image_crop=64, steps=240, batch=4, crop=32, frames=5, seeds=3,
        branch_seeds=1,
        clips=18, side=96, shown=9, interval=3, looks=6, rate=3e-4,
    ),
    "paper": Scale(
        base=64, image_steps=200_000, image_batch=16, image_crop=256, steps=300_000, batch=4, crop=256, frames=17,
        seeds=3, branch_seeds=3, clips=2400, side=256, shown=17, looks=60, image_rate=2e-4, rate=1e-4,
    ),
}  # fmt: skip


class Plan(NamedTuple):
    """One video VAE to train."""

    variant: str
    channels: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.variant}-z{self.channels}-seed{self.seed}"


def plans(scale: Scale) -> list[Plan]:
    """All trainings, seed by seed."""
    rows: dict[Plan, None] = {}
    for seed in range(scale.seeds):
        names = (*MAIN, BRANCHES) if seed < scale.branch_seeds else MAIN
        rows |= {Plan(name, CHANNELS[0], seed): None for name in names}
    rows |= {Plan(name, z, 0): None for z in CHANNELS for name in BY_CHANNELS}
    return list(rows)


@dataclass
class Study:
    """Where a study stands and what it works with."""

    folder: Path
    scale: Scale
    train: Dataset
    held: Dataset
    device: torch.device
    show: Callable[[str], None]
    seed: int = 0
    lpips: tuple[str, ...] = ()

    def fitted(
        self, name: str, backbone: VideoVAE, fit_plan: Fit, seed: int, size: int, frames: int, crop: int
    ) -> History:
        """Train in place; held-back losses without and with training: (step, MAE and LPIPS of the mean)."""
        config = VAEConfig(kl=self.scale.kl, lpips=1.0 if self.lpips else 0.0, lpips_weights=self.lpips)
        model = VAE(backbone, config).to(self.device)
        rng = np.random.default_rng(_LOOKS_SEED)
        looks = [self.drawn(self.held, rng, size, frames, crop) for _ in range(-(-self.scale.held // size))]

        def held() -> float:
            found = [model(batch, [0] * size, 0.0).terms for batch in looks]
            return sum(float(terms["mae"] + terms.get("lpips", 0.0)) for terms in found) / len(found)

        def loss(step: int) -> Tensor:
            batch = self.drawn(self.train, np.random.default_rng((self.seed, seed, step)), size, frames, crop)
            torch.manual_seed(int(np.random.SeedSequence((self.seed, seed, 1, step)).generate_state(1)[0]))
            value: Tensor = model(batch, [0] * size, 0.0).loss
            return value

        model.eval()
        with torch.inference_mode():
            start = held()
        return [(0, start), *fit(model, loss, held, self.folder / "runs" / name, fit_plan, self.show)]

    def drawn(self, source: Dataset, rng: np.random.Generator, size: int, frames: int, crop: int) -> Batch:
        """Clips at the study's interval; their block vectors play no part."""
        step = self.scale.interval
        batch = cast(Batch, source.batch(rng, size, 1 + step * (frames - 1), crop)).to(self.device)
        return Batch(batch.luma[:, ::step], batch.chroma[:, ::step], batch.vectors[:, ::step])

    def image(self, variant: str, channels: int) -> ImageVAE:
        """The trained image VAE that a variant starts from."""
        scale = self.scale
        torch.manual_seed(self.seed)
        image = VARIANTS[variant].image(channels, scale.base)
        name = f"image-z{image.latent_channels}-base{image.config.base}"
        fit_plan = Fit(scale.image_steps, scale.image_rate, looks=scale.looks)
        self.fitted(name, image, fit_plan, 0, scale.image_batch, 1, scale.image_crop)
        return image

    def point(self, plan: Plan) -> dict[str, Any]:
        """What a video VAE measures after its training; kept in a note, and read from it when it is there."""
        note = self.folder / "points" / f"{plan.name}.json"
        if note.exists():
            return cast(dict[str, Any], json.loads(note.read_text("utf-8")))
        scale, variant = self.scale, VARIANTS[plan.variant]
        image = self.image(plan.variant, plan.channels)
        torch.manual_seed(plan.seed)
        video = variant.build(plan.channels, scale.base)
        inflate(image.cpu(), video)
        fit_plan = Fit(scale.steps, scale.rate, looks=scale.looks)
        history = self.fitted(plan.name, video, fit_plan, plan.seed, scale.batch, scale.frames, scale.crop)
        facts = {
            **plan._asdict(),
            "parameters": sum(p.numel() for p in video.parameters()),
            **measure_clips(video, self.clips()),
            "history": history,
        }
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(facts, indent=1), "utf-8")
        self.show(f"{plan.name}: {facts['psnr']:.3f} dB, SSIM {facts['ssim']:.4f}")
        return facts

    def still(self, variant: str, channels: int) -> dict[str, Any]:
        """What a variant's image VAE measures on the same frames, each coded alone: what it cannot pass unlearned."""
        note = self.folder / "points" / f"image-{variant}-z{channels}.json"
        if not note.exists():
            image = self.image(variant, channels)
            facts = {"halves": VARIANTS[variant].halves, "channels": channels, "own_channels": image.latent_channels}
            found = measure_clips(image, self.clips())
            note.write_text(json.dumps(facts | {key: found[key] for key in ("psnr", "ssim", "flicker")}), "utf-8")
        return cast(dict[str, Any], json.loads(note.read_text("utf-8")))

    def clips(self) -> Iterator[Tensor]:
        """The held-back clips that all are measured on, [1,3,T,H,W] in 0..1."""
        scale = self.scale
        for n in range(scale.clips):
            yield self.drawn(self.held, np.random.default_rng((_CLIPS_SEED, n)), 1, scale.shown, scale.side).clip("rgb")


def run(
    data: Sequence[Path],
    folder: Path,
    scale: str = "quick",
    *,
    lpips: Sequence[Path] = (),
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    show: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The whole ablation into ``folder``: README.md, study.json, curves.png, positions.png; returns what study.json
    holds.  Its runs and points stand beside; called again, it goes on where it stopped.

    data: videos or folders of them; none: drawn moving digits.  lpips: files of LPIPS' weights, whose distance then
    joins the loss as in the paper.  Raises InputError, UsageError.
    """
    if scale not in SCALES:
        raise InputError(f"no scale '{scale}'; there are {', '.join(SCALES)}")
    if threads:
        torch.set_num_threads(threads)
    target = torch.device(device_named(device))
    asked = {
        "scale": scale,
        "seed": seed,
        "data": [str(p) for p in data],
        "lpips": bool(lpips),
        **asdict(SCALES[scale]),
    }
    kind = {"kind": "footage"} if data else {"kind": "moving-digits", "count": 300}
    material = open_dataset(kind, data, Preparation(folder / "cache"))
    claim(folder, asked)
    train, held = material.split(HELD_BACK)
    study = Study(folder, SCALES[scale], train, held, target, show, seed, tuple(str(p) for p in lpips))
    results: dict[str, Any] = {
        "command": f"vcodec study ivvae {'DATA ' if data else ''}--scale {scale}",
        "settings": asdict(study.scale),
        "seed": seed,
        "loss": "MAE + LPIPS" if lpips else "MAE",
        "data": {"kind": kind["kind"], "trained_on": len(train), "held_back": len(held)},
        "models": [study.point(plan) for plan in plans(study.scale)],
        "images": [study.still(name, z) for z in CHANNELS for name in ("causal", "ktc")],
    }
    results |= summarize(results["models"], MAIN, BRANCHES, BY_CHANNELS, CHANNELS)
    write_report(folder, results)
    return results
