"""From an image VAE to a video VAE: what training of the video models starts from (iv-vae, sections 3.1 and 3.3).

    image VAE of z   ─► causal VAE of z    each kernel W as the last of three taps [0,0,W]; a group keeps its last frame
    image VAE of z/2 ─► IV-VAE of z        W in each branch, as the middle tap [0,W,0] in the 3D one, halves not mixed;
                                           a group keeps its first frame (2D) and its third (3D): half the frames, at
                                           the image VAE's own quality, before a step of training

All that the video model has beyond the image VAE starts as nothing: further attention adds zero, atrous branches are
left out by the pointwise convolution behind them.  Other layouts of the ablation start alike, W at the tap that meets
the frame itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vcodec.backbones import causalvae, ivvae
from vcodec.backbones.vae_layers import AttentionBlock, RMSNorm, TimeConv
from vcodec.backbones.videovae import VideoVAE
from vcodec.errors import InputError

__all__ = ["THIRD_BRANCH_FRAME", "inflate", "inflate_causal", "inflate_ktc"]

THIRD_BRANCH_FRAME = 2  # of a group, 0..3: what the 3D half holds at the start


def inflate(image: causalvae.ImageVAE, video: VideoVAE) -> None:
    """Set a video VAE's weights from the image VAE that it starts from; raises InputError where that is another."""
    if isinstance(video, ivvae.IVVAE):
        inflate_ktc(image, video)
    elif isinstance(video, causalvae.CausalVAE) and not isinstance(video, causalvae.ImageVAE):
        inflate_causal(image, video)
    else:
        raise InputError(f"an image VAE does not start a {type(video).__name__}: inflate it into ivvae or causalvae")


@torch.no_grad()
def inflate_causal(image: causalvae.ImageVAE, video: causalvae.CausalVAE, tap: int | None = None) -> None:
    """Set a causal VAE's weights from an image VAE of the same base and latent channels; raises InputError.

    tap: where the kernel goes; default: to the frame itself (of causal convolutions the last, of group causal ones the
    middle), which shows the image VAE's own pictures from the start.
    """
    _check(image, video, 1)
    own = dict(image.named_parameters())
    for name, target in video.named_parameters():
        module = video.get_submodule(name.rpartition(".")[0])
        if "time_conv" in name:
            target.zero_()
        elif name in own:
            source = own[name]
            if isinstance(module, TimeConv) and target.ndim == 5:
                target.zero_()
                target[:, :, module.present if tap is None else tap] = source
            else:
                target.copy_(source)
        else:
            raise InputError(f"an image VAE has no '{name}'")
    for module in video.modules():
        if isinstance(module, (causalvae.Down, causalvae.Up)) and hasattr(module, "time_conv"):
            conv: Any = module.time_conv
            one = torch.eye(conv.in_channels).to(conv.weight)
            conv.weight[:, :, 2, 0, 0] = one.repeat(conv.out_channels // conv.in_channels, 1)


@torch.no_grad()
def inflate_ktc(image: causalvae.ImageVAE, video: ivvae.IVVAE) -> None:
    """Set an IV-VAE's weights from an image VAE of the same base and half the latent channels; raises InputError."""
    _check(image, video, 2)
    for attention in (m for m in video.modules() if isinstance(m, AttentionBlock)):
        attention.proj.weight.zero_()
        torch.nn.init.zeros_(attention.proj.bias)  # type: ignore[arg-type]
    for source, target in _pairs(image, video):
        _set(source, target)
    for first, down in enumerate(m for m in video.encoder.modules() if isinstance(m, ivvae.Down)):
        if hasattr(down, "time_conv"):  # the first of frames (0,1), (2,3), then the second of (0,2)
            down.time_conv.weight.zero_()
            down.time_conv.weight[:, :, first - 1, 0, 0] = torch.eye(down.time_conv.in_channels)
            torch.nn.init.zeros_(down.time_conv.bias)  # type: ignore[arg-type]
    for up in (m for m in video.decoder.modules() if isinstance(m, ivvae.Up)):
        if hasattr(up, "time_conv"):
            up.time_conv.weight[:, :, 0, 0, 0] = torch.eye(up.time_conv.in_channels).repeat(2, 1)
            torch.nn.init.zeros_(up.time_conv.bias)  # type: ignore[arg-type]
    pac: Any = video.encoder.head["2"]
    if not hasattr(pac, "PAC_conv"):
        return
    z = video.latent_channels
    pac.PAC_conv.conv.weight.zero_()
    pac.PAC_conv.conv.bias.zero_()
    at, count = pac.RATES.index(1), len(pac.RATES)
    for half in range(2):
        rows, columns = slice(half * z, half * z + z), slice((half * count + at) * z, (half * count + at + 1) * z)
        pac.PAC_conv.conv.weight[rows, columns, 0, 0] = torch.eye(z)


def _check(image: Any, video: Any, parts: int) -> None:
    have, want = image.config, video.config
    if have.base != want.base or have.latent_channels * parts != want.latent_channels:
        raise InputError(
            f"an image VAE of base {have.base} with {have.latent_channels} latent channels does not start a video VAE "
            f"of base {want.base} with {want.latent_channels}: needed are base {want.base} and "
            f"{want.latent_channels // parts} channels"
        )


def _pairs(image: causalvae.ImageVAE, video: ivvae.IVVAE) -> list[tuple[Any, Any]]:
    """Layers that correspond, in order; the attention that only the video model has is left out."""

    def layers(items: Iterable[Any]) -> list[Any]:
        return [m for m in items if not isinstance(m, ivvae.Attention)]

    e: Any
    f: Any
    d: Any
    g: Any
    e, f, d, g = image.encoder, video.encoder, image.decoder, video.decoder
    pairs: list[tuple[Any, Any]] = [(e.conv1, f.conv1), *zip(e.downsamples, layers(f.downsamples))]
    last = getattr(f.head["2"], "PAC_1", f.head["2"])
    pairs += [*zip(e.middle, f.middle), (e.norm, f.head["0"]), (e.head, last)]
    pairs += [(image.conv1, video.conv1), (image.conv2, video.conv2), (d.conv1, g.conv1), *zip(d.middle, g.middle)]
    return [*pairs, *zip(d.upsamples, layers(g.upsamples)), (d.norm, g.head["0"]), (d.head, g.head["2"])]


def _set(source: Any, target: Any) -> None:
    """Both halves of a layer from the image VAE's."""
    if isinstance(source, RMSNorm) and isinstance(target, RMSNorm):
        target.gamma.copy_(source.gamma.repeat(target.parts, 1, 1, 1))
    elif isinstance(source, AttentionBlock):
        for half in (target.Attention_2d, target.Attention_3d):
            half.load_state_dict(source.state_dict())
    elif isinstance(source, causalvae.Block):
        inner = target.residual
        for here, there in (("norm1", "0"), ("conv1", "2"), ("norm2", "3"), ("conv2", "6")):
            _set(source.get_submodule(here), inner[there])
        if hasattr(source, "shortcut"):
            _set(source.shortcut, target.shortcut)
    elif isinstance(source, (causalvae.Down, causalvae.Up)):
        for half in (target.resample_2d, target.resample_3d):
            half["1"].load_state_dict(source.conv.state_dict())
    elif isinstance(target, ivvae.JointConv):
        _joint(source, target.conv)
    else:
        _branches(source, target.conv_2d, target.conv_3d)


def _joint(source: Any, target: Any) -> None:
    weight: Tensor = source.weight
    outputs, inputs = weight.shape[:2]
    target.weight.zero_()
    target.weight[:outputs, :inputs] = weight
    target.weight[outputs:, inputs:] = weight
    target.bias.copy_(source.bias.repeat(2))


def _branches(source: Any, flat: Any, deep: Any) -> None:
    """2D branch reads the first half of the input, 3D branch the second; both read the picture itself."""
    inputs = source.weight.shape[1]
    for conv, part in ((flat, slice(inputs)), (deep, slice(-inputs, None))):
        weight: Tensor = conv.weight
        weight.zero_()
        present = weight if weight.ndim == 4 else weight[:, :, getattr(conv, "present", weight.shape[2] // 2)]
        present[:, part] = source.weight
        conv.bias.copy_(source.bias)
