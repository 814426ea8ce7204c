"""The models of iv-vae's ablation: sizes, streams and starts of each; what the study makes of their measures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vcodec.backbones.ablation import VARIANTS
from vcodec.backbones.causalvae import CausalVAE
from vcodec.backbones.group_conv import GroupCausalConv
from vcodec.backbones.inflation import inflate
from vcodec.backbones.vae_layers import CausalConv
from vcodec.cli import main
from vcodec.errors import InputError
from vcodec.studies import ivvae
from vcodec.studies.ivvae_report import summarize, verdict, write_report
from vcodec.studies.reconstructing import measure_clips

ALL = list(VARIANTS)


def shaken(model: Any) -> Any:
    """Every part in use, in float64."""
    torch.manual_seed(5)
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def test_sizes_are_those_of_table_4() -> None:
    """127 M, the same with GCConv; 104 M with KTC; 107 M with TMPE; 3D+3D about a quarter more."""
    millions = {}
    with torch.device("meta"):
        for name, variant in VARIANTS.items():
            millions[name] = sum(p.numel() for p in variant.build(8, 64).parameters()) / 1e6
    assert millions["causal"] == millions["gcconv"] == pytest.approx(127, rel=0.01)
    assert millions["ktc"] == millions["gcconv-ktc"] == pytest.approx(104, rel=0.005)
    assert millions["ivvae"] == pytest.approx(107, rel=0.005)
    assert 1.2 < millions["3d-3d"] / millions["ivvae"] < 1.3


@pytest.mark.parametrize("name", ALL)
def test_streams_and_windows_equal_a_single_step(name: str) -> None:
    """Chunks with state, and a window decoded alone after its preroll, give what one call gives."""
    model = shaken(VARIANTS[name].build(2, 4))
    generator = torch.Generator().manual_seed(1)
    clip = torch.rand(1, 3, 13, 16, 8, generator=generator, dtype=torch.float64)
    latent = torch.randn(1, 2, model.decoder_preroll + 2, 1, 1, generator=generator, dtype=torch.float64)
    with torch.inference_mode():
        whole = model.encode(clip)[0].values
        state, parts = None, []
        for part in torch.split(clip, [1, 4, 8], 2):
            values, state = model.encode(part, state)
            parts.append(values.values)
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-12, rtol=0)
        frames = model.decode(latent)[0]
        state, parts = None, []
        for part in torch.split(latent, [1, 2, latent.shape[2] - 3], 2):
            out, state = model.decode(part, state)
            parts.append(out)
        torch.testing.assert_close(torch.cat(parts, 2), frames, atol=1e-12, rtol=0)
        window = model.decode_window(latent, latent.shape[2] - 1, latent.shape[2])
        torch.testing.assert_close(window, frames[:, :, -4:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_each_starts_as_its_image_vae(name: str) -> None:
    """Inflated, one trunk shows the image VAE's picture of a group's last frame, two halves of its first and third."""
    variant = VARIANTS[name]
    image, video = shaken(variant.image(4, 4)), shaken(variant.build(4, 4))
    inflate(image, video)
    clip = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.inference_mode():
        out, pictures = video(clip, sample=False)[0], image(clip, sample=False)[0]
    shown = [0, 4, 4, 4, 4, 8, 8, 8, 8] if variant.halves == 1 else [0, 1, 3, 3, 3, 5, 7, 7, 7]
    torch.testing.assert_close(out, pictures[:, :, shown], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_what_a_frame_sees_is_what_the_row_says(name: str) -> None:
    """Convolutions at full resolution are the row's own, and a gradient reaches each but taps that meet zeros only."""
    model = VARIANTS[name].build(2, 4)
    causal = {"causal", "ktc"}
    over_time = [(n, m) for n, m in model.named_modules() if isinstance(m, (CausalConv, GroupCausalConv))]
    kinds = {type(m) for n, m in over_time if "time_conv" not in n}
    assert kinds == {CausalConv if name in causal else GroupCausalConv}
    out, posterior = model(torch.rand(1, 3, 9, 16, 16), sample=False)
    (out.mean() + posterior.mean.square().mean() + posterior.std.mean()).backward()
    assert all(p.grad is not None for p in model.parameters())
    if name == "3d-3d":  # the keyframe half sees time
        assert sum(n.endswith("conv_2d") for n, _ in over_time) == sum(n.endswith("conv_3d") for n, _ in over_time) > 30


def test_an_image_vae_starts_what_it_can() -> None:
    """One that does not fit, or a target that is no video VAE, is refused with what is needed."""
    image = VARIANTS["causal"].image(4, 4)
    with pytest.raises(InputError, match="needed are base 4 and 2 channels"):
        inflate(image, VARIANTS["ivvae"].build(4, 4))
    with pytest.raises(InputError, match="inflate it into ivvae or causalvae"):
        inflate(image, VARIANTS["causal"].image(4, 4))


def test_image_vaes_learn_brightness_at_once() -> None:
    """From the first weights on, a dark picture and a bright one differ in the latent as much as they can."""
    torch.manual_seed(0)
    image = VARIANTS["causal"].image(8, 8).eval()
    with torch.inference_mode():
        dark, bright = (image.posterior(torch.full((1, 3, 1, 16, 16), v))[0] for v in (0.1, 0.9))
    assert (dark.mean - bright.mean).abs().max() > dark.mean.abs().max()
    assert float(dark.std.max()) < 0.5 and isinstance(image, CausalVAE)


# ------------------------------------------------------------------ the study


def point(variant: str, channels: int, seed: int, psnr: float) -> dict[str, Any]:
    """A made-up measure."""
    places = [{"psnr_y": psnr, "ssim": 0.5 + 0.1 * i} for i in range(4)]
    return {
        "variant": variant, "channels": channels, "seed": seed, "parameters": 1000, "psnr": psnr, "ssim": psnr / 40,
        "flicker": 1.0, "history": [[0, 0.2], [5, 0.1 + seed / 100]],
        "positions": {"group": 4, "keyframe": {"psnr_y": psnr, "ssim": 0.9}, "positions": places},
    }  # fmt: skip


def made_up() -> list[dict[str, Any]]:
    rank = dict(zip(("gcconv", "causal", "ktc", "gcconv-ktc", "ivvae", "3d-3d"), range(6)))
    plans = ivvae.plans(ivvae.SCALES["paper"])
    # the last two change places from seed to seed
    shift = {("ivvae", 1): 2.0}
    return [
        point(p.variant, p.channels, p.seed, 20.0 + rank[p.variant] + shift.get((p.variant, p.seed), 0)) for p in plans
    ]


def test_findings_are_said_as_measured(tmp_path: Path) -> None:
    """Order, gains and verdicts come from the numbers: shared signs hold, mixed ones are undecided."""
    found = summarize(made_up(), ivvae.MAIN, ivvae.BRANCHES, ivvae.BY_CHANNELS, ivvae.CHANNELS)
    assert found["order"] == ["gcconv", "causal", "ktc", "gcconv-ktc", "ivvae"]
    said = {c["claim"]: c for c in found["claims"]}
    assert said["GCConv improves the baseline"]["verdict"] == "the opposite"
    assert said["KTC improves the baseline"]["psnr_gain"]["mean"] == pytest.approx(1.0)
    assert said["KTC improves the baseline"]["verdict"] == "holds"
    assert said["3D+3D is slightly better than 2D+3D"]["verdict"] == "undecided"
    assert found["positions"]["causal"]["spread"] == pytest.approx(0.3)
    assert [r["channels"] for r in found["channels"]] == [4] * 2 + [8] * 2 + [16] * 2
    assert verdict([1.0]) == "one seed"
    images = [{"halves": 1, "channels": 8, "own_channels": 8, "psnr": 30.0, "ssim": 0.9}]
    results = {
        "command": "vcodec study ivvae", "settings": json.loads(json.dumps(vars(ivvae.SCALES["hour"]))), "loss": "MAE",
        "data": {"kind": "footage", "trained_on": 8, "held_back": 1}, "models": made_up(), "images": images, **found,
    }  # fmt: skip
    write_report(tmp_path, results)
    text = (tmp_path / "README.md").read_text()
    assert "| KTC improves the baseline | +1.00 ± 0.00 | +0.0250 ± 0.0000 | holds |" in text
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in ("curves.png", "positions.png"))


def test_scales_are_whole() -> None:
    """Each scale trains every row of the tables, and its image VAEs fit; the paper's sizes stand in `paper`."""
    for scale in ivvae.SCALES.values():
        rows = ivvae.plans(scale)
        assert len(rows) == len(set(rows)) == 5 * scale.seeds + scale.branch_seeds + 4
        assert (scale.frames - 1) % 4 == (scale.shown - 1) % 4 == 0 and not scale.crop % 16 and not scale.side % 16
    with torch.device("meta"):
        for name, z in {(p.variant, p.channels) for p in rows}:
            image, video = VARIANTS[name].image(z, scale.base), VARIANTS[name].build(z, scale.base)
            assert image.config.base == video.config.base
            assert image.latent_channels * VARIANTS[name].halves == video.latent_channels
    paper = ivvae.SCALES["paper"]
    assert (paper.base, paper.image_steps, paper.steps, paper.frames, paper.crop) == (64, 200_000, 300_000, 17, 256)
    assert VARIANTS["causal"].width(64) == 96


class Painted(torch.nn.Module):
    """Stands for a video VAE: gives its clip back with every third frame of a group spoiled."""

    group = 4

    def forward(self, clip: torch.Tensor, sample: bool) -> tuple[torch.Tensor, None]:
        out = clip.clone()
        out[:, :, 3::4] = 1 - out[:, :, 3::4]
        return out, None


def test_measures_are_of_8_bit_frames_by_place() -> None:
    """Untouched frames count as lossless, the spoiled place of the group stands out, the first frame stands apart."""
    clips = [torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    found = measure_clips(Painted(), clips)  # type: ignore[arg-type]
    places = [p["psnr_y"] for p in found["positions"]["positions"]]
    assert found["frames"] == 18 and places[:2] == [100.0, 100.0] and places[3] == 100.0 and places[2] < 20
    assert found["positions"]["keyframe"]["ssim"] == pytest.approx(1.0) and found["flicker"] > 10
    assert 14 / 18 * 100 < found["psnr"] < 14 / 18 * 100 + 4 / 18 * 20


def test_rows_of_a_seed_see_the_same_clips(tmp_path: Path) -> None:
    """What a step draws depends on the study's seed, the row's seed and the step, never on the model."""
    seen: dict[str, list[np.ndarray]] = {}
    study = tiny(tmp_path)
    original = study.train.batch

    def watch(rng: np.random.Generator, *sizes: int) -> Any:
        batch = original(rng, *sizes)
        seen.setdefault(current, []).append(batch.luma.numpy())
        return batch

    study.train.batch = watch  # type: ignore[method-assign]
    for current in ("causal", "ktc"):
        variant = VARIANTS[current]
        study.fitted(current, variant.build(4, 4), ivvae.Fit(2, looks=1), 7, 1, 5, 32)
    assert len(seen["causal"]) == 2 and all(np.array_equal(a, b) for a, b in zip(seen["causal"], seen["ktc"]))
    assert not np.array_equal(*seen["causal"])


def tiny(folder: Path) -> ivvae.Study:
    """A study of a few steps on drawn digits."""
    from vcodec.datasets.moving_digits import MovingDigits, draw_digits

    scale = replace(ivvae.SCALES["quick"], image_steps=2, steps=2, clips=1, looks=1, seeds=1, held=1)
    train, held = MovingDigits(draw_digits(40, 0), 2).split(9)
    return ivvae.Study(folder, scale, train, held, torch.device("cpu"), lambda line: None)


def test_a_point_is_made_once(tmp_path: Path) -> None:
    """A row is trained, measured and noted; asked again, it is read."""
    study = tiny(tmp_path)
    plan = ivvae.Plan("gcconv-ktc", 4, 0)
    found = study.point(plan)
    assert [step for step, _ in found["history"]] == [0, 2] and 0 < found["psnr"] < 40
    study.train = None  # type: ignore[assignment]
    assert json.dumps(study.point(plan)) == json.dumps(found)


def test_wrong_studies_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown scales and folders of other settings are refused in one line."""
    assert main(["study", "ivvae", "--scale", "tiny", "-o", str(tmp_path)]) == 1
    assert "quick, hour, paper" in capsys.readouterr().err
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(InputError, match="other settings"):
        ivvae.run([], tmp_path)


@pytest.mark.slow
def test_the_quick_ablation(tmp_path: Path) -> None:
    """The whole ablation on drawn digits: every row trains, its loss falls, a second call repeats nothing."""
    made = ivvae.run([], tmp_path, "quick", device="cpu", show=lambda line: None)
    assert len(made["ablation"]) == 6 and len(made["claims"]) == 6 and len(made["channels"]) == 6
    assert all(m["history"][-1][1] < m["history"][0][1] for m in made["models"])
    for name in ("README.md", "study.json", "curves.png", "positions.png"):
        assert (tmp_path / name).stat().st_size > 500
    said: list[str] = []
    again = ivvae.run([], tmp_path, "quick", device="cpu", show=said.append)
    assert not said and json.dumps(again) == json.dumps(made)
