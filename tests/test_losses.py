"""VAE losses: each term by its definition, the critic learned on its own, LPIPS only from the user's weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vcodec.backbones.base import Latent
from vcodec.backbones.qae_paper import QAEPaper, QAEPaperConfig
from vcodec.datasets.base import Batch, Run
from vcodec.datasets.footage import Clips
from vcodec.errors import InputError, UsageError, WeightsError
from vcodec.quantizers.scalar import ScalarCodebook, ScalarConfig
from vcodec.training.loop import Trainer
from vcodec.training.losses import Lpips, PatchCritic, critic_loss, fooling_loss, kl, mae, reparametrized
from vcodec.training.recipe import Recipe
from vcodec.training.reconstruction import fit_codebook
from vcodec.training.vae import VAE, VAEConfig


class WithPosterior(QAEPaper):
    """The paper's network with a posterior of constant width."""

    def posterior(self, clip: Tensor, state: object) -> tuple[Tensor, Tensor]:
        mean = super().encode(clip, None, 2)[0].values
        return mean, torch.full_like(mean, -4.0)


class WithDeviation(WithPosterior):
    """The same, its posterior one object beside a state."""

    def posterior(self, clip: Tensor, state: object) -> tuple[Any, Any]:
        mean, logvar = super().posterior(clip, state)
        return SimpleNamespace(mean=mean, std=torch.exp(0.5 * logvar)), None


def batch(seed: int = 0) -> Batch:
    luma = torch.rand(2, 4, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    return Batch.gray(luma)


def model(**weights: object) -> VAE:
    torch.manual_seed(1)
    return VAE(WithPosterior(QAEPaperConfig(width=4, frames=4)), VAEConfig(**weights))  # type: ignore[arg-type]


def test_terms_are_what_their_names_say() -> None:
    """MAE, KL and hinge losses by hand; a sample of the posterior has its mean and deviation."""
    zeros = torch.zeros(1, 4, 1, 8, 8)
    assert mae(zeros, zeros + 0.25).item() == 0.25
    assert kl(zeros, zeros).item() == 0
    assert kl(zeros + 2, zeros + np.log(4.0)).item() == pytest.approx(0.5 * (4 + 4 - 1 - np.log(4.0)))
    torch.manual_seed(0)
    sample = reparametrized(torch.full((50_000,), 3.0), torch.full((50_000,), 2 * np.log(0.5)))
    assert sample.mean().item() == pytest.approx(3.0, abs=0.02) and sample.std().item() == pytest.approx(0.5, abs=0.02)
    assert critic_loss(torch.tensor([2.0]), torch.tensor([-2.0])).item() == 0
    assert critic_loss(torch.tensor([0.0]), torch.tensor([0.5])).item() == pytest.approx(1.25)
    assert fooling_loss(torch.tensor([3.0])).item() == -3


@pytest.mark.parametrize("frames", [1, 4, 17])
def test_critic_scores_patches(frames: int) -> None:
    """A score for each patch, of clips of any length; learning raises real clips over others."""
    torch.manual_seed(0)
    critic = PatchCritic(1, width=8)
    real, fake = torch.rand(2, 1, frames, 32, 32), torch.full((2, 1, frames, 32, 32), 0.5)
    assert critic(real).shape[:2] == (2, 1) and critic(real).shape[3] == 4
    optimizer = torch.optim.Adam(critic.parameters(), 5e-3)
    before = critic_loss(critic(real), critic(fake)).item()
    for _ in range(15):
        optimizer.zero_grad()
        critic_loss(critic(real), critic(fake)).backward()
        optimizer.step()
    assert critic_loss(critic(real), critic(fake)).item() < 0.5 * before


def test_codec_and_critic_learn_from_their_own_losses() -> None:
    """One backward pass: the critic's gradient is its hinge loss's alone, the codec's has the fooling term."""
    both = model(gan=0.5, gan_start=0, kl=0.1)
    assert both.critic is not None
    clip = batch().clip("gray")
    torch.manual_seed(2)
    mean, logvar = both.backbone.posterior(clip, None)  # type: ignore[operator]
    hat, _ = both.backbone.decode(Latent(reparametrized(mean, logvar)), None, 256)
    torch.manual_seed(2)
    measure = both(batch(), [0, 0], 0.0)
    assert set(measure.terms) == {"mae", "kl", "fooling", "critic"}
    measure.loss.backward()
    joint = [p.grad.clone() for p in both.critic.parameters()]
    codec = [p.grad.clone() for p in both.backbone.parameters()]
    both.zero_grad()
    critic_loss(both.critic(clip), both.critic(hat.detach())).backward()
    for mine, own in zip(joint, both.critic.parameters()):
        assert torch.allclose(mine, own.grad, atol=1e-6)
    both.zero_grad()
    (mae(clip, hat) + 0.1 * kl(mean, logvar) + 0.5 * fooling_loss(both.critic(hat))).backward()
    for mine, own in zip(codec, both.backbone.parameters()):
        assert torch.allclose(mine, own.grad, atol=1e-5)


def test_critic_begins_when_it_should() -> None:
    """Before gan_start updates there is no critic in the loss; in evaluation the mean is decoded and shown."""
    late = model(gan=0.5, gan_start=1)
    assert set(late(batch(), [0, 0], 0.0).terms) == {"mae", "kl"}
    late.after_update()
    assert "critic" in late(batch(), [0, 0], 0.0).terms
    late.eval()
    one, two = late(batch(), [0, 0], 0.0), late(batch(), [0, 0], 0.0)
    assert one.hat is not None and torch.equal(one.hat, two.hat) and one.hat.shape == (2, 1, 4, 16, 16)
    assert one.bpp.shape == one.mse_y.shape == (2,)
    other = VAE(WithDeviation(QAEPaperConfig(width=4, frames=4)), late.config).eval()
    other.load_state_dict(late.state_dict())
    assert other(batch(), [0, 0], 0.0).loss.item() == pytest.approx(one.loss.item())


def test_wrong_vae_recipes_are_refused() -> None:
    """Unknown fields, LPIPS without weights, and backbones without posterior."""
    with pytest.raises(InputError, match=r"unknown field 'vae\.speed'"):
        VAEConfig.read({"speed": 1})
    with pytest.raises(UsageError, match="do not come with vcodec"):
        VAEConfig.read({"lpips": 1.0})
    with pytest.raises(UsageError, match="QAEPaper has none"):
        VAE(QAEPaper(QAEPaperConfig(width=4)), VAEConfig())


def test_a_vae_is_trained_to_its_end(tmp_path: Path) -> None:
    """The loop trains codec and critic together, follows both norms, resumes exactly, and shows what is decoded."""
    luma = np.random.default_rng(0).integers(0, 255, (8, 64, 64), dtype=np.uint8)
    clips = Clips([[Run.gray("a", luma)], [Run.gray("b", luma[::-1])]])
    plan = Recipe(
        loss="vae", steps=6, batch=2, crop=32, frames=(4,), validation_batches=1, evaluate_steps=3, low_precision=False
    )

    def trainer(folder: Path) -> Trainer:
        return Trainer(model(gan=0.5, gan_start=2, kl=1e-4), plan, clips, folder, seed=2)

    whole = trainer(tmp_path / "a")
    losses = [whole.train_step() for _ in range(6)]
    assert set(whole.tally.norms) == {"codec", "critic"}
    first = trainer(tmp_path / "b")
    for _ in range(3):
        first.train_step()
    first.save()
    second = trainer(tmp_path / "b")
    second.resume()
    assert [second.train_step() for _ in range(3)] == losses[3:]
    found = second.evaluate()
    assert list(found.table) == [0] and list(found.pictures) == ["source", "decoded"]
    assert found.pictures["decoded"].shape == (4, 1, 4, 64, 64)


def test_lpips_is_read_from_files(tmp_path: Path) -> None:
    """lpips' own state and torchvision's two files give one distance: 0 for equal clips, symmetric."""
    torch.manual_seed(3)
    net = Lpips()
    with torch.no_grad():
        for lin in net.lins:
            lin.weight.abs_()
    vgg = {f"features.{n[6:]}": t for n, t in net.state_dict().items() if n.startswith("convs.")}
    lins = {f"lin{n[5]}.model.1.weight": t for n, t in net.state_dict().items() if n.startswith("lins.")}
    torch.save(vgg, tmp_path / "vgg16.pth")
    save_file(lins, tmp_path / "lins.safetensors")
    whole = {f"net.slice1.{n[9:]}": t for n, t in vgg.items()} | lins | {"scaling_layer.shift": torch.zeros(1)}
    save_file(whole, tmp_path / "lpips.safetensors")
    one = Lpips.load([tmp_path / "vgg16.pth", tmp_path / "lins.safetensors"])
    two = Lpips.load([tmp_path / "lpips.safetensors"])
    a, b = torch.rand(1, 3, 2, 32, 32), torch.rand(1, 3, 2, 32, 32)
    assert one(a, a).item() == 0 and one(a, b).item() > 0
    assert one(a, b).item() == pytest.approx(two(b, a).item(), rel=1e-5)
    hat = b.clone().requires_grad_()
    one(a, hat).backward()
    assert hat.grad is not None and hat.grad.abs().sum() > 0 and not any(p.requires_grad for p in one.parameters())
    with pytest.raises(WeightsError, match="not the weights of LPIPS"):
        Lpips.load([tmp_path / "lins.safetensors"])
    with pytest.raises(WeightsError, match="no such file"):
        Lpips.load([tmp_path / "missing.pth"])
    (tmp_path / "bad.pth").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match="not a file of tensors"):
        Lpips.load([tmp_path / "bad.pth"])


def test_a_codebook_is_put_where_latents_are() -> None:
    """Fitted levels are ascending and closer to Laplacian latents than the uniform start, for each K."""
    torch.manual_seed(0)
    values = torch.distributions.Laplace(0.5, 3.0).sample((4, 2, 2, 30, 30))
    start, fitted = ScalarCodebook(ScalarConfig(2, ks=(2, 8, 64))), ScalarCodebook(ScalarConfig(2, ks=(2, 8, 64)))
    fit_codebook(fitted, [values[:2], values[2:]])
    last = float("inf")
    for k in (2, 8, 64):
        assert (fitted.codebook(k).diff() > 0).all()
        errors = [(b(values, k)[0] - values).square().mean().item() for b in (fitted, start)]
        assert errors[0] < (0.5 if k > 2 else 0.9) * errors[1] and errors[0] < 0.3 * last
        last = errors[0]
