"""The loss of a video VAE (iv-vae, section 4.1): MAE + KL, with LPIPS and a 3D patch critic where they are asked for.

    clip ─► posterior (mean, logvar) ─► sample ─► decode ─► hat        MAE(clip, hat) + w·KL + w·LPIPS + w·fooling(hat)
                                                                       critic, once it has begun: hinge(clip, hat)

One backward pass serves both players: the codec is judged by a critic whose weights are held constant, the critic sees
the codec's pictures without their gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from vcodec.backbones.base import Backbone, Latent
from vcodec.datasets.base import AnyBatch, to_rgb
from vcodec.errors import InputError, UsageError
from vcodec.training.losses import Lpips, PatchCritic, critic_loss, fooling_loss, kl, mae, reparametrized
from vcodec.training.measure import Measure

__all__ = ["VAE", "VAEConfig"]

UNQUANTIZED = 0  # stands for K in tables of a model whose latents are not quantized


@dataclass(frozen=True)
class VAEConfig:
    """Weights of the terms."""

    mae: float = 1.0
    """of the mean absolute error"""
    kl: float = 1e-6
    """of the divergence from N(0, 1), nats an element"""
    lpips: float = 0.0
    """of the perceptual distance; needs ``lpips_weights``"""
    lpips_weights: tuple[str, ...] = ()
    """files of LPIPS' weights (losses.Lpips.load); never downloaded"""
    gan: float = 0.0
    """of the critic's judgement; 0: no critic"""
    gan_by_crop: Mapping[str, float] = field(default_factory=dict)
    """the same for crops of a side, in place of ``gan``: ``{512 = 0.1}``"""
    gan_start: int = 2000
    """updates before the critic begins"""
    critic_width: int = 32
    """channels of the critic's first layer"""

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> VAEConfig:
        """From a recipe's [vae] table; raises InputError naming the field."""
        known = {f.name for f in fields(cls)}
        for name in table:
            if name not in known:
                raise InputError(f"recipe: unknown field 'vae.{name}'; known are {', '.join(sorted(known))}")
        values = dict(table)
        if "lpips_weights" in values:
            given = values["lpips_weights"]
            values["lpips_weights"] = tuple(given) if isinstance(given, list) else (given,)
        sizes = values.get("gan_by_crop", {})
        if not isinstance(sizes, Mapping) or not all(
            side.isdecimal() and isinstance(weight, (int, float)) for side, weight in sizes.items()
        ):
            raise InputError(f"recipe: 'vae.gan_by_crop' must be a table of weights like {{512 = 0.1}}, not {sizes!r}")
        config = cls(**values)
        if config.lpips and not config.lpips_weights:
            raise UsageError(
                "the recipe asks for LPIPS (vae.lpips), whose weights do not come with vcodec: save "
                "lpips.LPIPS(net='vgg').state_dict() with torch.save, and --set vae.lpips_weights=FILE"
            )
        return config


class VAE(nn.Module):
    """A backbone that offers ``posterior(clip, state) -> (mean, logvar)`` or ``(Posterior, state)``, with its loss.

    The perceptual network is not among its weights (not saved, not averaged); the critic is ``critic``.
    """

    validation_ks = (UNQUANTIZED,)
    #: on a CPU bf16 gains a tenth of the time, and convolutions of some shapes give NaN
    low_precision_devices: tuple[str, ...] = ("cuda",)

    def __init__(self, backbone: Backbone, config: VAEConfig) -> None:
        super().__init__()
        if not hasattr(backbone, "posterior"):
            raise UsageError(f"the VAE loss is for codecs with a posterior; {type(backbone).__name__} has none")
        self.backbone, self.config = backbone, config
        self.pixel_format = backbone.pixel_format
        channels = 1 if self.pixel_format == "gray" else 3
        self.critic = PatchCritic(channels, config.critic_width) if config.gan else None
        # updates seen: the critic's start is part of the state of the run
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor
        self.low_precision = False  # bf16 in the networks (training), where they run in it
        self._lpips = [Lpips.load([Path(p) for p in config.lpips_weights])] if config.lpips else []

    def draw(self, rng: np.random.Generator, size: int) -> list[int]:
        return [UNQUANTIZED] * size

    def forward(self, batch: AnyBatch, ks: list[int], balance: float) -> Measure:
        clip = batch.clip(self.pixel_format)
        low = self.low_precision and clip.device.type in self.low_precision_devices
        with torch.autocast(clip.device.type, torch.bfloat16, enabled=low):
            mean, logvar = (t.float() for t in self._posterior(clip))
            z = reparametrized(mean, logvar) if self.training else mean
            hat = self.backbone.decode(Latent(z), None, 256)[0].float()
        hat = hat[..., : clip.shape[2], : clip.shape[3], : clip.shape[4]]  # whole groups of frames are decoded
        config = self.config
        terms = {"mae": mae(clip, hat), "kl": kl(mean, logvar)}
        loss = config.mae * terms["mae"] + config.kl * terms["kl"]
        if self._lpips or self.critic is not None:
            seen, shown = to_rgb(clip, self.pixel_format), to_rgb(hat, self.pixel_format)
        if self._lpips:
            terms["lpips"] = self._lpips[0].to(clip.device)(seen, shown)
            loss = loss + config.lpips * terms["lpips"]
        if self.critic is not None and self.training and int(self.updates) >= config.gan_start:
            constant = {n: p.detach() for n, p in self.critic.named_parameters()}
            terms["fooling"] = fooling_loss(functional_call(self.critic, constant, (shown,)))
            terms["critic"] = critic_loss(self.critic(seen), self.critic(shown.detach()))
            weight = config.gan_by_crop.get(str(clip.shape[-1]), config.gan)
            loss = loss + weight * terms["fooling"] + terms["critic"]
        error = (hat - clip).detach().square().flatten(1).mean(1) * 255.0**2
        bits = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).detach().flatten(1).sum(1) / np.log(2.0)
        bpp = bits / batch.samples
        out = None if self.training else hat
        return Measure(loss, bpp, error, torch.zeros_like(error), out, {n: t.detach() for n, t in terms.items()})

    def _posterior(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, which the backbone gives so or as one object with ``mean`` and ``std``."""
        first, second, *_ = self.backbone.posterior(clip, None)  # type: ignore[operator]
        if hasattr(first, "std") and hasattr(first, "mean") and not isinstance(first, Tensor):
            return first.mean, 2 * first.std.log()
        return first, second

    def after_update(self) -> None:
        """Called by the trainer once an update."""
        self.updates += 1
