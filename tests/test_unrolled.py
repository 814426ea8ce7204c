"""Training on a GPU: dense motion compensation and frames a call are those of decoding and of plain training."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from tests.models import picture, small_codec
from vcodec.backbones.compensation import compensate
from vcodec.backbones.softening import softened
from vcodec.checkpoint import load_codec
from vcodec.datasets.base import Batch
from vcodec.entropy.context import ContextConfig, ContextNet
from vcodec.sources import BLURRED, MEMORY, SOFT, SOURCES
from vcodec.training.gathered import Gathered
from vcodec.training.rate_distortion import RateDistortion
from vcodec.training.unrolled import Unrolled, placed

KS = [4, 24, 128]


def test_dense_motion_is_that_of_decoding() -> None:
    """Random vectors, far beyond the frame too, give what compensate gives; gradients reach the reference."""
    torch.manual_seed(2)
    luma = torch.rand(3, 1, 48, 64, requires_grad=True)
    chroma = torch.rand(3, 2, 24, 32)
    vectors = torch.randint(-90, 90, (3, 2, 6, 8))
    vectors[:, :, ::2] = vectors[:, :, :1]
    got, want = Gathered()(luma, chroma, vectors), compensate([(luma, chroma)], vectors)
    for a, b in zip(got, want, strict=True):
        assert (a - b).abs().max() < 2e-6
    weight = torch.rand_like(luma)
    (one,) = torch.autograd.grad((got[0] * weight).sum(), luma, retain_graph=True)
    (other,) = torch.autograd.grad((want[0] * weight).sum(), luma)
    assert (one - other).abs().max() < 1e-5


def material() -> Batch:
    """A texture that drifts, three crops of it."""
    rng = np.random.default_rng(4)
    wide = [torch.from_numpy(picture(rng, 48, 48)) / 255.0 for _ in range(3)]
    luma = torch.stack([torch.stack([p[t : t + 32, t : t + 32] for t in range(3)]) for p in wide])[:, :, None]
    chroma = torch.stack([luma[:, :, 0, ::2, ::2], 1 - luma[:, :, 0, ::2, ::2]], 2)
    return Batch(luma, chroma, torch.full((3, 3, 2, 4, 4), -4))


@pytest.fixture
def models() -> tuple[RateDistortion, Unrolled]:
    """Plain training and that of a GPU, of one codec."""
    codec = small_codec("qae", keys=True)
    torch.manual_seed(5)
    context = ContextNet(ContextConfig(96, key_width=16))
    for parameter in (*codec.backbone.parameters(), *codec.quantizer.parameters()):
        parameter.requires_grad_(True)
    plain = RateDistortion(codec.backbone, codec.quantizer, context).eval()
    return plain, Unrolled(codec.backbone, codec.quantizer, context, 32, chosen=False)


def unrolled_cost(model: Unrolled, batch: Batch) -> torch.Tensor:
    """Cost of each crop, all its frames."""
    last, past, total = None, torch.zeros(3, 96, 4, 4), torch.zeros(3)
    for t in range(3):
        at = placed(KS, t, torch.device("cpu"))
        coded = model(batch.luma[:, t], batch.chroma[:, t], last, past, batch.vectors[:, t], at)
        last, past, total = (coded.luma, coded.chroma), coded.indices, total + coded.cost
    return total


def test_a_frame_a_call_is_plain_training(models: tuple[RateDistortion, Unrolled]) -> None:
    """With the nearest indices the loss, and what it asks of the loop filter, is that of plain training."""
    plain, merged = models
    batch = material()
    wanted = [p for n, p in plain.backbone.named_parameters() if "loop_filter" in n]
    loss = plain(batch, KS, 0.0).loss
    cost = unrolled_cost(merged, batch).mean() / (3 * 32 * 32)
    assert torch.allclose(loss, cost, rtol=1e-4)
    for a, b in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(cost, wanted), strict=True):
        assert torch.allclose(a, b, rtol=2e-2, atol=1e-5 + 1e-3 * float(a.abs().max()))


def test_chosen_indices_cost_less(models: tuple[RateDistortion, Unrolled]) -> None:
    """Indices chosen as an encoder does take less of distortion + λ·bits than the nearest ones."""
    merged, batch = models[1], material()
    with torch.no_grad():
        nearest = unrolled_cost(merged, batch)
        merged.chosen = True
        assert unrolled_cost(merged, batch).sum() < 0.99 * nearest.sum()


def test_sources_are_those_of_decoding() -> None:
    """Blocks come from the last frame, the memory, or the last frame smoothed, as in decoding; gradients reach both."""
    torch.manual_seed(3)

    def shown() -> tuple[torch.Tensor, ...]:
        sizes = (2, 1, 48, 64), (2, 2, 24, 32)
        return tuple(torch.randint(0, 256, size).to(torch.uint8) for size in sizes)

    levels, memory = shown(), tuple(plane / 255 for plane in shown())
    last = tuple(plane / 255 for plane in levels)
    vectors = torch.randint(-30, 30, (2, 3, 6, 8))
    vectors[:, 2] = torch.randint(0, SOURCES, (2, 6, 8))
    vectors[:, :2] *= vectors[:, 2:] != MEMORY
    want = compensate([last, memory, *(tuple(p / 255 for p in softened(levels, s)) for s in (SOFT, BLURRED))], vectors)
    last[0].requires_grad_()
    got = Gathered()(*last, vectors, memory)
    for a, b in zip(got, want, strict=True):
        assert (a.detach() - b).abs().max() < 2e-6
    (slope,) = torch.autograd.grad(got[0].sum(), last[0])
    assert slope.abs().mean() > 0.1


def script(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Run examples/train_on_gpu.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples"))
    import train_on_gpu

    monkeypatch.setattr(sys, "argv", ["train_on_gpu.py", *map(str, words)])
    train_on_gpu.main()


@pytest.mark.parametrize("loss", [[], ["--curve", "--filter", "12x3"]])
def test_the_script_trains_what_is_between_keyframes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: list[str]
) -> None:
    """examples/train_on_gpu.py takes steps on a CPU, too; networks and steps of keyframes are the start's."""
    clips, state, out = tmp_path / "clips", tmp_path / "state.safetensors", tmp_path / "out.safetensors"
    clips.mkdir()
    for i in range(2):
        make_clip(clips / f"{i}.mp4", frames=12, size=(80, 64))
    script(monkeypatch, "record", clips, "-o", tmp_path / "gops", "--gop", 6, "--jobs", 1)
    recorded = sorted((tmp_path / "gops").glob("*.npz"))
    assert [path.name for path in recorded[:4]] == ["0.0.32.npz", "0.0.6.npz", "0.1.32.npz", "0.1.6.npz"]
    with np.load(recorded[0]) as gop:
        assert gop["luma"].shape == (6, 64, 80) and gop["vectors"].shape == (6, 3, 8, 10)
        assert not gop["vectors"][0].any() and gop["vectors"][1:].any() and 0 < gop["side"] < 8 * 6 * 64 * 80
    options = ["--minutes", 0.02, "--batch", 2, "--crop", 32, "--windows", 3, "--device", "cpu", *loss]
    script(monkeypatch, "train", tmp_path / "gops", "-o", state, *options)
    script(monkeypatch, "count", clips, state, "-o", out, "--frames", 0)
    start, made = load_codec("qae"), load_codec(out)
    old, new = start.backbone.state_dict(), made.backbone.state_dict()
    assert all(torch.equal(old[n], new[n]) for n in old if n.startswith(("refine", "analysis", "synthesis")))
    assert any(not torch.equal(old[n], new[n]) for n in old if n.startswith("loop_filter"))
    assert torch.equal(start.quantizer.log_step[0], made.quantizer.log_step[0])
