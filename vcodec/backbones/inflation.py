"""From an image VAE to a video VAE: what training of the video models starts from (iv-vae, sections 3.1 and 3.3).

    image VAE of z   ─► causal VAE of z    each kernel W as the last of three taps [0,0,W]; a group keeps its last frame
    image VAE of z/2 ─► IV-VAE of z        W in each branch, as the middle tap [0,W,0] in the 3D one, halves not mixed;
                                           a group keeps its first frame (2D) and its third (3D): half the frames, at
                                           the image VAE's own quality, before a step of training

All that the video model has beyond the image VAE starts as nothing: further attention adds zero, atrous branches are
left out by the pointwise convolution behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vcodec.backbones import causalvae, ivvae
from vcodec.backbones.vae_layers import AttentionBlock, CausalConv, RMSNorm
from vcodec.errors import InputError

__all__ = ["THIRD_BRANCH_FRAME", "inflate_causal", "inflate_ktc"]

THIRD_BRANCH_FRAME = 2  # of a group, 0..3: what the 3D half holds at the start


@torch.no_grad()
def inflate_causal(image: causalvae.ImageVAE, video: causalvae.CausalVAE, tap: int = 2) -> None:
    """Set a causal VAE's weights from an image VAE of the same base and latent channels; raises InputError.

    tap: where the kernel goes, 2 the last, which shows the image VAE's own pictures from the start, or 1 the middle.
    """
    _check(image, video, 1)
    own = dict(image.named_parameters())
    for name, target in video.named_parameters():
        module = video.get_submodule(name.rpartition(".")[0])
        if "time_conv" in name:
            target.zero_()
        elif name in own:
            source = own[name]
            if isinstance(module, CausalConv) and target.ndim == 5:
                target.zero_()
                target[:, :, tap] = source
            else:
                target.copy_(source)
        else:
            raise InputError(f"an image VAE has no '{name}'")
    for module in video.modules():
        if isinstance(module, (causalvae.Down, causalvae.Up)) and hasattr(module, "time_conv"):
            conv = module.time_conv
            one = torch.eye(conv.in_channels).to(conv.weight)
            conv.weight[:, :, 2, 0, 0] = one.repeat(conv.out_channels // conv.in_channels, 1)


@torch.no_grad()
def inflate_ktc(image: causalvae.ImageVAE, video: ivvae.IVVAE) -> None:
    """Set an IV-VAE's weights from an image VAE of the same base and half the latent channels; raises InputError."""
    _check(image, video, 2)
    for attention in (m for m in video.modules() if isinstance(m, AttentionBlock)):
        attention.proj.weight.zero_()
        assert attention.proj.bias is not None
        attention.proj.bias.zero_()
    for source, target in _pairs(image, video):
        _set(source, target)
    for first, down in enumerate(m for m in video.encoder.modules() if isinstance(m, ivvae.Down)):
        if hasattr(down, "time_conv"):  # the first of frames (0,1), (2,3), then the second of (0,2)
            down.time_conv.weight.zero_()
            down.time_conv.weight[:, :, first - 1, 0, 0] = torch.eye(down.time_conv.in_channels)
            down.time_conv.bias.zero_()
    for up in (m for m in video.decoder.modules() if isinstance(m, ivvae.Up)):
        if hasattr(up, "time_conv"):
            up.time_conv.weight[:, :, 0, 0, 0] = torch.eye(up.time_conv.in_channels).repeat(2, 1)
            up.time_conv.bias.zero_()
    pac, z = video.encoder.head["2"], video.latent_channels
    pac.PAC_conv.conv.weight.zero_()
    pac.PAC_conv.conv.bias.zero_()
    at, count = pac.RATES.index(1), len(pac.RATES)
    for half in range(2):
        rows, columns = slice(half * z, half * z + z), slice((half * count + at) * z, (half * count + at + 1) * z)
        pac.PAC_conv.conv.weight[rows, columns, 0, 0] = torch.eye(z)


def _check(image: causalvae.ImageVAE, video: nn.Module, parts: int) -> None:
    have, want = image.config, video.config
    if have.base != want.base or have.latent_channels * parts != want.latent_channels:
        raise InputError(
            f"an image VAE of base {have.base} with {have.latent_channels} latent channels does not start a video VAE "
            f"of base {want.base} with {want.latent_channels}: needed are base {want.base} and "
            f"{want.latent_channels // parts} channels"
        )


def _pairs(image: causalvae.ImageVAE, video: ivvae.IVVAE) -> list[tuple[nn.Module, nn.Module]]:
    """Layers that correspond, in order; the attention that only the video model has is left out."""

    def layers(items: nn.ModuleList) -> list[nn.Module]:
        return [m for m in items if not isinstance(m, ivvae.Attention)]

    e, f, d, g = image.encoder, video.encoder, image.decoder, video.decoder
    pairs: list[tuple[nn.Module, nn.Module]] = [(e.conv1, f.conv1), *zip(e.downsamples, layers(f.downsamples))]
    pairs += [*zip(e.middle, f.middle), (e.norm, f.head["0"]), (e.head, f.head["2"].PAC_1)]
    pairs += [(image.conv1, video.conv1), (image.conv2, video.conv2), (d.conv1, g.conv1), *zip(d.middle, g.middle)]
    return [*pairs, *zip(d.upsamples, layers(g.upsamples)), (d.norm, g.head["0"]), (d.head, g.head["2"])]


def _set(source: nn.Module, target: nn.Module) -> None:
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


def _joint(source: nn.Module, target: nn.Conv2d) -> None:
    weight: Tensor = source.weight
    outputs, inputs = weight.shape[:2]
    target.weight.zero_()
    target.weight[:outputs, :inputs] = weight
    target.weight[outputs:, inputs:] = weight
    target.bias.copy_(source.bias.repeat(2))


def _branches(source: nn.Module, flat: nn.Conv2d, deep: nn.Conv3d) -> None:
    """2D branch reads the first half of the input, 3D branch the second; both read the picture itself."""
    weight: Tensor = source.weight
    inputs = weight.shape[1]
    flat.weight.zero_()
    flat.weight[:, :inputs] = weight
    deep.weight.zero_()
    deep.weight[:, -inputs:, deep.kernel_size[0] // 2] = weight
    for conv in (flat, deep):
        conv.bias.copy_(source.bias)
