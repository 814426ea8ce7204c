"""Training: footage in, checkpoint out, exact resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from vcodec import training
from vcodec.checkpoint import load_codec, new_parts
from vcodec.codec import Grid, Settings
from vcodec.datasets.base import Dataset, Preparation
from vcodec.datasets.footage import Footage, FootageConfig
from vcodec.entropy.context import ContextConfig, ContextNet
from vcodec.entropy.rate import laplace_bits
from vcodec.errors import InputError, OutputError, UnknownNameError, UsageError
from vcodec.quantizers.conditional import ConditionalCodebook, ConditionalConfig, bounds
from vcodec.quantizers.scalar import ScalarCodebook, ScalarConfig
from vcodec.scale import level_of, levels_of
from vcodec.training.loop import Trainer
from vcodec.training.rate_distortion import RateDistortion


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """A folder of two small videos."""
    folder = tmp_path_factory.mktemp("footage")
    for i in range(2):
        make_clip(folder / f"clip{i}.mp4", frames=12, size=(96, 80), audio=False)
    return folder


def trainer(folder: Path, clips: Dataset, steps: int) -> Trainer:
    """A tiny training run whose share follows its steps, not the clock."""
    torch.manual_seed(0)
    parts = new_parts("qae", {"backbone": {"width": 8}})
    model = RateDistortion(parts.backbone, parts.quantizer, ContextNet(ContextConfig(width=8)))
    plan = dataclasses.replace(training.load_recipe("qae"), batch=2, crop=32, frames=(2, 3))
    made = Trainer(model, plan, clips, folder, seed=1)
    made.share = lambda: made.step / steps  # type: ignore[method-assign]
    return made


def test_a_resumed_run_equals_an_uninterrupted_one(footage: Path, tmp_path: Path) -> None:
    """Stopping after any step and resuming from disk gives the same weights, bit for bit."""
    clips = Footage.open([footage], FootageConfig(), Preparation(tmp_path / "cache"))
    whole = trainer(tmp_path / "a", clips, 6)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    losses = [whole.train_step() for _ in range(6)]
    first = trainer(tmp_path / "b", clips, 6)
    for _ in range(3):
        first.train_step()
    first.save()
    second = trainer(tmp_path / "b", clips, 6)
    assert second.resume() and second.step == 3
    assert [second.train_step() for _ in range(3)] == losses[3:]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
        assert torch.equal(whole.average[name], second.average[name]), name


@pytest.mark.parametrize("codec", ["qae", "qae:paper"])
def test_train_makes_a_codec_that_codes(footage: Path, tmp_path: Path, codec: str) -> None:
    """`train` on a folder writes a checkpoint that encodes and decodes; a second run there needs --resume."""
    recipe = tmp_path / "quick.toml"
    name = codec.replace(":", "-")
    recipe.write_text(f'extends = "{name}"\nbatch = 2\ncrop = 32\nframes = [4]\n')
    out = tmp_path / "model.safetensors"
    made = training.run([footage], out, codec=codec, recipe=str(recipe), minutes=0.02, quiet=True, device="cpu")
    assert made["steps"] >= 1
    model = load_codec(out)
    assert model.weights_sha256.hex() == made["sha256"]
    frame = np.zeros((32, 32), np.uint8)
    planes = (frame,) if model.pixel_format == "gray" else (frame, frame[::2, ::2], frame[::2, ::2])
    payload, _ = model.compress(model.to_clip([planes]), None, Settings(8))
    clip, _ = model.decompress(payload.data, 0, Grid(1, 32, 32), None, Settings(8))
    assert clip.isfinite().all()
    with pytest.raises(OutputError, match="--resume"):
        training.run([footage], out, codec=codec, recipe=str(recipe), minutes=0.02, quiet=True)


def test_recipes_parse_and_refuse(tmp_path: Path) -> None:
    """Every bundled recipe parses; unknown names, fields and types are named."""
    assert {"qae", "qae-paper"} <= set(training.recipe_names())
    for name in training.recipe_names():
        assert training.load_recipe(name).minutes > 0
    with pytest.raises(UnknownNameError, match="qae-paper"):
        training.load_recipe("nothing")
    for text, problem in (("speed = 1", "unknown field 'speed'"), ('batch = "x"', "'batch' must be"), ("=", "TOML")):
        path = tmp_path / "bad.toml"
        path.write_text(text)
        with pytest.raises(InputError, match=problem):
            training.load_recipe(path)
    with pytest.raises(UsageError):
        training.run([tmp_path], tmp_path / "x", minutes=0)


@pytest.mark.parametrize("k", [2, 3, 4, 7, 32, 256])
def test_conditional_codebook_has_k_levels_with_zero(k: int) -> None:
    """K levels, zero one of them, ascending; the nearest is chosen; the step falls as K grows."""
    book = ConditionalCodebook(ConditionalConfig(4))
    low, high = bounds(k)
    assert high - low + 1 == k and low <= 0 <= high
    level, kind, phase = levels_of([k]), torch.tensor([1]), torch.tensor([0])
    index = torch.arange(low, high + 1.0).view(1, 1, 1, -1).expand(1, 4, 1, -1)
    values = book.dequantize(index, level, kind, phase, oriented=False)
    assert (values.diff(dim=3) > 0).all() and (values[index == 0] == 0).all()
    back = book.nearest(values / book.step(level, kind), torch.tensor(float(low)), torch.tensor(float(high)))
    assert torch.equal(back, index)
    if k > 2:
        assert (book.step(level, kind) < book.step(levels_of([k - 1]), kind)).all()


def test_gradients_pass_straight_through_where_they_may() -> None:
    """A level follows its latent away from zero and inside the codebook; elsewhere no gradient passes; steps learn."""
    book = ConditionalCodebook(ConditionalConfig(1))
    level, kind, phase = levels_of([8]), torch.tensor([0]), torch.tensor([0])
    step = book.step(level, kind).item()
    values = (torch.tensor([0.1, 1.2, 9.0]) * step).view(1, 1, 1, 3).requires_grad_()
    low, high = (torch.tensor(float(x)) for x in bounds(8))
    hat, soft = book(values, level, kind, phase, low, high)
    (grad,) = torch.autograd.grad(hat.sum(), values, retain_graph=True)
    assert grad.flatten().tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-5)
    assert soft.flatten().tolist() == pytest.approx([0.0, -1.0, 4.0], abs=1e-5)  # sides alternate along a row
    assert torch.autograd.grad(hat.square().sum(), book.log_step)[0].abs().sum() > 0


def test_scalar_codebook_interpolates() -> None:
    """Own sizes give their levels, sizes between them ascending mixtures; beyond them is refused; levels learn."""
    book = ScalarCodebook(ScalarConfig(4, ks=(4, 16)))
    for k in (4, 5, 11, 16):
        assert len(book.codebook(k)) == k and (book.codebook(k).diff() > 0).all()
    values = torch.randn(2, 4, 3, 5, requires_grad=True)
    hat, _ = book(values, 4)
    nearest = (book.codebook(4).view(-1, 1) - values.reshape(1, -1)).abs().min(0).values.view_as(values)
    assert ((hat - values).abs() <= nearest + 1e-6).all()
    hat.sum().backward()
    assert (values.grad == 1).all() and book.levels["4"].grad.abs().sum() > 0
    with pytest.raises(InputError, match="K = 4 to 16"):
        book.codebook(32)


def test_rate_is_the_laplace_distribution() -> None:
    """The training rate's probabilities sum to one, and its slope points towards fewer bits."""
    table = torch.tensor([20.0]).view(1, 1, 1, 1)
    index = torch.arange(-400.0, 401.0).view(1, 1, 1, -1)
    for one_sided, cells in ((False, index), (True, index[..., 400:402])):
        bits = laplace_bits(cells, table.expand_as(cells), torch.tensor(one_sided).view(1, 1, 1, 1))
        assert torch.exp2(-bits).sum().item() == pytest.approx(1.0, abs=1e-4)
    soft = torch.tensor([0.0, 3.0, -3.0]).view(1, 1, 1, 3).requires_grad_()
    laplace_bits(soft, table.expand(1, 1, 1, 3), torch.tensor(False)).sum().backward()
    assert soft.grad.flatten()[1] > 0 > soft.grad.flatten()[2]
    assert level_of(256) == 8.0
