"""Training material: decoded once, the same for a seed whatever the number of workers, nothing held back trained on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from vcodec.datasets import open_dataset
from vcodec.datasets.base import Batch, Preparation, Run, VolumeBatch, split_clips
from vcodec.datasets.volumes import Volumes
from vcodec.errors import InputError, UnknownNameError, UsageError
from vcodec.media import create_video, open_video


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """A folder of two small videos."""
    folder = tmp_path_factory.mktemp("footage")
    for i in range(2):
        make_clip(folder / f"clip{i}.mp4", frames=12, size=(96, 80), audio=False)
    return folder


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_folder_of_videos_becomes_runs(footage: Path, tmp_path: Path) -> None:
    """Videos are decoded once, cropped to multiples of 16, with vectors; the cache gives the same again."""
    cache = tmp_path / "cache"
    clips = open_dataset({}, [footage], Preparation(cache)).runs()
    assert len(clips) == 2 and clips[0][0].luma.shape == (12, 80, 96)
    assert clips[0][0].vectors.shape == (12, 2, 10, 12)
    with open_video(footage / "clip1.mp4", audio=False) as reader:
        frames = [f.planes[0] for f in reader.frames()]
    assert np.array_equal(clips[1][0].luma, np.stack(frames)[:, :80, :96])
    files = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    again = open_dataset({}, [footage], Preparation(cache)).runs()
    assert np.array_equal(again[1][0].vectors, clips[1][0].vectors)
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == files
    damaged = tmp_path / "damaged"
    shutil.copytree(cache, damaged)
    (damaged / next(iter(files)).name).write_bytes(b"PK")
    with pytest.raises(InputError, match="cache is damaged"):
        open_dataset({}, [footage], Preparation(damaged))
    with pytest.raises(InputError, match="no videos found"):
        open_dataset({}, [damaged], Preparation(cache))
    with pytest.raises(InputError, match="no such file"):
        open_dataset({}, [tmp_path / "missing"], Preparation(cache))


def test_workers_change_nothing(footage: Path, tmp_path: Path) -> None:
    """Two processes make the files that one makes, byte for byte, and report each; what cannot be read is left out."""
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    sources = [footage, tmp_path / "broken.mp4"]
    seen: list[str] = []
    one = open_dataset({"frames": 8}, sources, Preparation(tmp_path / "one", 1))
    two = open_dataset({"frames": 8}, sources, Preparation(tmp_path / "two", 2, lambda i, n, name: seen.append(name)))
    assert len(one) == len(two) == 2 and seen == ["clip0.mp4", "clip1.mp4", "broken.mp4"]
    first, second = (sorted((tmp_path / n).iterdir()) for n in ("one", "two"))
    assert [p.read_bytes()[30:] for p in first] == [p.read_bytes()[30:] for p in second]
    assert torch.equal(one.batch(rng(1), 3, 4, 64).luma, two.batch(rng(1), 3, 4, 64).luma)
    with pytest.raises(InputError, match="none of the files"):
        open_dataset({}, [tmp_path / "broken.mp4"], Preparation(tmp_path / "one"))


def test_batches_depend_on_the_generator_alone(footage: Path, tmp_path: Path) -> None:
    """A generator's batch is always the same; crops smaller than asked for are filled at the edges."""
    clips = open_dataset({"kind": "footage"}, [footage], Preparation(tmp_path / "cache"))
    one, two = clips.batch(rng(5, 3), 2, 4, 128), clips.batch(rng(5, 3), 2, 4, 128)
    assert torch.equal(one.luma, two.luma) and one.luma.shape == (2, 4, 1, 128, 128)
    assert one.chroma.shape == (2, 4, 2, 64, 64) and one.vectors.shape == (2, 4, 2, 16, 16)
    assert not torch.equal(one.luma, clips.batch(rng(5, 4), 2, 4, 128).luma)
    assert one.clip("gray").shape == (2, 1, 4, 128, 128) and one.clip("yuv420p").shape == (2, 6, 4, 64, 64)
    assert torch.equal(one.clip("yuv420p")[1, 1, 2], one.luma[1, 2, 0, ::2, 1::2])
    assert torch.equal(one.rows(1, 2).luma, one.luma[1:2]) and len(one.rows(0, 1)) == 1
    with pytest.raises(UsageError):
        one.clip("volume")


def test_pictures_stand_still(tmp_path: Path) -> None:
    """A picture is a clip of one frame, repeated without motion."""
    folder = tmp_path / "pictures"
    make_clip(tmp_path / "clip.mp4", frames=2, size=(80, 64), audio=False)
    with open_video(tmp_path / "clip.mp4", audio=False) as reader, create_video(folder, reader.info) as writer:
        for frame in reader.frames():
            writer.write(frame)
    pictures = open_dataset({"kind": "images"}, [folder], Preparation(tmp_path / "cache"))
    assert len(pictures) == 2 and pictures.runs()[0][0].luma.shape == (1, 64, 80)
    batch = pictures.batch(rng(0), 2, 3, 64)
    assert isinstance(batch, Batch) and not batch.vectors.any()
    assert torch.equal(batch.luma[:, 0], batch.luma[:, 2]) and not torch.equal(batch.luma[0], batch.luma[1])


def test_volumes_are_cropped_in_time_and_space(tmp_path: Path) -> None:
    """[T,C,H,W,D] and [T,H,W,D] files give [B,C,T,D,h,w] in 0..1; held-back moments are not trained on."""
    np.save(tmp_path / "a.npy", np.arange(18 * 20 * 24 * 6, dtype=np.int32).reshape(18, 20, 24, 6))
    np.savez(tmp_path / "b.npz", volume=np.full((9, 1, 16, 16, 8), 255, np.uint8))
    volumes = open_dataset({"kind": "volumes"}, [tmp_path], Preparation(tmp_path))
    assert isinstance(volumes, Volumes) and volumes.depth == 6
    batch = volumes.batch(rng(2), 5, 4, 16)
    assert isinstance(batch, VolumeBatch) and batch.clip("volume").shape == (5, 1, 4, 6, 16, 16)
    assert batch.values.min() >= 0 and batch.values.max() <= 1
    assert torch.equal(batch.values, volumes.batch(rng(2), 5, 4, 16).values)
    train, held = volumes.split(9)
    assert [len(v) for v in train.volumes] == [16, 8] and [len(v) for v in held.volumes] == [2, 1]
    with pytest.raises(InputError, match="slices"):
        open_dataset({"kind": "volumes", "depth": 7}, [tmp_path], Preparation(tmp_path))
    with pytest.raises(InputError, match="limit_bytes"):
        open_dataset({"kind": "volumes", "limit_bytes": 1000}, [tmp_path], Preparation(tmp_path))
    with pytest.raises(UsageError):
        batch.clip("gray")


def test_unknown_data_is_refused(tmp_path: Path) -> None:
    """A kind or field that does not exist is named."""
    with pytest.raises(UnknownNameError, match="did you mean 'footage'"):
        open_dataset({"kind": "fotage"}, [tmp_path], Preparation(tmp_path))
    with pytest.raises(InputError, match="'speed'; known are frames"):
        open_dataset({"kind": "footage", "speed": 1}, [tmp_path], Preparation(tmp_path))


def test_held_back_clips_are_not_trained_on() -> None:
    """Every n-th clip is held back; with few clips, the last run of each."""
    run = Run("a", *(np.zeros(1) for _ in range(3)))  # type: ignore[arg-type]
    many = [[dataclasses.replace(run, name=str(i))] for i in range(18)]
    train, held = split_clips(many, 9)
    assert [c[0].name for c in held] == ["8", "17"] and len(train) == 16
    train, held = split_clips([[run, run, run]], 9)
    assert len(train[0]) == 2 and len(held[0]) == 1
