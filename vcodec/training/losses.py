"""Terms of the VAE loss (iv-vae, section 4.1): plain functions and two small networks.

Clips are [B,C,T,H,W] in 0..1; each term is a mean over the batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vcodec.errors import WeightsError

__all__ = ["Lpips", "PatchCritic", "critic_loss", "fooling_loss", "kl", "mae", "reparametrized"]


def mae(clip: Tensor, hat: Tensor) -> Tensor:
    """Mean absolute error."""
    return (clip - hat).abs().mean()


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Divergence of N(mean, exp(logvar)) from N(0, 1), nats an element of the latent."""
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()


def reparametrized(mean: Tensor, logvar: Tensor) -> Tensor:
    """A sample of the posterior, with gradient to both."""
    return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of a critic's scores."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())


def fooling_loss(fake: Tensor) -> Tensor:
    """What the codec pays for scores of its own pictures."""
    return -fake.mean()


class PatchCritic(nn.Module):
    """3D patch discriminator: a score for each patch of space and time (Isola et al., 2017, with 3D convolutions).

    clip ─► conv k4 s(1,2,2) ─► [conv k4 s2 ─ GroupNorm ─ LeakyReLU] × layers ─► conv k3 ─► scores [B,1,t,h,w]
    """

    def __init__(self, channels: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        parts: list[nn.Module] = [
            nn.Conv3d(channels, width, (3, 4, 4), stride=(1, 2, 2), padding=1),
            nn.LeakyReLU(0.2),
        ]
        for i in range(layers):
            a, b = width * 2**i, width * 2 ** (i + 1)
            # time is halved only where it is long enough: a kernel of 3 takes any length
            parts += [
                nn.Conv3d(a, b, (3, 4, 4), stride=2, padding=1),
                nn.GroupNorm(min(8, b), b),
                nn.LeakyReLU(0.2),
            ]
        parts.append(nn.Conv3d(width * 2**layers, 1, 3, padding=1))
        self.layers = nn.Sequential(*parts)

    def forward(self, clip: Tensor) -> Tensor:
        scores: Tensor = self.layers(clip * 2 - 1)
        return scores


_WIDTHS = (64, 128, 256, 512, 512)  # of VGG16's five stages
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # torchvision's numbers of its convolutions


class Lpips(nn.Module):
    """Learned perceptual distance on VGG16 (Zhang et al., 2018, version 0.1).  Its weights are the user's files.

    RGB frames in 0..1 ─► five stages of VGG16 ─► unit length over channels ─► squared difference ─► learned weights
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        last = 3
        for numbers, width in zip(_STAGES, _WIDTHS):
            for number in numbers:
                self.convs[str(number)] = nn.Conv2d(last, width, 3, padding=1)
                last = width
        self.lins = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in _WIDTHS)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        self.shift: Tensor
        self.scale: Tensor
        self.requires_grad_(False)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Lpips:
        """From one file of the lpips package's state, or two: torchvision's VGG16 and lpips' own few weights.

        .safetensors, or .pt/.pth of plain tensors (never a pickled object).  Raises WeightsError.
        """
        found: dict[str, Tensor] = {}
        for path in paths:
            found |= {_own_name(name): tensor for name, tensor in _tensors(path).items() if _own_name(name)}
        net = cls()
        try:
            net.load_state_dict(found)
        except RuntimeError as error:
            named = ", ".join(str(p) for p in paths)
            wanted = "; wanted: VGG16's features.* (or net.slice*) and lin0..4.model.1.weight"
            raise WeightsError(f"{named}: not the weights of LPIPS on VGG16{wanted} ({_first_line(error)})") from error
        return net

    def stages(self, frames: Tensor) -> list[Tensor]:
        """Features [N,c,h,w] after each stage, of unit length over channels."""
        x = (frames * 2 - 1 - self.shift) / self.scale
        out = []
        for i, numbers in enumerate(_STAGES):
            x = F.max_pool2d(x, 2) if i else x
            for number in numbers:
                x = F.relu(self.convs[str(number)](x))
            out.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    def forward(self, clip: Tensor, hat: Tensor) -> Tensor:
        """Mean distance of RGB (or gray) clips [B,C,T,H,W], C = 3 or 1."""
        a, b = (x.transpose(1, 2).flatten(0, 1).expand(-1, 3, -1, -1) for x in (clip, hat))
        total = torch.zeros((), device=clip.device)
        for lin, one, two in zip(self.lins, self.stages(a), self.stages(b)):
            total = total + lin((one - two).square()).mean()
        return total


def _own_name(name: str) -> str:
    """Our name of a weight of lpips or torchvision; empty for those that are not needed."""
    conv = re.fullmatch(r"(?:net\.slice\d\.|features\.)(\d+)\.(weight|bias)", name)
    lin = re.fullmatch(r"(?:lin|lins\.)(\d)\.(?:model\.)?1?\.?weight", name)
    return f"convs.{conv[1]}.{conv[2]}" if conv else f"lins.{lin[1]}.weight" if lin else ""


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file of LPIPS weights") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError, UnpicklingError) as error:
        raise WeightsError(f"{path}: not a file of tensors ({_first_line(error)})") from error
    return {str(n): t for n, t in dict(loaded).items() if isinstance(t, Tensor)}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
