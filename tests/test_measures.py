"""What eval measures beyond PSNR and SSIM: along time, by FFmpeg, with networks; several videos at once."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import standin
import torch
import torch.nn.functional as F
from clips import make_clip, texture_frames

from vcodec.cli import main
from vcodec.errors import InputError, WeightsError
from vcodec.metrics import FilterMeter, Flicker, Meter, Preservation, by_position, planes_to_rgb
from vcodec.metrics.fvd import Fvd, frechet_distance
from vcodec.metrics.lpips import Lpips

Planes = tuple[npt.NDArray[np.uint8], ...]
ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def noisy(frames: list[Planes], amount: int, seed: int = 0) -> list[Planes]:
    rng = np.random.default_rng(seed)
    return [
        tuple(np.clip(p + rng.integers(-amount, amount + 1, p.shape), 0, 255).astype(np.uint8) for p in planes)
        for planes in frames
    ]


def test_a_frame_s_measures_are_those_that_are_averaged() -> None:
    """add gives each frame's measures; the result is their mean, with the worst frame's number and the MSE."""
    frames = texture_frames(4, (40, 32))
    coded = [*noisy(frames[:2], 3), *noisy(frames[2:3], 20), frames[3]]
    meter = Meter()
    rows = [meter.add(a, b) for a, b in zip(frames, coded)]
    result = meter.result()
    for name in ("psnr_y", "psnr_u", "psnr_yuv", "psnr_rgb", "ssim"):
        assert result[name] == pytest.approx(sum(row[name] or 0.0 for row in rows) / 4)
    errors = [np.mean((a[0].astype(float) - b[0]) ** 2) for a, b in zip(frames, coded)]
    assert result["mse_y"] == pytest.approx(np.mean(errors)) and result["worst_frame"] == 2
    assert result["psnr_y_min"] == rows[2]["psnr_y"]


def test_flicker() -> None:
    """Flicker is the mean change of the error from frame to frame: 0 for a still error, its step for one that jumps."""
    frames = [(np.full((8, 8), 100, np.uint8),)] * 4
    still, jumping = Flicker(), Flicker()
    for i, planes in enumerate(frames):
        still.add(planes, (planes[0] + 7,))
        jumping.add(planes, (planes[0] + 5 * (i % 2),))
    assert still.result == 0 and jumping.result == 5 and Flicker().result is None


def test_information_preservation() -> None:
    """1 - sum |x - x'| / sum |x| over RGB of all frames, as the paper has it."""
    frames = texture_frames(3, (16, 12))
    coded = noisy(frames, 9)
    meter = Preservation(matrix=6)
    error = total = 0.0
    for want, got in zip(frames, coded):
        meter.add(want, got)
        a, b = (np.stack(planes_to_rgb(planes, matrix=6)).astype(float) for planes in (want, got))
        error, total = error + np.abs(a - b).sum(), total + np.abs(a).sum()
    assert meter.result == pytest.approx(1 - error / total) and 0 < meter.result < 1


def test_quality_by_place_in_a_group() -> None:
    """Frames are counted from the one after each keyframe; the keyframe stands apart; the spread is stated."""
    values = [40, 30, 31, 32, 33, 30, 41, 20, 21]
    rows = [{"psnr_y": float(value)} for value in values]
    found = by_position(rows, 4, keyframes=[0, 6])
    assert found["keyframe"]["psnr_y"] == 40.5
    assert [place["psnr_y"] for place in found["positions"]] == [pytest.approx(80 / 3), 26, 32, 33]
    assert found["spread_db"] == 7 and found["positions"][0]["ssim"] is None
    assert by_position(rows[:1], 4)["spread_db"] is None


def test_ffmpeg_s_psnr_is_ours() -> None:
    """FFmpeg's psnr filter and the meter agree to 0.01 dB, on odd sizes too; XPSNR falls with the error."""
    frames = texture_frames(5, (45, 33))
    check, meter = FilterMeter("psnr"), Meter(ssim=False)
    coded = noisy(frames, 6)
    for pair in zip(frames, coded):
        check.add(*pair)
        meter.add(*pair)
    ours = meter.result()
    for name, value in check.result().items():
        assert value == pytest.approx(ours[name], abs=0.01)
    with pytest.raises(InputError, match="45x33 are too small"):
        FilterMeter("xpsnr").add(frames[0], coded[0])
    scores = []
    frames = texture_frames(5, (64, 48))
    for amount in (2, 6, 20):
        xpsnr = FilterMeter("xpsnr")
        for pair in zip(frames, noisy(frames, amount)):
            xpsnr.add(*pair)
        scores.append(xpsnr.result()["xpsnr_y"] or 0.0)
    assert scores == sorted(scores, reverse=True) and check.frames == 5
    with pytest.raises(InputError, match="no filter 'nothing'"):
        FilterMeter("nothing")


def alex_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights in the names of `lpips.LPIPS(net="alex").state_dict()`."""
    generator = torch.Generator().manual_seed(seed)
    slices = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
    state = {}
    for index, (out, into, size) in ALEX.items():
        scale = 1 / math.sqrt(into * size * size)
        weight = torch.randn(out, into, size, size, generator=generator) * scale
        state[f"net.slice{slices[index]}.{index}.weight"] = weight
        state[f"net.slice{slices[index]}.{index}.bias"] = torch.randn(out, generator=generator) * 0.1
    for level, (out, _, _) in enumerate(ALEX.values()):
        state[f"lin{level}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=generator)
    return state


def test_lpips_as_published(tmp_path: Path) -> None:
    """The distance is that of AlexNet's five levels written out, 0 for equal pictures, and needs the right file."""
    state = alex_weights()
    torch.save(state, tmp_path / "alex.pt")
    measure = Lpips(tmp_path / "alex.pt")
    one, two = (np.random.default_rng(i).integers(0, 256, (3, 64, 72), dtype=np.uint8) for i in range(2))
    w = {name.split(".", 2)[-1]: tensor for name, tensor in state.items() if name.startswith("net.")}
    strides = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    maps = [((torch.from_numpy(x).float()[None] / 255 * 2 - 1) - shift) / scale for x in (one, two)]
    expected = 0.0
    for level, (index, (stride, padding)) in enumerate(strides.items()):
        maps = [F.max_pool2d(m, 3, 2) if index in (3, 6) else m for m in maps]
        maps = [F.relu(F.conv2d(m, w[f"{index}.weight"], w[f"{index}.bias"], stride, padding)) for m in maps]
        units = [m / torch.linalg.vector_norm(m, dim=1, keepdim=True).clamp_min(1e-10) for m in maps]
        head = state[f"lin{level}.model.1.weight"]
        expected += float(((units[0] - units[1]) ** 2 * head).sum(1).mean())
    assert measure(one, two) == pytest.approx(expected, rel=1e-4) and measure(one, one) == 0
    assert measure(one[:, :8, :8], two[:, :8, :8]) > 0
    del state["lin3.model.1.weight"]
    torch.save(state, tmp_path / "less.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for name, words in (("less.pt", "lacks lin3"), ("text.pt", "cannot be read"), ("absent.pt", "pip install lpips")):
        with pytest.raises(WeightsError, match=words):
            Lpips(tmp_path / name)


def test_lpips_tells_vgg_from_its_shapes(tmp_path: Path) -> None:
    """A file of VGG-16 in torchvision's names, with heads, is measured as VGG."""
    widths = [(0, 64), (2, 64), (5, 128), (7, 128), (10, 256), (12, 256), (14, 256), (17, 512), (19, 512), (21, 512)]
    widths += [(24, 512), (26, 512), (28, 512)]
    state, into = {}, 3
    for index, out in widths:
        state[f"features.{index}.weight"] = torch.randn(out, into, 3, 3) / math.sqrt(9 * into)
        state[f"features.{index}.bias"] = torch.zeros(out)
        into = out
    state |= {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))}
    torch.save(state, tmp_path / "vgg.pth")
    one, two = (np.random.default_rng(i).integers(0, 256, (3, 32, 32), dtype=np.uint8) for i in range(2))
    measure = Lpips(tmp_path / "vgg.pth")
    assert measure(one, two) > 0 and measure(two, two) == 0


def test_frechet_distance_of_known_gaussians() -> None:
    """Equal sets have distance 0; a shift adds its square; a widening adds the closed form's trace."""
    x = np.random.default_rng(0).normal(size=(50, 6))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 6)
    trace = np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, 3 * x - 2 * x.mean(0)) == pytest.approx(4 * trace)
    other = np.random.default_rng(1).normal(size=(40, 6)) @ np.diag([1, 2, 3, 1, 1, 1])
    c1, c2 = np.cov(x, rowvar=False), np.cov(other, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c1 @ c2).real.clip(0)).sum()
    expected = ((x.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * root
    assert frechet_distance(x, other) == pytest.approx(expected)


class Features(torch.nn.Module):
    """A network of the shape of the published I3D: its call, and few features."""

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        return x.mean((3, 4)).flatten(1)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    with pytest.warns(DeprecationWarning):
        torch.jit.script(Features()).save(str(tmp_path / "i3d.pt"))
    return tmp_path / "i3d.pt"


def test_fvd_counts_whole_windows(network: Path, tmp_path: Path) -> None:
    """Windows of 16 frames do not span two videos; under two there is no distance; a wrong file is refused."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (36, 3, 16, 16), dtype=np.uint8)
    fvd = Fvd(network)
    for picture in pictures:
        fvd.add(picture, 255 - picture)
    whole = fvd.result()
    assert whole["fvd_windows"] == 2 and (whole["fvd"] or 0) > 0
    fvd.next_video()
    for picture in pictures[:17]:
        fvd.add(picture, picture)
    assert fvd.result() == {"fvd": None, "fvd_windows": 1} and fvd.result(all_videos=True)["fvd_windows"] == 3
    (tmp_path / "text.pt").write_text("no network")
    for name in ("text.pt", "absent.pt"):
        with pytest.raises(WeightsError, match="--fvd-weights"):
            Fvd(tmp_path / name)


def test_eval_with_everything(
    standin_codec: None,
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """eval gives each measure that was asked for, frame by frame with --per-frame, in JSON, words and CSV."""
    monkeypatch.chdir(tmp_path)
    make_clip("a.mkv", frames=33, size=(48, 40))
    standin.encode("a.mkv", "a.vae", gop=17)
    torch.save(alex_weights(), "alex.pt")
    weights = ["--lpips-weights", "alex.pt", "--fvd-weights", str(network)]
    assert main(["eval", "a.mkv", "a.vae", *weights, "--json", "--per-frame"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["lpips"] > 0 and report["fvd"] > 0 and report["fvd_windows"] == 2
    assert len(report["per_frame"]) == 33 and "reference" not in report
    assert report["lpips"] == pytest.approx(np.mean([row["lpips"] for row in report["per_frame"]]))
    assert report["positions"]["keyframe"]["psnr_y"] == pytest.approx(
        (report["per_frame"][0]["psnr_y"] + report["per_frame"][17]["psnr_y"]) / 2
    )
    assert main(["eval", "a.mkv", "a.vae", "a.mkv", "a.mkv", "--csv", "all.csv"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4 and shown[-1].startswith("mean")
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    assert [row["coded"] for row in rows] == ["a.vae", "a.mkv"] and float(rows[1]["psnr_y"]) == 100
    assert main(["eval", "a.mkv", "a.vae", "--csv", "all.csv"]) == 1
    assert "overwrite it with -f" in capsys.readouterr().err


def test_eval_over_a_folder(
    standin_codec: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--codec --k --data encodes each video of a folder; the figures are those of its file; means are a k each."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for name in ("a", "b"):
        make_clip(f"videos/{name}.mkv", frames=6, size=(48, 40), seed=ord(name), audio="aac")
    assert main(["eval", "--codec", "standin", "--k", "8,64", "--data", "videos", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [(Path(e["reference"]).name, e["k"]) for e in result["results"]] == [
        ("a.mkv", 8),
        ("a.mkv", 64),
        ("b.mkv", 8),
        ("b.mkv", 64),
    ]
    standin.encode("videos/a.mkv", "a.vae", k=8, audio=False)
    assert main(["eval", "videos/a.mkv", "a.vae", "--json"]) == 0
    single = json.loads(capsys.readouterr().out)
    assert {name: result["results"][0][name] for name in single} == single
    low, high = result["mean"]
    assert low["videos"] == 2 and low["bpp"] == pytest.approx(
        (result["results"][0]["bpp"] + result["results"][2]["bpp"]) / 2
    )
    assert high["psnr_y"] > low["psnr_y"]
    for words, message in (
        (["a.vae"], "give pairs"),
        (["a.vae", "a.vae", "--k", "8"], "measured as they are"),
        (["--data", "nowhere"], "nowhere"),
    ):
        assert main(["eval", *words]) in (1, 2)
        assert message in capsys.readouterr().err
