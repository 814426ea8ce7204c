"""What is released: the bundled weights, the README's examples, and whole files through the command line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vcodec
from tests.clips import make_clip
from tests.models import small_codec
from vcodec import bitstream, media, models
from vcodec.backbones import compensation, pictures
from vcodec.backbones.qae import QAE
from vcodec.checkpoint import bundled_path, load_codec, save_codec
from vcodec.cli import main
from vcodec.codec import Grid, Settings
from vcodec.entropy.tables import SymbolReader
from vcodec.errors import UsageError, WeightsError
from vcodec.registry import CODECS
from vcodec.scale import LAMBDA, cascaded, step_at

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"


# codecs that the commands are run with in processes of their own
PROCESSES = [name for name in CODECS if ":" not in name or bundled_path(name).exists()]


def run(*arguments: str | Path, code: int = 0, cwd: Path | None = None) -> str:
    """`vcodec ARGUMENTS` in a process of its own; its standard output."""
    command = [sys.executable, "-m", "vcodec", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def frames_of(path: Path) -> list[tuple[np.ndarray, ...]]:
    """Planes of every frame of a video."""
    with media.open_video(path) as reader:
        return [frame.planes for frame in reader.frames()]


def here(*arguments: str | Path) -> str:
    """`vcodec ARGUMENTS` in this process, which has torch loaded; its standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([*map(str, arguments)]) == 0
    return out.getvalue()


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_codes_a_colour_video_through_the_command_line(name: str, tmp_path: Path) -> None:
    """Law 5: encode, decode and eval of a colour mp4 with sound; frames, size and sound come back."""
    command = run if name in PROCESSES else here
    clip, coded, back = tmp_path / "in.mp4", tmp_path / "in.vae", tmp_path / "back.mkv"
    make_clip(clip, frames=21, size=(70, 50), audio="aac")
    weights: list[str | Path] = []
    if not bundled_path(name).exists():
        save_codec(small_codec(name), tmp_path / "w.safetensors")
        weights = ["--weights", tmp_path / "w.safetensors"]
    command("encode", clip, "--codec", name, "--k", "16", *weights)
    command("decode", coded, "-o", back, *weights)
    report = json.loads(command("eval", clip, coded, "--json", *weights))
    assert report["frames"] == 21
    # untrained networks code, but not well; nor do VAEs trained for minutes, on this bright texture
    assert report["psnr_y"] > (4 if weights else 25 if name == "qae" else 14)
    out = frames_of(back)
    assert len(out) == 21 and out[0][0].shape == (50, 70)
    assert json.loads(command("info", coded, "--json"))["audio"]
    assert json.loads(command("verify", coded, "--json"))["ok"]


def test_bundled_weights_are_those_described() -> None:
    """MODELS.json names each bundled file with its hash, its making and its measures; sizes stay in bounds."""
    folder = bundled_path("qae").parent
    models = json.loads((folder / "MODELS.json").read_text("utf-8"))
    files = {p.name for p in folder.glob("*.safetensors")}
    assert files == {entry["file"] for entry in models} and "qae.safetensors" in files
    for entry in models:
        assert (folder / entry["file"]).stat().st_size <= 20e6
        assert load_codec(entry["codec"]).weights_sha256.hex() == entry["sha256"]
        assert entry["data"] and entry["steps"] > 0 and entry["minutes"] > 0 and entry["curve"]
    assert sum(p.stat().st_size for p in folder.glob("*.safetensors")) <= 60e6


def test_weights_of_an_earlier_revision_are_refused(tmp_path: Path) -> None:
    """Weights that would decode to something else than they were made for are refused, saying so."""
    path, codec = tmp_path / "old.safetensors", load_codec("qae")
    codec.config = codec.config | {"revision": QAE.revision - 1}
    save_codec(codec, path)
    with pytest.raises(WeightsError, match=rf"{path}: made for revision {QAE.revision - 1} of codec 'qae'"):
        load_codec(path)


def parsed_digest(path: Path) -> tuple[int, str]:
    """Frames of a .vae of the bundled codec, and the SHA-256 of all its indices and side information."""
    codec = load_codec("qae")
    digest, seen, memory, quality = hashlib.sha256(), 0, None, None
    with path.open("rb") as file:
        reader = bitstream.Reader(file)
        header = reader.header
        assert header.weights_sha256 == codec.weights_sha256
        shape = tuple(codec.backbone.latent_shape(codec.backbone.codable_grid(Grid(1, header.height, header.width))))
        for record in reader:
            if not isinstance(record, bitstream.VideoChunk):
                continue
            memory, quality = (None, None) if record.keyframe else (memory, quality)
            symbols = SymbolReader(record.payload)
            for _ in range(record.frames):
                quality = codec.entropy.read_quality(symbols, quality)
                at = cascaded(header.k, header.fine, 0 if memory is None else memory.number + 1, quality)
                _, side, memory = codec.entropy.read(symbols, shape, codec.quantizer, memory, *at)
                for tensor in (memory.indices.dense(), *(side[name] for name in sorted(side))):
                    digest.update(tensor.numpy().astype("<i2").tobytes())
                seen += 1
            symbols.finish()
    return seen, digest.hexdigest()


def test_a_file_of_the_release_parses_to_its_indices() -> None:
    """Law 3: a stored .vae of the bundled codec parses, to the bit, to the indices it was written with."""
    want = json.loads((GOLDEN / "release.json").read_text("utf-8"))
    assert parsed_digest(GOLDEN / "release.vae") == (want["frames"], want["indices_sha256"])


def shown_digest(path: Path) -> str:
    """SHA-256 of the frames that a .vae decodes to."""
    digest = hashlib.sha256()
    with vcodec.open(path) as video:
        for planes in video.frames():
            for plane in planes:
                digest.update(np.ascontiguousarray(plane).tobytes())
    return digest.hexdigest()


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("onednn", [True, False])
def test_a_file_of_the_release_decodes_to_its_frames(threads: int, onednn: bool) -> None:
    """A stored .vae of the bundled codec decodes to the bit to the same frames, on each machine that runs this."""
    want = json.loads((GOLDEN / "release.json").read_text("utf-8"))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.mkldnn.flags(enabled=onednn):
            assert shown_digest(GOLDEN / "release.vae") == want["frames_sha256"]
    finally:
        torch.set_num_threads(before)


def test_other_devices_decode_to_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices compute, in tensors, gives the frames of the compiled loops, to the bit."""
    monkeypatch.setattr(pictures, "compiled", lambda values: False)
    monkeypatch.setattr(compensation, "_compiles", lambda plane: False)
    want = json.loads((GOLDEN / "release.json").read_text("utf-8"))
    assert shown_digest(GOLDEN / "release.vae") == want["frames_sha256"]


def test_larger_k_is_better_and_larger(tmp_path: Path) -> None:
    """Bytes and quality of the bundled codec rise strictly with K."""
    clip = tmp_path / "in.mp4"
    make_clip(clip, frames=10, size=(96, 64))
    source = frames_of(clip)
    last = (0, 0.0)
    for k in (2, 4, 8, 16, 32, 64, 128):
        report = vcodec.encode(clip, tmp_path / "x.vae", k=k, overwrite=True)
        with vcodec.open(tmp_path / "x.vae") as video:
            error = np.mean([np.mean((a[0].astype(float) - b[0]) ** 2) for a, b in zip(source, video.frames())])
        now = (report["file_bytes"], -error)
        assert now[0] > last[0] and (last[0] == 0 or now[1] > last[1]), k
        last = now


def test_effort_pays(tmp_path: Path) -> None:
    """More looks at each frame take less of distortion + λ·bits, in files that decode like any other."""
    clip = tmp_path / "in.mp4"
    make_clip(clip, frames=10, size=(96, 64))
    source = frames_of(clip)
    costs = []
    for effort in (0, 3):
        report = vcodec.encode(clip, tmp_path / "x.vae", k=48, audio=False, overwrite=True, effort=effort)
        with vcodec.open(tmp_path / "x.vae") as video:
            decoded = list(video.frames())
        error = sum(((a[0].astype(float) - b[0]) ** 2).sum() for a, b in zip(source, decoded))
        costs.append(error / (LAMBDA * step_at(48, 0) ** 2) + 8 * report["file_bytes"])
    assert len(decoded) == 10 and costs[1] < costs[0]
    with pytest.raises(UsageError, match="0 to 9"):
        vcodec.encode(clip, tmp_path / "x.vae", effort=10, overwrite=True)


def test_damage_is_found_and_confined(tmp_path: Path) -> None:
    """200 random cuts and flipped bits: never a crash, a hang or silent garbage; whole GOPs decode as before."""
    clip, coded = tmp_path / "in.mp4", tmp_path / "in.vae"
    make_clip(clip, frames=12, size=(48, 32))
    vcodec.encode(clip, coded, k=16, gop=4)
    data = coded.read_bytes()
    codec = load_codec("qae")
    with vcodec.open(coded) as video:
        whole = list(video.frames())
    with coded.open("rb") as file:
        first = bitstream.Reader(file).header_bytes
    rng = np.random.default_rng(11)
    bad = tmp_path / "bad.vae"
    broken = 0
    for i in range(200):
        place = int(rng.integers(first, len(data)))
        if i % 2:
            bad.write_bytes(data[:place])
        else:
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(rng.integers(8))
            bad.write_bytes(bytes(flipped))
        with bad.open("rb") as file:
            play = bitstream.Playback(bitstream.Reader(file))
            state, seen = None, 0
            for item in play:
                if isinstance(item, bitstream.VideoChunk):
                    state = None if item.keyframe else state
                    grid = Grid(item.frames, 32, 48)
                    clip_hat, state = codec.decompress(item.payload, item.symbols, grid, state, Settings(16))
                    for j, planes in enumerate(codec.to_frames(clip_hat, grid)):
                        assert all(np.array_equal(a, b) for a, b in zip(planes, whole[item.first_frame + j]))
                        seen += 1
            lost = sum(b - a + 1 for a, b in play.lost)
        assert play.damages or play.lost, place
        assert seen + lost <= 12
        broken += seen < 12
    assert broken > 50


def test_readme_examples_run(tmp_path: Path) -> None:
    """The README's Python runs as written, and its commands exist."""
    text = (ROOT / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    help_text = run("--help")
    for command in set(re.findall(r"^\$? ?vcodec ([a-z-]+)", text, re.M)):
        assert command in help_text
    assert "@" not in re.sub(r"```.*?```", "", text, flags=re.S), "a figure is missing"


def test_embedded_weights_are_packed() -> None:
    """What is embedded is smaller than the checkpoint and gives the same codec; damaged or endless, it is refused."""
    codec = load_codec("qae")
    data = models.weights_data(codec)
    assert len(data) < 0.75 * bundled_path("qae").stat().st_size
    assert models._load_data(data, "cpu").weights_sha256 == codec.weights_sha256
    for bad in (data[:-40], data[:2000] + bytes(50) + data[2050:], lzma.compress(bytes(models._PACKED_MOST + 9))):
        with pytest.raises(WeightsError):
            models._load_data(bad, "cpu")


def write_golden() -> None:
    """Make the release's golden file (again only when the bundled weights change)."""
    make_clip(GOLDEN / "in.mp4", frames=12, size=(80, 56))
    vcodec.encode(GOLDEN / "in.mp4", GOLDEN / "release.vae", k=24, gop=10, overwrite=True)
    (GOLDEN / "in.mp4").unlink()
    frames, digest = parsed_digest(GOLDEN / "release.vae")
    want = {"frames": frames, "indices_sha256": digest, "frames_sha256": shown_digest(GOLDEN / "release.vae")}
    (GOLDEN / "release.json").write_text(json.dumps(want) + "\n", "utf-8")
