"""Training: footage in, checkpoint out, exact resume."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from tests.models import moving_frames, small_codec
from vcodec import training
from vcodec.backbones.base import Backbone
from vcodec.checkpoint import load_codec
from vcodec.codec import Codec, Grid, Settings
from vcodec.datasets.base import Dataset, Preparation
from vcodec.datasets.footage import Footage, FootageConfig
from vcodec.entropy.rate import laplace_bits
from vcodec.errors import InputError, OutputError, UsageError, WeightsError
from vcodec.quantizers.conditional import ConditionalCodebook, ConditionalConfig, bounds
from vcodec.quantizers.scalar import ScalarCodebook, ScalarConfig
from vcodec.scale import level_of, levels_of
from vcodec.training.loop import Trainer
from vcodec.training.objectives import new_objective


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """A folder of two small videos."""
    folder = tmp_path_factory.mktemp("footage")
    for i in range(2):
        make_clip(folder / f"clip{i}.mp4", frames=12, size=(96, 80), audio=False)
    return folder


TINY = {
    "qae": 'extends = "qae"\nmodel.backbone.width = 8\nbatch = 2\ncrop = 32\nframes = [2, 3]\n',
    "qae:paper": 'extends = "qae-paper"\nmodel.backbone.width = 8\nmodel.quantizer.ks = [2, 8]\nbatch = 2\ncrop = 32\n',
}
QUICK = "validation_batches = 1\nvalidation_crop = 32\nvalidation_ks = [2, 32]\n"


def quick(tmp_path: Path, codec: str, more: str = "") -> Path:
    """A recipe for a tiny model of a codec."""
    path = tmp_path / "quick.toml"
    path.write_text(TINY[codec] + QUICK + more)
    return path


def trainer(folder: Path, clips: Dataset, recipe: Path, *changes: str) -> Trainer:
    """A tiny training run of 6 steps."""
    torch.manual_seed(0)
    plan = training.load_recipe(recipe, ["steps=6", *changes])
    return Trainer(new_objective(plan, None)[1], plan, clips, folder, seed=1)


@pytest.mark.parametrize("codec", ["qae", "qae:paper"])
@pytest.mark.parametrize("how", ["straight-through", "noise", "mixed"])
def test_a_resumed_run_equals_an_uninterrupted_one(footage: Path, tmp_path: Path, codec: str, how: str) -> None:
    """Stopping after any step and resuming from disk gives the same weights, bit for bit, however it quantizes."""
    clips = Footage.open([footage], FootageConfig(), Preparation(tmp_path / "cache"))
    plan = quick(tmp_path, codec, f'quantization = "{how}"\n')
    whole = trainer(tmp_path / "a", clips, plan)
    losses = [whole.train_step() for _ in range(6)]
    assert all(np.isfinite(losses)) and len(set(losses)) == 6
    first = trainer(tmp_path / "b", clips, plan)
    for _ in range(3):
        first.train_step()
    first.save()
    second = trainer(tmp_path / "b", clips, plan)
    assert second.resume() and second.step == 3
    assert [second.train_step() for _ in range(3)] == losses[3:]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
        assert torch.equal(whole.average[name], second.average[name]), name


def test_parts_of_a_batch_add_up(footage: Path, tmp_path: Path) -> None:
    """Computing an update's crops in parts gives the loss and gradient of the whole batch; parts must be equal."""
    clips = Footage.open([footage], FootageConfig(), Preparation(tmp_path / "cache"))
    plan = quick(tmp_path, "qae", "low_precision = false\n")
    one, two = (trainer(tmp_path / "a", clips, plan, "batch=4", f"accumulate={n}") for n in (1, 2))
    assert one.train_step() == pytest.approx(two.train_step(), rel=1e-5)
    assert one.tally.norms["codec"] == pytest.approx(two.tally.norms["codec"], rel=1e-4)
    with pytest.raises(UsageError, match="multiple of 3"):
        trainer(tmp_path / "a", clips, plan, "batch=4", "accumulate=3")


def test_a_run_of_minutes_resumes_in_its_plan(footage: Path, tmp_path: Path) -> None:
    """A run measured in minutes that is cut off does the rest of its segment as it would have."""
    clips = Footage.open([footage], FootageConfig(), Preparation(tmp_path / "cache"))
    plan = quick(tmp_path, "qae:paper")
    whole = trainer(tmp_path / "a", clips, plan, "steps=0", "minutes=0.5", "checkpoint_seconds=1")
    while whole.step < 4 or whole.step < whole.schedule.end:
        whole.train_step()
        if whole.step == 2:
            whole.schedule.plan(whole.step, whole.seconds)
    whole.schedule.plan(whole.step, whole.seconds)
    whole.save()
    losses = [whole.train_step() for _ in range(4)]
    again = trainer(tmp_path / "a", clips, plan, "steps=0", "minutes=0.5")
    assert again.resume() and 0 < again.share() < 1
    assert [again.train_step() for _ in range(4)] == losses and again.share() == whole.share()


def test_a_rule_ends_a_run(footage: Path, tmp_path: Path) -> None:
    """Nothing learned: the paper's rule ends the run at its second validation, and it stays ended when resumed."""
    clips = Footage.open([footage], FootageConfig(), Preparation(tmp_path / "cache"))
    plan = quick(tmp_path, "qae:paper", 'stop = "one-percent"\nevaluate_steps = 2\n')
    ended = trainer(tmp_path / "a", clips, plan, "learning_rate=0")
    ended.run(lambda at: None)
    assert ended.step == 4 and "less than 1 %" in ended.tally.stopped
    again = trainer(tmp_path / "a", clips, plan, "learning_rate=0")
    again.resume()
    again.run(lambda at: None)
    assert again.step == 4


@pytest.mark.parametrize("codec", ["qae", "qae:paper"])
def test_train_makes_a_codec_that_codes(footage: Path, tmp_path: Path, codec: str) -> None:
    """`train` on a folder writes a checkpoint that encodes and decodes; a second run there needs --resume."""
    recipe = quick(tmp_path, codec)
    out = tmp_path / "model.safetensors"
    made = training.run([footage], out, codec=codec, recipe=recipe, minutes=0.02, quiet=True, device="cpu")
    assert made["steps"] >= 1 and made["minutes"] >= 0.02
    model = load_codec(out)
    assert model.weights_sha256.hex() == made["sha256"]
    frame = np.zeros((32, 32), np.uint8)
    planes = (frame,) if model.pixel_format == "gray" else (frame, frame[::2, ::2], frame[::2, ::2])
    payload, _ = model.compress(model.to_clip([planes]), None, Settings(8))
    clip, _ = model.decompress(payload.data, 0, Grid(1, 32, 32), None, Settings(8))
    assert clip.isfinite().all()
    with pytest.raises(OutputError, match="--resume"):
        training.run([footage], out, codec=codec, recipe=recipe, minutes=0.02, quiet=True)
    # weights can be started from, by the same codec only
    parts, _ = new_objective(training.load_recipe(codec.replace(":", "-")), model)
    assert all(torch.equal(t, model.backbone.state_dict()[n]) for n, t in parts.backbone.state_dict().items())
    with pytest.raises(UsageError, match="--weights holds"):
        new_objective(training.load_recipe("qae" if codec != "qae" else "qae-paper"), model)


def test_a_larger_model_grows_from_a_smaller_one() -> None:
    """Wider and deeper networks code about as those they start from, train where the recipe says, and never shrink."""
    small = small_codec("qae")
    sizes = ["width=24", "refine_layers=4", "analysis_layers=5", "synthesis_layers=4"]
    plan = training.load_recipe("qae-keyframes", [f"model.backbone.{s}" for s in sizes])
    parts, model = new_objective(plan, small)
    grown = parts.backbone
    frames = moving_frames(small, 1, 64, 64)
    clip = small.to_clip(frames)
    with torch.inference_mode():
        kept, new = (b.encode(clip, None, 32)[0].values for b in (small.backbone, grown))
    plain = (small.backbone.encode(clip, None, 32)[0].values - blank(small).encode(clip, None, 32)[0].values).std()
    assert 0 < (new - kept).std() < 0.05 * plain
    trained = {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"refine", "analysis", "synthesis", "log_step", "pull", "keys"}
    with pytest.raises(WeightsError, match="do not fit"):
        new_objective(training.load_recipe("qae", ["model.backbone.width=8"]), small)
    with pytest.raises(InputError, match="names no part"):
        new_objective(training.load_recipe("qae", ["only=nothing"]), small)


def blank(codec: Codec) -> Backbone:
    """Its networks without those that start at zero."""
    out = deepcopy(codec.backbone)
    for name in ("refine", "analysis"):
        torch.nn.init.zeros_(out.get_submodule(name).last.weight)
        torch.nn.init.zeros_(out.get_submodule(name).last.bias)
    return out


def test_a_longer_run_goes_on(footage: Path, tmp_path: Path) -> None:
    """A finished run with more minutes or steps goes on from the share of the new length that it has reached."""
    clips = Footage.open([footage], FootageConfig(), Preparation(tmp_path / "cache"))
    plan = quick(tmp_path, "qae:paper")
    first = trainer(tmp_path / "a", clips, plan, "steps=2")
    first.run(lambda at: None)
    same = trainer(tmp_path / "a", clips, plan, "steps=2")
    same.resume()
    same.run(lambda at: None)
    assert same.step == 2
    longer = trainer(tmp_path / "a", clips, plan, "steps=5")
    longer.resume()
    assert longer.share() == 0.4
    longer.run(lambda at: None)
    assert longer.step == 5 and longer.latest is not None
    timed = trainer(tmp_path / "a", clips, plan, "steps=0", f"minutes={2 * longer.seconds / 60}")
    timed.resume()
    assert timed.share() == pytest.approx(0.5)
    timed.run(lambda at: None)
    assert timed.step >= 6 and timed.share() == 1.0


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
