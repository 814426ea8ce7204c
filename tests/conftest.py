"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import standin
from clips import make_clip


@pytest.fixture(scope="session", autouse=True)
def heard_interrupts() -> Iterator[None]:
    """Ctrl-C reaches the commands under test, though a shell that runs the suite with `&` has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def standin_codec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stand-in codec behind `load_codec`, and an empty model folder."""
    import vcodec.checkpoint

    monkeypatch.setattr(vcodec.checkpoint, "load_codec", standin.load_codec)
    monkeypatch.setattr(vcodec.checkpoint, "save_codec", standin.save_codec)
    monkeypatch.setenv("VCODEC_MODELS", str(tmp_path / "models"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of 64x48, 25 a second, with stereo AAC, in an mp4."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    make_clip(path, frames=40, size=(64, 48), audio="aac")
    return path
