"""Targets: the search for k and fine, on a codec whose rate and quality are known functions of both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from clips import make_clip

import vcodec
from vcodec.errors import InputError


class Steady(standin.StandIn):
    """Payloads of 20 · q bytes a frame, 9 frames more at a keyframe, q = k^0.9 · 2^(fine/32); luma PSNR
    20 + 6 log2 q, at most 60.

    `swing` makes bright frames cost more than dark ones.
    """

    swing = 0.0
    abreast = False  # names are given in turn

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[list[Any]] = []

    def compress(self, clip: list[Any], state: Any, settings: Any, ahead: Any = None) -> tuple[standin.Payload, Any]:
        quality = settings.k**0.9 * 2 ** (settings.fine / 32)
        wave = 1 + self.swing * (float(clip[0][0].mean()) / 128 - 1)
        count = max(16, round(20 * quality * wave * (len(clip) + 9 * (state is None))))
        level = np.float64(255 * 10 ** (-min(60, 20 + 6 * math.log2(quality)) / 20)).tobytes()
        name = len(self.sent).to_bytes(8, "little")
        self.sent.append(clip)
        return standin.Payload(level + name + bytes(count - 16), 0, 8.0 * count), True

    def decompress(self, payload: bytes, symbols: int, grid: Any, state: Any, settings: Any) -> tuple[list[Any], Any]:
        error = float(np.frombuffer(payload[:8], np.float64)[0])
        clip = []
        for frame in self.sent[int.from_bytes(payload[8:16], "little")]:
            off = np.full(frame[0].size, math.floor(error))
            part = error**2 - math.floor(error) ** 2
            off[: round(frame[0].size * part / (2 * math.floor(error) + 1))] += 1
            luma = frame[0].astype(int)
            sign = np.where(luma < 128, 1, -1)
            clip.append(((luma + sign * off.reshape(luma.shape)).astype(np.uint8), *frame[1:]))
        return clip, True


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> type[Steady]:
    import vcodec.checkpoint

    monkeypatch.setattr(vcodec.checkpoint, "load_codec", lambda name, *, device: Steady())
    monkeypatch.setattr(Steady, "swing", 0.0)
    return Steady


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    make_clip(path, frames=50, size=(64, 48), audio="aac")
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 frames that grow brighter, and so dearer, unevenly."""
    path = tmp_path_factory.mktemp("clips") / "long.mkv"
    luma = np.random.default_rng(0).integers(0, 60, (16, 16))
    chroma = np.full((8, 8), 128, np.uint8)
    levels = [(luma + 190 * (n / 700) ** 4).astype(np.uint8) for n in range(700)]
    make_clip(path, frames=[(level, chroma, chroma) for level in levels], codec="ffv1")
    return path


@pytest.mark.parametrize("size", [36_000, 45_000, 60_000, 100_000, 190_000])
def test_size_is_met_from_below(steady: type[Steady], short: Path, tmp_path: Path, size: int) -> None:
    """--size: the whole file, sound and all, is never above and at most 3 % below, with few trials."""
    report = vcodec.encode(short, tmp_path / "out.vae", size=size)
    assert 0.97 * size <= (tmp_path / "out.vae").stat().st_size <= size
    assert report["trials"] <= 10


def test_bitrate_is_met_from_below(steady: type[Steady], short: Path, tmp_path: Path) -> None:
    """--bitrate: 8 · bytes / duration of the whole file is never above and at most 3 % below."""
    for rate in (150_000, 700_000):
        report = vcodec.encode(short, tmp_path / "out.vae", bitrate=rate, overwrite=True)
        assert 0.97 * rate <= 8 * report["file_bytes"] / report["duration_s"] <= rate


@pytest.mark.parametrize("psnr", [27.5, 31.9, 36.0, 44.4])
def test_psnr_is_met_from_above(steady: type[Steady], short: Path, tmp_path: Path, psnr: float) -> None:
    """--psnr: mean luma PSNR is never below, and at most 0.1 dB (or one step of fine) above."""
    report = vcodec.encode(short, tmp_path / "out.vae", psnr=psnr)
    reached = 20 + 6 * math.log2(report["k"] ** 0.9 * 2 ** (report["fine"] / 32))
    assert psnr - 0.02 <= reached <= psnr + 0.3
    assert report["trials"] <= 10


def test_long_sources_are_tried_on_excerpts(
    steady: type[Steady], long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Excerpts that mislead are corrected by the whole encode: the target is met, in a pipe too."""
    monkeypatch.setattr(Steady, "swing", 0.8)
    for target in (tmp_path / "out.vae", (tmp_path / "pipe.vae").open("wb")):
        report = vcodec.encode(long, target, size=200_000, gop=64)
        assert 0.97 * 200_000 <= report["file_bytes"] <= 200_000
        if not isinstance(target, Path):
            target.close()
            assert (tmp_path / "pipe.vae").stat().st_size == report["file_bytes"]
    report = vcodec.encode(long, tmp_path / "psnr.vae", psnr=33.3)
    assert 33.28 <= 20 + 6 * math.log2(report["k"] ** 0.9 * 2 ** (report["fine"] / 32)) <= 33.6


def test_targets_out_of_reach(steady: type[Steady], short: Path, tmp_path: Path) -> None:
    """Too small a size and too high a PSNR are refused, naming what is possible; a huge size takes K 256."""
    with pytest.raises(InputError, match="smallest"):
        vcodec.encode(short, tmp_path / "out.vae", size=2_000)
    with pytest.raises(InputError, match="the best is"):
        vcodec.encode(short, tmp_path / "out.vae", psnr=95)
    assert list(tmp_path.iterdir()) == []
    assert vcodec.encode(short, tmp_path / "out.vae", size=10**9)["k"] == 256
