"""A training killed at random moments and resumed makes the weights and the loss curve of one that was left alone."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from tests.clips import make_clip

COMMON = """
model.backbone.width = 8
batch = 2
crop = 32
validation_batches = 1
validation_crop = 32
log_steps = 1
"""
QAE = 'extends = "qae"\nframes = [2, 3]\nvalidation_ks = [4, 64]\n' + COMMON
PAPER = 'extends = "qae-paper"\nframes = [4]\nmodel.quantizer.ks = [2, 8]\nquantization = "noise"\n' + COMMON


# processes are forked from one that has imported torch once
SERVER = multiprocessing.get_context("forkserver")


def train(folder: Path, name: str, options: dict[str, Any]) -> None:
    """What `vcodec train` does, in a process of its own."""
    from vcodec import training

    fixed = {"recipe": folder / "tiny.toml", "threads": 1, "workers": 1, "seed": 3, "device": "cpu", "quiet": True}
    training.run([folder / "footage"], folder / name, resume=True, **fixed, **options)


def start(folder: Path, name: str, **options: Any) -> ForkServerProcess:
    SERVER.set_forkserver_preload(["vcodec.training.run", "torch._dynamo"])
    process = SERVER.Process(target=train, args=(folder, name, options))
    process.start()
    return process


def finish(process: ForkServerProcess) -> None:
    process.join()
    assert process.exitcode == 0


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def curve(path: Path, columns: slice) -> list[list[str]]:
    return [line.split(",")[columns] for line in path.read_text().splitlines()]


def check(folder: Path, recipe: str, steps: int, moments: list[float], checkpoint_seconds: float) -> None:
    """Train ``steps`` alone, and again killed when so many steps (fractions) are done, and compare."""
    (folder / "footage").mkdir()
    for i in range(2):
        make_clip(folder / "footage" / f"clip{i}.mp4", frames=12, size=(96, 80), audio=False)
    (folder / "tiny.toml").write_text(recipe + f"checkpoint_seconds = {checkpoint_seconds}\n")
    finish(start(folder, "alone.safetensors", steps=steps))
    log = folder / "killed.safetensors.run" / "steps.csv"
    dice = random.Random(11)
    for moment in moments:
        process = start(folder, "killed.safetensors", steps=steps)
        while lines(log) <= moment * steps and process.is_alive():
            time.sleep(0.002)
        time.sleep(dice.random() * 0.05)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was over before it could be killed"
    finish(start(folder, "killed.safetensors", steps=steps))
    alone, killed = (folder / f"{name}.safetensors.run" for name in ("alone", "killed"))
    assert curve(alone / "steps.csv", slice(0, 4)) == curve(killed / "steps.csv", slice(0, 4))
    assert lines(alone / "steps.csv") == steps + 1
    assert [r[:1] + r[2:] for r in curve(alone / "log.csv", slice(None))] == [
        r[:1] + r[2:] for r in curve(killed / "log.csv", slice(None))
    ]
    assert [p.name for p in sorted((alone / "samples").iterdir())] == [
        p.name for p in sorted((killed / "samples").iterdir())
    ]
    hashes = [weights_hash(folder / f"{name}.safetensors") for name in ("alone", "killed")]
    assert hashes[0] == hashes[1]


def weights_hash(path: Path) -> str:
    """Of all tensors, as the checkpoint holds them."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(name.encode() + tensor.tobytes())
    return digest.hexdigest()


def test_three_kills_change_nothing(tmp_path: Path) -> None:
    """SIGKILL at three moments of a short run: the same weights, bit for bit, and the same curves."""
    check(tmp_path, PAPER, 400, [0.1, 0.45, 0.8], 0.1)


@pytest.mark.slow
def test_three_kills_change_nothing_in_ten_minutes(tmp_path: Path) -> None:
    """The same of a run of about ten minutes, at random moments."""
    (tmp_path / "pilot").mkdir()
    make_clip(tmp_path / "pilot" / "clip.mp4", frames=12, size=(96, 80), audio=False)
    pilot = tmp_path / "pilot"
    (pilot / "tiny.toml").write_text(QAE)
    (pilot / "footage").symlink_to(pilot)
    finish(start(pilot, "pilot.safetensors", minutes=0.5))
    seconds = [float(row[4]) for row in curve(pilot / "pilot.safetensors.run" / "steps.csv", slice(0, 5))[1:]]
    paces = sorted(b - a for a, b in itertools.pairwise(seconds))
    steps = round(600 / max(paces[len(paces) // 2], 0.01))  # at this machine's pace of now
    whole = tmp_path / "whole"
    whole.mkdir()
    moments = sorted(random.Random(time.time_ns()).random() * 0.95 for _ in range(3))
    check(whole, QAE, steps, moments, 10.0)
