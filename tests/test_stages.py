"""The stages of training in iv-vae: image VAE, clips, mixed sizes with the critic, each from the one before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from tests.models import small_codec
from vcodec import training
from vcodec.backbones.ivvae import IVVAE, IVVAEConfig
from vcodec.checkpoint import load_codec, new_parts, save_codec
from vcodec.cli import main
from vcodec.datasets.base import Batch
from vcodec.datasets.moving_digits import MovingDigits, draw_digits
from vcodec.errors import InputError, UsageError
from vcodec.training.loop import Trainer
from vcodec.training.objectives import new_objective
from vcodec.training.recipe import Recipe
from vcodec.training.vae import VAE, VAEConfig

SMALL = ["batch=1", "crop=32", "validation_batches=1", "validation_crop=32", "data.frames=40"]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small video."""
    folder = tmp_path_factory.mktemp("stages")
    make_clip(folder / "clip.mp4", frames=40, size=(64, 64), audio=False)
    return folder


def stage(footage: Path, out: Path, *arguments: str) -> None:
    command = ["train", str(footage), "-o", str(out), "--device", "cpu", "--threads", "1", "--workers", "1", "-q"]
    changes = [part for change in SMALL for part in ("--set", change)]
    assert main([*command, "--steps", "2", *changes, *arguments]) == 0


def test_each_stage_starts_from_the_one_before(footage: Path, tmp_path: Path) -> None:
    """Plain commands lead from the image VAE to the stage with the critic; the result encodes and decodes a file."""
    image, video, tuned = (tmp_path / f"{name}.safetensors" for name in ("image", "video", "tuned"))
    base = ("--set", "model.backbone.base=4")
    stage(footage, image, "--recipe", "imagevae", "--codec", "imagevae:z2-small", *base)
    clips = ("--codec", "ivvae:z4-small", "--set", "frames=[5]")
    stage(footage, video, "--recipe", "ivvae", *clips, "--weights", str(image), *base)
    mixed = ("--set", "frames=[5,9]", "--set", "crops=[48,32]", "--set", "vae.critic_width=8")
    stage(footage, tuned, "--recipe", "ivvae-gan", "--codec", "ivvae:z4-small", "--weights", str(video), *mixed)
    with (tmp_path / "tuned.safetensors.run" / "recipe.json").open() as file:
        assert '"mixed": true' in file.read()
    coded, back = tmp_path / "a.vae", tmp_path / "a.mkv"
    assert main(["encode", str(footage / "clip.mp4"), "-o", str(coded), "--weights", str(tuned), "-q"]) == 0
    assert main(["decode", str(coded), "-o", str(back), "--weights", str(tuned), "-q"]) == 0
    assert back.stat().st_size > 1000


def checkpoint(folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(':', '-')}.safetensors"
    save_codec(small_codec(name), path)
    return path


@pytest.mark.parametrize(
    ("image", "codec"), [("imagevae:z2-small", "ivvae:z4-small"), ("imagevae:z4-small", "causalvae:z4-small")]
)
def test_an_image_vae_is_inflated(tmp_path: Path, image: str, codec: str) -> None:
    """The video VAE begins with the image VAE's own picture of the first frame."""
    plan = training.load_recipe("vae", [f"codec={codec}", "model.backbone.base=4"])
    parts, _ = new_objective(plan, load_codec(checkpoint(tmp_path, image)))
    still, video = small_codec(image).backbone, parts.backbone.eval()
    clip = torch.rand(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out, wanted = video(clip, sample=False)[0], still(clip, sample=False)[0]
    torch.testing.assert_close(out[:, :, 0], wanted[:, :, 0], atol=1e-4, rtol=1e-4)


def test_the_same_codec_goes_on_from_its_weights(tmp_path: Path) -> None:
    """A later stage begins with exactly the weights of the stage before, sizes taken from the checkpoint."""
    path = checkpoint(tmp_path, "ivvae:z4-small")
    parts, _ = new_objective(training.load_recipe("ivvae-gan", ["codec=ivvae:z4-small"]), load_codec(path))
    kept = load_codec(path).backbone.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in parts.backbone.state_dict().items())


def test_anything_else_is_refused(tmp_path: Path) -> None:
    """Other codecs, image VAEs that do not fit and image VAEs for what is no video VAE: one line, with the way out."""
    image, video = checkpoint(tmp_path, "imagevae:z4-small"), checkpoint(tmp_path, "ivvae:z4-small")

    def started(codec: str, weights: Path, *changes: str) -> Any:
        return new_objective(training.load_recipe("vae", [f"codec={codec}", *changes]), load_codec(weights))

    with pytest.raises(UsageError, match=r"holds codec 'ivvae:z4-small', not 'causalvae:z4-small'"):
        started("causalvae:z4-small", video)
    with pytest.raises(UsageError, match="from an imagevae"):
        started("imagevae:z8-small", image)
    with pytest.raises(InputError, match=r"--weights: .*needed are base 4 and 2 channels"):
        started("ivvae:z4-small", image, "model.backbone.base=4")
    with pytest.raises(UsageError, match="holds codec"):
        new_objective(training.load_recipe("qae"), load_codec(image))


def test_sizes_are_mixed() -> None:
    """Mixed entries are drawn anew for each step, the same in every run; others follow one another."""
    digits = MovingDigits(draw_digits(20, 0), 2)
    plan = Recipe(codec="ivvae:z4-small", loss="vae", steps=40, frames=(1, 5), crops=(48, 32), batch=1, mixed=True)
    parts = new_parts("ivvae:z4-small", {"backbone": {"base": 4}})

    def shapes(mixed: bool) -> list[tuple[int, int]]:
        chosen = Recipe(**{**vars(plan), "mixed": mixed})
        trainer = Trainer(VAE(parts.backbone, VAEConfig()), chosen, digits, Path("nowhere"), seed=3)
        seen = []
        for _ in range(40):
            seen.append(trainer._shape(trainer.step))
            trainer.tally.step += 1
        return seen

    once = shapes(True)
    assert once == shapes(True) and set(once) == {(1, 48), (5, 32)} and once != sorted(once)
    assert shapes(False) == [(1, 48)] * 20 + [(5, 32)] * 20
    with pytest.raises(InputError, match="'crops' must be empty or have a side"):
        Recipe(frames=(1, 5), crops=(48,))


def objective(**config: Any) -> VAE:
    torch.manual_seed(4)
    return VAE(IVVAE(IVVAEConfig(4, 4)), VAEConfig(**config))


def batch(side: int) -> Batch:
    return Batch.gray(torch.rand(1, 5, 1, side, side, generator=torch.Generator().manual_seed(side)))


def test_the_critic_weighs_by_size() -> None:
    """A size that the recipe names has its own weight of the critic, others the common one."""

    def loss(side: int, **config: Any) -> float:
        model = objective(critic_width=8, **config)
        torch.manual_seed(1)
        return model(batch(side), [0], 0.0).loss.item()

    table = {"gan": 0.5, "gan_start": 0, "gan_by_crop": {"32": 2.0}}
    assert loss(32, **table) == loss(32, gan=2.0, gan_start=0) != loss(32, gan=0.5, gan_start=0)
    assert loss(48, **table) == loss(48, gan=0.5, gan_start=0)
    parsed = VAEConfig.read(training.load_recipe("ivvae-gan").vae)
    assert set(map(int, parsed.gan_by_crop)) <= set(training.load_recipe("ivvae-gan").crops)


def test_low_precision_is_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 runs the networks on devices named for it, CPUs not among them, and gives nearly the same loss."""

    def loss(model: VAE, low: bool) -> torch.Tensor:
        model.low_precision = low
        torch.manual_seed(2)
        value: torch.Tensor = model(batch(32), [0], 0.0).loss
        return value

    model = objective()
    full = loss(model, low=False)
    assert torch.equal(loss(model, low=True), full)
    monkeypatch.setattr(VAE, "low_precision_devices", ("cpu",))
    narrow = loss(model, low=True)
    assert narrow.dtype == torch.float32 and narrow != full
    assert narrow.item() == pytest.approx(full.item(), rel=0.02)
    narrow.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_critics_table_is_checked() -> None:
    """What is no table of numbers is refused before training begins."""
    refuse: Callable[[Any], VAEConfig] = lambda value: VAEConfig.read({"gan": 0.1, "gan_by_crop": value})  # noqa: E731
    for wrong in (0.5, {"x": 0.5}, {"64": "much"}):
        with pytest.raises(InputError, match=r"vae\.gan_by_crop"):
            refuse(wrong)
    assert np.isclose(refuse({"64": 1}).gan_by_crop["64"], 1)
