"""From a codec and a recipe to what is trained, and from what was trained to a codec: two plain tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import nn

from vcodec.backbones.causalvae import ImageVAE
from vcodec.backbones.inflation import inflate
from vcodec.backbones.qae import QAE
from vcodec.backbones.videovae import VideoVAE
from vcodec.checkpoint import Parts, load_codec, new_parts
from vcodec.codec import Codec
from vcodec.datasets.base import Dataset
from vcodec.entropy.context import ContextConfig, ContextNet
from vcodec.entropy.keyframes import KEY_WIDTH
from vcodec.errors import InputError, UsageError, WeightsError
from vcodec.registry import codec_entry
from vcodec.training.adapting import adapted
from vcodec.training.freezing import freeze
from vcodec.training.latents import freeze_latents
from vcodec.training.layered import LayerCoding, draw_pictures, freeze_layers
from vcodec.training.rate_distortion import RateDistortion
from vcodec.training.recipe import Recipe
from vcodec.training.reconstruction import Reconstruction, freeze_neighbours
from vcodec.training.vae import VAE, VAEConfig

__all__ = ["FREEZERS", "OBJECTIVES", "frozen", "new_objective", "start_of"]

Shown = Callable[[int, int], None]
Finished = tuple[Codec, dict[str, Any]]


def _rate_distortion(parts: Parts, plan: Recipe, start: Codec | None) -> nn.Module:
    keys = None if start is None else start.entropy.net.keys
    # adapting keeps the start's contexts; all else is given networks for keyframes
    key_width = keys.width if keys is not None else 0 if plan.finish == "adapt" else KEY_WIDTH
    context = ContextNet(ContextConfig(parts.backbone.latent_channels, key_width=key_width))
    if start is not None:
        context.thaw(start.entropy.tensors())
    return RateDistortion(
        parts.backbone,  # type: ignore[arg-type]
        parts.quantizer,  # type: ignore[arg-type]
        context,
        plan.key_weight,
        plan.quantization,
        plan.ks,
        plan.validation_ks,
    )


def _reconstruction(parts: Parts, plan: Recipe, start: Codec | None) -> nn.Module:
    own: tuple[int, ...] = parts.quantizer.config.ks  # type: ignore[union-attr, assignment]
    missing = [k for k in plan.ks if k not in own]
    if missing:
        listed = ", ".join(map(str, own))
        raise UsageError(f"'{plan.codec}' has codebooks for K = {listed}, not {missing[0]}; set model.quantizer.ks")
    return Reconstruction(parts.backbone, parts.quantizer, plan.quantization, plan.ks)  # type: ignore[arg-type]


def _vae(parts: Parts, plan: Recipe, start: Codec | None) -> nn.Module:
    return VAE(parts.backbone, VAEConfig.read(plan.vae))


def _layers(parts: Parts, plan: Recipe, start: Codec | None) -> nn.Module:
    context = ContextNet(ContextConfig(channels=parts.backbone.latent_channels))
    if start is not None:
        context.thaw(start.entropy.frames.tensors())
    return LayerCoding(parts.backbone, parts.quantizer, context, plan.ks, plan.validation_ks)  # type: ignore[arg-type]


# a recipe's loss -> what builds the model that is trained, and the entropy models whose codecs it can train
OBJECTIVES: dict[str, tuple[Callable[[Parts, Recipe, Codec | None], nn.Module], tuple[str, ...]]] = {
    "rate-distortion": (_rate_distortion, ("frames",)),
    "layers": (_layers, ("layers",)),
    "mse": (_reconstruction, ("neighbours",)),
    "vae": (_vae, ("neighbours", "latents")),
}


def _freeze_frames(parts: Parts, model: Any, plan: Recipe, dataset: Dataset, shown: Shown) -> Codec:
    return freeze(plan.codec, parts, model.context, dataset.runs(), progress=shown)


def _freeze_neighbours(parts: Parts, model: Any, plan: Recipe, dataset: Dataset, shown: Shown) -> Codec:
    fit = isinstance(model, VAE)
    return freeze_neighbours(
        plan.codec, parts, dataset, crop=plan.crop, frames=plan.frames[-1], fit=fit, progress=shown
    )


def _freeze_layers(parts: Parts, model: Any, plan: Recipe, dataset: Dataset, shown: Shown) -> Codec:
    return freeze_layers(plan.codec, parts, model.context, draw_pictures(dataset, 0, 4000), dataset, progress=shown)


def _freeze_latents(parts: Parts, model: Any, plan: Recipe, dataset: Dataset, shown: Shown) -> Codec:
    return freeze_latents(plan.codec, parts, dataset, crop=plan.crop, frames=plan.frames[-1], progress=shown)


# a codec's entropy model -> what counts its tables
FREEZERS: dict[str, Callable[[Parts, Any, Recipe, Dataset, Shown], Codec]] = {
    "frames": _freeze_frames,
    "layers": _freeze_layers,
    "latents": _freeze_latents,
    "neighbours": _freeze_neighbours,
}


def start_of(plan: Recipe, weights: Path | None) -> Codec | None:
    """What training starts from, None for nothing: a checkpoint, or what the recipe says.

    Raises UsageError, WeightsError.
    """
    if weights is None and plan.start == "scratch":
        if plan.finish == "adapt":
            raise UsageError("a recipe that adapts needs something to start from: --weights FILE, or start=bundled")
        return None
    return load_codec(plan.codec if weights is None else weights)


def new_objective(plan: Recipe, start: Codec | None) -> tuple[Parts, nn.Module]:
    """(the codec's parts, the model with its loss), from scratch or from another codec.

    start: the same codec, whose training goes on, or an image VAE to inflate into a video VAE.
    Raises UsageError, WeightsError, InputError.
    """
    entropy = codec_entry(plan.codec).entropy
    if start is not None and start.name != plan.codec:
        parts, start = _inflated(plan, start), None
    else:
        parts = new_parts(plan.codec, plan.model or (start.config if start else None))
    if start is not None:
        try:
            if isinstance(parts.backbone, QAE) and parts.config["backbone"] != start.config["backbone"]:
                parts.backbone.grow_from(cast(QAE, start.backbone))
            else:
                parts.backbone.load_state_dict(start.backbone.state_dict())
            parts.quantizer.load_state_dict(start.quantizer.state_dict())
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"the start's weights do not fit into the recipe's model ({error})") from error
    loss = plan.loss or next(name for name, (_, known) in OBJECTIVES.items() if entropy in known)
    build, known = OBJECTIVES[loss]
    if entropy not in known:
        fitting = ", ".join(name for name, (_, entropies) in OBJECTIVES.items() if entropy in entropies)
        raise UsageError(f"codec '{plan.codec}' is not trained with the loss '{loss}'; use {fitting}")
    model = build(parts, plan, start)
    if plan.only:
        chosen = [p for n, p in model.named_parameters() if n.startswith(plan.only)]
        if not chosen:
            raise InputError(f"recipe: 'only' names no part of codec '{plan.codec}': {', '.join(plan.only)}")
        model.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)
    return parts, model


def _inflated(plan: Recipe, start: Codec) -> Parts:
    """A new video VAE with the weights of an image VAE."""
    parts = new_parts(plan.codec, plan.model)
    video = parts.backbone
    if not isinstance(start.backbone, ImageVAE) or not isinstance(video, VideoVAE) or isinstance(video, ImageVAE):
        raise UsageError(
            f"--weights holds codec '{start.name}', not '{plan.codec}': start from the same codec, or ivvae and "
            "causalvae from an imagevae"
        )
    try:
        inflate(start.backbone, video)
    except InputError as error:
        raise InputError(
            f"--weights: {error}; train one with --recipe imagevae, --codec and --set model.backbone.base"
        ) from error
    return parts


def frozen(
    parts: Parts, model: Any, plan: Recipe, start: Codec | None, dataset: Dataset, held: Dataset, shown: Shown
) -> Finished:
    """The codec of what was trained, its tables counted on the training material; what adapting it found, if it was."""
    entropy = codec_entry(plan.codec).entropy
    if plan.finish == "adapt":
        if start is None or entropy != "frames":
            raise UsageError(f"codec '{plan.codec}' is not adapted; use a recipe with finish = \"count\"")
        return adapted(start, parts, dataset.runs(), held.runs(), shown)
    return FREEZERS[entropy](parts, model, plan, dataset, shown), {}
