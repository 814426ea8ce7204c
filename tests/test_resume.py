"""A training killed at random moments and resumed makes the weights and the loss curve of one that was left alone."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

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


def command(folder: Path, name: str, *options: str) -> list[str]:
    """`vcodec train` on the folder's footage."""
    given = [str(folder / "footage"), "-o", str(folder / name), "--recipe", str(folder / "tiny.toml"), "-q"]
    fixed = ["--threads", "1", "--workers", "1", "--seed", "3", "--device", "cpu"]
    return [sys.executable, "-m", "vcodec", "train", *given, *fixed, *options]


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
    subprocess.run(command(folder, "alone.safetensors", "--steps", str(steps)), check=True)
    log = folder / "killed.safetensors.run" / "steps.csv"
    dice = random.Random(11)
    kill_again = command(folder, "killed.safetensors", "--steps", str(steps), "--resume")
    for moment in moments:
        process = subprocess.Popen(kill_again)
        while lines(log) <= moment * steps and process.poll() is None:
            time.sleep(0.002)
        time.sleep(dice.random() * 0.05)
        assert process.poll() is None, "it was over before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(kill_again, check=True)
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
    subprocess.run(command(pilot, "pilot.safetensors", "--minutes", "0.5"), check=True)
    steps = 20 * (lines(pilot / "pilot.safetensors.run" / "steps.csv") - 1)
    whole = tmp_path / "whole"
    whole.mkdir()
    moments = sorted(random.Random(time.time_ns()).random() * 0.95 for _ in range(3))
    check(whole, QAE, steps, moments, 10.0)
