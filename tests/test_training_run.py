"""A run from outside: the command line, several processes, logs, pictures, the live view."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.clips import make_clip
from vcodec import training
from vcodec.datasets import open_dataset
from vcodec.datasets.base import Preparation
from vcodec.errors import InputError, UnknownNameError, UsageError
from vcodec.training.live import curve
from vcodec.training.logs import Logs, tensorboard_writer
from vcodec.training.loop import Trainer
from vcodec.training.objectives import new_objective
from vcodec.training.samples import save_samples
from vcodec.training.validation import Validation

RECIPE = """
extends = "qae"
model.backbone.width = 8
low_precision = false
batch = 2
crop = 32
frames = [2]
validation_batches = 1
validation_crop = 32
validation_ks = [4, 64]
log_steps = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a small video and a recipe."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "footage").mkdir()
    make_clip(folder / "footage" / "clip.mp4", frames=40, size=(64, 64), audio=False)
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


def losses(run: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(run / "steps.csv")]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_two_processes_do_what_one_does(place: Path, tmp_path: Path) -> None:
    """torchrun with two processes has the losses and weights of one process on the same global batch."""
    fixed = ["--recipe", str(place / "tiny.toml"), "--device", "cpu", "--threads", "1", "--steps", "4"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "vcodec", "train", str(place / "footage"), "-o", str(tmp_path / "two.safetensors"), *fixed]
    done = subprocess.run(
        [*torchrun, *command], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("vcodec encode") == 1
    plan = training.load_recipe(place / "tiny.toml", ["accumulate=2", "steps=4"])
    clips = open_dataset(plan.data, [place / "footage"], Preparation(tmp_path / "cache"))
    torch.manual_seed(0)
    one = Trainer(new_objective(plan, None)[1], plan, clips, tmp_path / "one")
    assert losses(tmp_path / "two.safetensors.run") == pytest.approx([one.train_step() for _ in range(4)], rel=1e-6)
    with safe_open(tmp_path / "two.safetensors.run" / "train.safetensors", "pt") as state:
        for name, tensor in one.model.state_dict().items():
            assert torch.allclose(state.get_tensor(f"model.{name}"), tensor, atol=1e-6), name


def test_the_command_line_ends_with_what_to_do_next(place: Path, tmp_path: Path) -> None:
    """`vcodec train` prints where the model is and a command that encodes with it; Ctrl-C can be resumed from."""
    out = tmp_path / "my model.safetensors"
    command = [sys.executable, "-m", "vcodec", "train", str(place / "footage"), "-o", str(out), "--threads", "1"]
    command += ["--recipe", str(place / "tiny.toml"), "--set", "checkpoint_seconds=1000", "--device", "cpu"]
    process = subprocess.Popen([*command, "--minutes", "10"], stderr=subprocess.PIPE, text=True)
    steps = out.with_name(out.name + ".run") / "steps.csv"
    while not steps.exists() and process.poll() is None:
        time.sleep(0.05)  # a loop without rest can starve the process that it waits for
    process.send_signal(signal.SIGINT)
    _, problem = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in problem, problem
    done = subprocess.run([*command, "--steps", "30", "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stderr and "\x1b" not in done.stderr  # no terminal: lines, no live view
    told = done.stdout.splitlines()
    assert told[0].startswith(f"{out}: qae, 30 steps")
    assert told[1] == f"vcodec encode INPUT -o OUTPUT.vae --codec qae --weights '{out}' --k 4"
    clip = place / "footage" / "clip.mp4"
    encode = told[1].replace("INPUT", str(clip)).replace("OUTPUT.vae", f"'{tmp_path / 'a.vae'}'")
    subprocess.run(encode.replace("vcodec", f"{sys.executable} -m vcodec", 1) + " -q", shell=True, check=True)
    assert (tmp_path / "a.vae").stat().st_size > 100
    pictures = sorted((tmp_path / "my model.safetensors.run" / "samples").iterdir())
    with av.open(str(pictures[-1])) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (4 * 36, 3 * 36, 3) and picture.std() > 5


def test_what_cannot_be_done_is_said_first(tmp_path: Path) -> None:
    """A wrong device, kind of data or loss is refused in one line before anything is written."""
    for changes, device, error, problem in (
        ([], "tpu", UsageError, "choose auto, cpu or cuda"),
        (["data.kind=film"], "cpu", UnknownNameError, "There are: .*footage"),
        ([], "cpu", InputError, "no videos found; .*data.kind"),
        (["data.kind=volumes"], "cpu", InputError, "no volumes found"),
    ):
        with pytest.raises(error, match=problem):
            training.run([tmp_path], tmp_path / "x.safetensors", changes=changes, device=device, quiet=True)
    assert not list(tmp_path.iterdir())
    plan = training.load_recipe("qae", ["loss=mse"])
    with pytest.raises(UsageError, match="use rate-distortion"):
        new_objective(plan, None)
    plan = training.load_recipe("qae-paper", ["ks=[5]"])
    with pytest.raises(UsageError, match=r"set model\.quantizer\.ks"):
        new_objective(plan, None)


def test_samples_stand_beside_each_other(tmp_path: Path) -> None:
    """A row a clip, a column a name, the last frame of each; yuv420p in its colours."""
    source, hat = torch.zeros(2, 6, 3, 8, 8), torch.ones(2, 6, 3, 8, 8)
    source[1, :, 2] = torch.tensor([145, 145, 145, 145, 54, 34]).view(6, 1, 1) / 255  # green of BT.601
    save_samples(tmp_path / "a.png", {"source": source, "K = 2": hat}, "yuv420p")
    with av.open(str(tmp_path / "a.png")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (40, 40, 3)
    assert np.abs(picture[30, 10].astype(int) - [0, 255, 0]).max() <= 4 and not picture[:4].any()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_logs_are_cut_at_the_state(tmp_path: Path) -> None:
    """What was written after the state, or half written, goes; what is written again follows what was kept."""
    logs = Logs(tmp_path)
    for step in (1, 2, 3):
        logs.step(step, 0.5, 1e-3, 2.0, 1.0, {"mae": 0.25})
        logs.evaluation(step, 60.0, 0.5, Validation(0.4, {2: (0.1, 30.0)}, {2: 0.4}))
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("2,0.")
    logs.cut(2)
    logs.step(3, 0.25, 1e-3, 2.0, 1.0, {})
    kept = rows(tmp_path / "steps.csv")
    assert [(r["step"], r["loss"]) for r in kept] == [("1", "0.5"), ("2", "0.5"), ("3", "0.25")]
    assert kept[0]["terms"] == "mae=0.25"
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "step,minutes,loss,validation_loss,bpp_k2,psnr_y_k2"
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    (tmp_path / "steps.csv").write_text("ste")
    logs.cut(2)
    assert not (tmp_path / "steps.csv").exists()


def test_tensorboard_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a writer installed, events are written; without, the message names the package."""
    board = tensorboard_writer(tmp_path / "board", 0)
    logs = Logs(tmp_path, board)
    logs.step(10, 0.5, 1e-3, 2.0, 1.0, {"mae": 0.25})
    logs.evaluation(10, 60.0, 0.5, Validation(0.4, {2: (0.1, 30.0)}, {2: 0.4}))
    save_samples(tmp_path / "a.png", {"source": torch.rand(1, 1, 2, 16, 16)}, "gray")
    logs.picture(10, tmp_path / "a.png")
    logs.flush()
    board.close()
    data = b"".join(p.read_bytes() for p in (tmp_path / "board").iterdir())
    for tag in (b"train/loss", b"train/mae", b"validation/psnr_y_k2", b"samples"):
        assert tag in data
    for package in ("torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match="pip install tensorboardX"):
        tensorboard_writer(tmp_path / "none", 0)


def test_the_curve_falls_with_the_loss() -> None:
    """A falling loss is drawn falling, over the width, its top labelled; nothing is drawn of one point."""
    lines = curve([10.0 * 0.9**i for i in range(200)], width=40, height=4)
    assert len(lines) == 4 and all(len(line) == 50 for line in lines)
    filled = [sum(line[10 + i] != " " for line in lines) for i in range(40)]
    assert filled == sorted(filled, reverse=True) and filled[0] == 4 and filled[-1] == 1
    assert float(lines[0][:9]) == pytest.approx(10 * 0.9**2, rel=0.1)
    assert curve([1.0]) == [] and curve([float("nan"), 1.0]) == []
