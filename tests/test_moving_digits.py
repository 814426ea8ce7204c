"""Moving MNIST and moving-digits: what moves how, where the files come from, and the same clips every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from vcodec import media
from vcodec.cli import main
from vcodec.datasets import moving_mnist, open_dataset
from vcodec.datasets.base import Preparation
from vcodec.datasets.bouncing import bounce, draw, positions
from vcodec.datasets.moving_digits import MovingDigits, draw_digits
from vcodec.datasets.moving_mnist import load_mnist
from vcodec.errors import InputError, UsageError

NOTHING = Preparation(Path())


def test_drawn_digits_look_like_mnist() -> None:
    """Digits are bright strokes in the middle of 28×28, all different; the n-th of a seed is always the same."""
    digits = draw_digits(60, seed=4)
    assert digits.shape == (60, 28, 28) and digits.dtype == np.uint8
    assert np.array_equal(digits[7:9], draw_digits(9, seed=4)[7:9])
    assert not np.array_equal(digits, draw_digits(60, seed=5))
    assert len(np.unique(digits.reshape(60, -1), axis=0)) == 60
    assert digits.max((1, 2)).min() == 255 and 0.05 < (digits > 128).mean() < 0.25
    for digit in digits:
        rows, columns = (np.flatnonzero(digit.any(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) <= 21 and min(rows[0], columns[0]) >= 3


def test_digits_fly_straight_and_bounce() -> None:
    """A digit stays inside, moves by the same way each frame to a sample, and turns only where it meets an edge."""
    for seed in range(20):
        path = positions(np.random.default_rng(seed), 60, (36, 36))
        assert path.min() >= 0 and path.max() <= 36
        speed = np.diff(path, axis=0)
        assert np.abs(speed).max() <= 4
        for axis in range(2):
            turned = np.flatnonzero(np.abs(np.diff(speed[:, axis])) > 1) + 1
            near = np.minimum(path[:, axis], 36 - path[:, axis])
            assert all(near[max(0, t - 1) : t + 2].min() <= 1 for t in turned)
    assert len(np.unique(np.diff(positions(np.random.default_rng(1), 60, (36, 36)), axis=0), axis=0)) > 1


def test_the_brightest_digit_is_seen() -> None:
    """A clip is the maximum of its digits, drawn alone."""
    digits = draw_digits(2, 0)
    corners = np.stack([positions(np.random.default_rng(n), 20, (36, 36)) for n in range(2)])
    both = draw(digits, corners, 64)
    alone = [draw(digits[n : n + 1], corners[n : n + 1], 64) for n in range(2)]
    assert np.array_equal(both, np.maximum(*alone)) and both.shape == (20, 64, 64)
    clip = bounce(digits, np.random.default_rng(3), count=1, frames=5, side=28)
    assert all(any(np.array_equal(frame, digit) for digit in digits) for frame in clip)


def test_the_dataset_is_made_by_seed_and_number() -> None:
    """Batches come from the generator alone; digits held back never move in training; runs are fixed."""
    data = open_dataset({"kind": "moving-digits", "count": 40, "digits": 1}, [], NOTHING)
    assert isinstance(data, MovingDigits)
    one, two = (data.batch(np.random.default_rng((3, 5)), 2, 4, 64).clip("gray") for _ in range(2))
    assert one.shape == (2, 1, 4, 64, 64) and torch.equal(one, two) and one.min() == 0 and one.max() == 1
    train, held = data.split(10)
    assert (len(train), len(held)) == (36, 4)
    seen = {digit.tobytes() for digit in train.glyphs}  # type: ignore[attr-defined]
    assert not any(digit.tobytes() in seen for digit in held.glyphs)  # type: ignore[attr-defined]
    assert np.array_equal(data.runs()[3][0].luma, data.runs()[3][0].luma) and data.runs()[0][0].luma.shape[0] == 20
    with pytest.raises(UsageError, match="leave out"):
        open_dataset({"kind": "moving-digits"}, [Path("x")], NOTHING)
    with pytest.raises(InputError, match="does not fit"):
        data.batch(np.random.default_rng(0), 1, 4, 16)


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An idx file of six digits that passes for MNIST's training part."""
    content = bytes(16) + draw_digits(6, 0).tobytes()
    file = moving_mnist._File("train-images-idx3-ubyte", 6, hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(moving_mnist._FILES, "train", file)
    return content


def test_mnist_is_read_from_a_folder(small_mnist: bytes, tmp_path: Path) -> None:
    """Packed and unpacked files are taken, others refused with what to do."""
    with pytest.raises(InputError, match=r"no train-images-idx3-ubyte or .*\.gz"):
        load_mnist("train", tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(small_mnist)
    digits = load_mnist("train", tmp_path)
    assert np.array_equal(digits, draw_digits(6, 0))
    path.unlink()
    packed = tmp_path / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(small_mnist))
    data = open_dataset({"kind": "moving-mnist"}, [tmp_path], NOTHING)
    assert len(data) == 6 and data.batch(np.random.default_rng(0), 1, 20, 64).luma.shape == (1, 20, 1, 64, 64)
    packed.write_bytes(gzip.compress(small_mnist[:-1]))
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_mnist("train", tmp_path)
    packed.write_bytes(b"\x1f\x8b" + bytes(20))
    with pytest.raises(InputError, match="damaged"):
        load_mnist("train", tmp_path)
    with pytest.raises(InputError, match="train or test"):
        load_mnist("both", tmp_path)


def test_mnist_is_downloaded_once(small_mnist: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder it comes from the network into the cache; without a network the message names the way out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: list[str] = []

    def refused(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refused)
    with pytest.raises(InputError, match="--mnist-dir"):
        load_mnist("train")
    assert len(asked) == 2 and not (tmp_path / "vcodec").exists()
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(gzip.compress(small_mnist)))
    assert len(load_mnist("train")) == 6
    monkeypatch.setattr(urllib.request, "urlopen", refused)
    assert len(load_mnist("train")) == 6
    assert [p.name for p in (tmp_path / "vcodec" / "mnist").iterdir()] == ["train-images-idx3-ubyte.gz"]


def test_digits_become_a_video(tmp_path: Path) -> None:
    """`study digits` writes clips one after another, losslessly, as any codec takes them."""
    path = tmp_path / "clips.y4m"
    arguments = ["study", "digits", "--drawn", "--clips", "2", "-o", str(path), "-q"]
    assert main(arguments) == 0 and main(arguments) == 1
    with media.open_video(path) as reader:
        frames = [frame.planes for frame in reader.frames()]
    assert len(frames) == 40 and frames[0][0].shape == (64, 64) and (frames[5][1] == 128).all()
    assert main([*arguments, "-f", "--gray", "--frames", "3", "--seed", "2"]) == 0
    with media.open_video(path, pixel_format="gray") as reader:
        gray = [frame.planes[0] for frame in reader.frames()]
    assert len(gray) == 6 and np.array_equal(gray[2], frames[2][0])
