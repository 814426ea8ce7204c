"""The models of iv-vae's ablation (tables 4 and 5), and the image VAE that each starts from.

    one trunk     CausalVAE ── GroupVAE                 causal convolutions, or group causal ones (+GCConv)
    two halves    KTCCausalVAE ── KTCVAE ── IVVAE       +KTC with either of them, then PAC and attention (+TMPE)
                                            DeepVAE     3D+3D: both halves see time

All come from the two networks in causalvae.py and ivvae.py, which take their convolutions as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from vcodec.backbones.causalvae import CausalVAE, CausalVAEConfig, ImageVAE
from vcodec.backbones.group_conv import GroupCausalConv
from vcodec.backbones.ivvae import IVVAE, IVVAEConfig, Layout
from vcodec.backbones.vae_layers import CausalConv

__all__ = ["KTCVAE", "VARIANTS", "DeepVAE", "GroupVAE", "KTCCausalVAE", "Variant"]


class GroupVAE(CausalVAE):
    """The baseline with group causal convolutions."""

    conv = GroupCausalConv


class KTCVAE(IVVAE):
    """IV-VAE without PAC and with the image VAE's attention only."""

    layout = Layout(enhanced=False)


class KTCCausalVAE(IVVAE):
    """The same with causal convolutions."""

    layout = Layout(motion=CausalConv, enhanced=False)
    # two frames back in each layer in place of one
    decoder_preroll, encoder_preroll = 14, 10


class DeepVAE(IVVAE):
    """IV-VAE whose keyframe half sees time as well (3D+3D)."""

    layout = Layout(keyframes=GroupCausalConv)
    decoder_preroll = 8  # its last convolution remembers, too


@dataclass(frozen=True)
class Variant:
    """A row of the tables."""

    label: str
    """as the paper has it"""
    model: type[CausalVAE] | type[IVVAE]
    """its class"""

    @property
    def halves(self) -> int:
        """Halves of each map: 1 or 2."""
        return 2 if issubclass(self.model, IVVAE) else 1

    def width(self, base: int) -> int:
        """Channels at full resolution (of a half) where a half of IV-VAE has ``base``: 96 for 64 in one trunk."""
        return base if self.halves == 2 else round(1.5 * base)

    def build(self, latent_channels: int, base: int) -> CausalVAE | IVVAE:
        """A fresh model."""
        if issubclass(self.model, IVVAE):
            return self.model(IVVAEConfig(latent_channels, self.width(base)))
        return self.model(CausalVAEConfig(latent_channels, self.width(base)))

    def image(self, latent_channels: int, base: int) -> ImageVAE:
        """A fresh image VAE to inflate into it."""
        return ImageVAE(CausalVAEConfig(latent_channels // self.halves, self.width(base)))


VARIANTS = {
    "causal": Variant("(A) causal VAE", CausalVAE),
    "gcconv": Variant("(A) + GCConv", GroupVAE),
    "ktc": Variant("(A) + KTC", KTCCausalVAE),
    "gcconv-ktc": Variant("(A) + GCConv + KTC", KTCVAE),
    "ivvae": Variant("(A) + GCConv + KTC + TMPE = IV-VAE", IVVAE),
    "3d-3d": Variant("IV-VAE of 3D+3D", DeepVAE),
}
