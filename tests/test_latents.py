"""Latents as files: import, integer coding, views, windows for training, many files at once."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import make_clip as written_clip
from tests.models import small_codec
from vcodec import api
from vcodec.backbones.base import Grid
from vcodec.batch import encode_many, plan
from vcodec.checkpoint import load_codec, new_parts, save_codec
from vcodec.cli import main
from vcodec.datasets.latents import LatentDataset
from vcodec.entropy.latents import LatentEntropy, plain_tensors
from vcodec.entropy.tables import SymbolReader, SymbolWriter
from vcodec.errors import BatchError, DamagedError, InputError, UnsupportedError, UsageError, WeightsError
from vcodec.importing import import_checkpoint
from vcodec.latents import GopParser, parse
from vcodec.quantizers.posterior import PosteriorConfig, PosteriorQuantizer
from vcodec.training.latents import Latents, calibrate

NAME = "ivvae:z4-small"


def make_clip(path: Path, **options: int) -> Path:
    """A clip that losslessly keeps what it holds."""
    written_clip(path, **options)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vae.safetensors"
    save_codec(small_codec(NAME), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights: Path) -> Path:
    """Two small files of 26 frames, in GOPs of 9 frames (3 latents)."""
    out = tmp_path_factory.mktemp("latents")
    for name in ("one", "two"):
        (out / name).mkdir()
        clip = make_clip(out / f"{name}.mkv", frames=26)
        api.encode(clip, out / name / "clip.vae", weights=weights, k=64, gop=9, scene_cuts=False)
    return out


# ---------------------------------------------------------------------- import


def checkpoint(path: Path, **changes: torch.Tensor | None) -> Path:
    """A checkpoint of the released structure at base 4, z 4, with some tensors replaced (None: left out)."""
    tensors = dict(new_parts(NAME, {"backbone": {"base": 4}}).backbone.state_dict()) | changes
    torch.save({n: t for n, t in tensors.items() if t is not None}, path)
    return path


def test_import_keeps_every_weight(tmp_path, capsys) -> None:
    """`vcodec import` writes a codec with the checkpoint's weights, scale and shift."""
    source, out = checkpoint(tmp_path / "vae.pth"), tmp_path / "vae.safetensors"
    assert main(["import", str(source), "-o", str(out), "--scale", "1.3", "--shift", "0.1", "--json"]) == 0
    codec = load_codec(out)
    assert (codec.name, codec.backbone.config.scale, codec.backbone.config.shift) == ("ivvae:z4", 1.3, 0.1)
    for name, tensor in torch.load(source, weights_only=True).items():
        assert torch.equal(codec.backbone.state_dict()[name], tensor)
    assert main(["import", str(source), "-o", str(out), "--scale", "1.3", "--shift", "0.1"]) == 1
    assert "overwrite it with -f" in capsys.readouterr().err


def test_import_names_what_does_not_fit(tmp_path) -> None:
    """Missing, unknown and misshapen tensors, unknown scales, and pickled code are refused by name."""
    path = tmp_path / "vae.pth"
    given = {"scale": 1.0, "shift": 0.0}
    with pytest.raises(WeightsError, match=r"missing: decoder\.conv1\.conv\.bias"):
        import_checkpoint(checkpoint(path, **{"decoder.conv1.conv.bias": None}), **given)
    with pytest.raises(WeightsError, match="unknown: more"):
        import_checkpoint(checkpoint(path, more=torch.zeros(1)), **given)
    with pytest.raises(WeightsError, match=r"wrong shape: conv1\.conv_2d\.bias is \[3\], not \[4\]"):
        import_checkpoint(checkpoint(path, **{"conv1.conv_2d.bias": torch.zeros(3)}), **given)
    with pytest.raises(UsageError, match=r"z = 4 and base width 4.*--scale"):
        import_checkpoint(checkpoint(path))
    with pytest.raises(WeightsError, match="not an IV-VAE"):
        import_checkpoint(checkpoint(path, **{"conv2.conv_2d.weight": None}), **given)
    torch.save({"a": os.system}, path)
    with pytest.raises(WeightsError):
        import_checkpoint(path)


# ---------------------------------------------------------------------- coding


def latent_like(channels: int, steps: int, size: int, seed: int) -> torch.Tensor:
    """Smooth in space, slow in time."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, size // 4 + 1, size // 4 + 1, generator=generator)
    still = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")[:, :, None]
    return still + 0.1 * torch.randn(1, channels, steps, size, size, generator=generator)


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("k", [2, 33, 256])
def test_latents_parse_to_the_same_indices(channels: int, k: int) -> None:
    """What is read is what was written, for odd channels and any K, beyond the reach of the tables too."""
    model, quantizer = LatentEntropy(plain_tensors(channels)), PosteriorQuantizer(PosteriorConfig(channels))
    values = latent_like(channels, 3, 9, 1)
    values[0, 0, 1, 4, 4] = 100.0  # an outlier escapes
    plan = model.choose(values, {}, None, quantizer, None, k, 3)
    writer = SymbolWriter()
    model.emit(writer, plan)
    reader = SymbolReader(data := writer.finish())
    hat, _, memory = model.read(reader, (channels, 3, 9, 9), quantizer, None, k, 3)
    reader.finish()
    assert torch.equal(hat, plan.hat)
    assert torch.equal(memory.indices, plan.after.indices)
    assert 8 * len(data) <= 1.001 * writer.expected_bits + 64


def test_fitting_saves_bits_and_stays_exact() -> None:
    """A calibrated codec codes its kind of latents in fewer bits; steps follow each channel's posterior."""
    latents = [
        Latents(latent_like(4, 4, 12, i)[0], torch.full((4, 4, 12, 12), 0.1) * torch.arange(1, 5)[:, None, None, None])
        for i in range(6)
    ]
    parts = new_parts(NAME, {"backbone": {"base": 4}})
    codec = calibrate(NAME, parts, latents, steps=120)
    step = codec.quantizer.step(32).flatten()
    assert torch.allclose(step / step[0], torch.arange(1.0, 5.0))
    plain = LatentEntropy(plain_tensors(4))
    test = latent_like(4, 4, 12, 99)
    sizes = []
    for model in (plain, codec.entropy):
        writer = SymbolWriter()
        model.emit(writer, model.choose(test, {}, None, codec.quantizer, None, 256, 0))
        sizes.append(writer.expected_bits)
    assert sizes[1] < 0.95 * sizes[0]


def test_sums_beyond_the_exact_range_are_refused() -> None:
    """Weights with which a sum could reach 2^24 do not load."""
    tensors = plain_tensors(4)
    tensors["mean.101"][0] = 4096
    with pytest.raises(WeightsError, match="exact range"):
        LatentEntropy(tensors)


# ---------------------------------------------------------------------- views and windows


def test_a_view_gives_any_window(folder: Path, weights: Path) -> None:
    """`open(path).latents()[a:b]` is the window of the whole, in the scale of the VAE, over GOPs too."""
    with api.open(folder / "one" / "clip.vae", weights=weights) as file:
        view = file.latents()
        assert view.shape == (4, 9, 6, 8)
        assert view.keyframes == [0, 3, 6]
        whole = view[:]
        for a, b in ((0, 9), (2, 5), (4, 4), (8, 9), (3, 8)):
            assert torch.equal(file.latents()[a:b], whole[:, a:b])
        assert torch.equal(view[-1], whole[:, 8])
        drawn = file.latents(sample=True, generator=torch.Generator().manual_seed(1))[:]
        assert 0 < (drawn - whole).std() < 1
        # decoding the latents is decoding the file
        codec = load_codec(weights)
        clip = codec.backbone.decode(whole[None, :, :3])[0]
        grid = Grid(9, file.info["height"], file.info["width"])
        frames = codec.to_frames(clip, grid)
        for ours, theirs in zip(frames, file.frames(0, 9)):
            assert np.abs(ours[0].astype(int) - theirs[0].astype(int)).max() <= 1


def test_other_codecs_have_no_latents(tmp_path) -> None:
    """A file of a codec that is no VAE is refused by name."""
    save_codec(small_codec("qae"), tmp_path / "qae.safetensors")
    api.encode(make_clip(tmp_path / "a.mkv", frames=3), tmp_path / "a.vae", weights=tmp_path / "qae.safetensors")
    with pytest.raises(UnsupportedError, match="qae"):
        api.open(tmp_path / "a.vae", weights=tmp_path / "qae.safetensors").latents()


def test_a_dataset_serves_each_window_once(folder: Path, weights: Path, tmp_path) -> None:
    """Map-style and streamed, with workers: every window of every GOP, none parsed for another's sake."""
    index = tmp_path / "index.json"
    data = LatentDataset(folder, window=3, weights=weights, index=index)
    assert len(data) == 6
    path, first = data.place(4)
    with api.open(path, weights=weights) as file:
        assert torch.equal(data[4], file.latents()[first : first + 3])
    again = LatentDataset(folder, window=3, weights=weights, index=index)
    wanted = sorted(float(w.sum()) for w in data)
    for loader in (
        torch.utils.data.DataLoader(again, batch_size=2, shuffle=True, num_workers=1),
        torch.utils.data.DataLoader(again.stream(epoch=1), batch_size=2, num_workers=0),
    ):
        found = torch.cat(list(loader))
        assert found.shape == (6, 4, 3, 6, 8)
        assert np.allclose(sorted(float(w.sum()) for w in found), wanted)
    parser = data.parser(1)
    parser.window(0, 1)
    assert parser.parsed == 1  # what was asked for, nothing before it
    assert torch.equal(pickle.loads(pickle.dumps(data))[4], data[4])  # read from before, as a spawned worker gets it
    assert len(LatentDataset(folder, window=2, stride=1, weights=weights)) == 12


def test_gops_parsed_side_by_side_are_what_each_is_alone(folder: Path, weights: Path) -> None:
    """A batch of windows, of one GOP or several, begun or not, is the windows one by one; they can be trained on."""
    data = LatentDataset(folder, window=2, stride=1, weights=weights)
    alone = [data.parser(gop).window(start, start + 2) for gop in range(6) for start in range(2)]
    data[4]  # one GOP is begun
    batch = data.__getitems__([11, 0, 5, 2, 7, 4, 0, 9])
    for number, window in zip([11, 0, 5, 2, 7, 4, 0, 9], batch, strict=True):
        assert torch.equal(window, alone[number])
    weight = torch.ones(4, 1, 1, 1, requires_grad=True)
    (batch[0] * weight).sum().backward()
    assert weight.grad is not None


def test_a_stream_parses_each_latent_once(folder: Path, weights: Path, monkeypatch) -> None:
    """Overlapping windows of an epoch cost one parse of each GOP; seed and epoch decide the order."""
    data = LatentDataset(folder, window=2, stride=1, weights=weights)
    count = 0
    end = GopParser.end

    def counted(self: GopParser, *given: object) -> None:
        nonlocal count
        count += 1
        end(self, *given)

    monkeypatch.setattr(GopParser, "end", counted)
    first = list(data.stream(epoch=3, seed=1, buffer=4))
    assert (len(first), count) == (12, 18)
    again, other = list(data.stream(epoch=3, seed=1, buffer=4)), list(data.stream(epoch=4, seed=1, buffer=4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_damaged_file_spoils_no_other_of_its_batch(folder: Path, weights: Path, tmp_path) -> None:
    """A broken payload is named by its file, and is an error again when asked again; the others are right."""
    good, bad = folder / "one" / "clip.vae", tmp_path / "bad.vae"
    data = LatentDataset([good, folder / "two" / "clip.vae"], window=3, weights=weights)
    wanted = data[0]
    parsers = [data.parser(0), data.parser(3)]
    object.__setattr__(parsers[1].index, "path", bad)
    spoilt = bytearray(good.read_bytes())
    spoilt[len(spoilt) // 5] ^= 1
    bad.write_bytes(spoilt)
    for _ in range(2):
        with pytest.raises(DamagedError, match=r"bad\.vae"):
            parse([(parser, 3) for parser in parsers])
    assert torch.equal(parsers[0].window(0, 3), wanted)
    parsers[0].reset()
    parsers[0].load(3)
    parsers[0]._chunks[0] = (parsers[0]._chunks[0][0] + bytes(8), 3)
    with pytest.raises(DamagedError, match=r"clip\.vae is damaged: a payload holds more"):
        parse([(parsers[0], 3)])


def test_a_dataset_refuses_what_does_not_belong(folder: Path, weights: Path, tmp_path) -> None:
    """Other weights, scale, K or size are refused, naming the file."""
    good = folder / "one" / "clip.vae"
    other = tmp_path / "other.vae"
    clip = make_clip(tmp_path / "a.mkv", frames=9)
    api.encode(clip, other, weights=weights, k=32, gop=9)
    with pytest.raises(InputError, match=r"other\.vae was coded with K = 32"):
        LatentDataset([good, other], window=3, weights=weights)
    with pytest.raises(InputError, match=r"scale is 12 .*not 1"):
        LatentDataset([good], window=3, weights=weights, scale=1.0)
    with pytest.raises(InputError, match="no GOP"):
        LatentDataset([good], window=4, weights=weights)
    save_codec(small_codec("ivvae:z16-small"), tmp_path / "z16.safetensors")
    with pytest.raises(InputError, match="of another space"):
        LatentDataset([good], window=3, weights=tmp_path / "z16.safetensors")


# ---------------------------------------------------------------------- many files, memory


def test_many_files_survive_a_bad_one(tmp_path, weights: Path, capsys) -> None:
    """A folder tree becomes a folder tree; a bad file is named, the others are done (exit 4), and it resumes."""
    tree = tmp_path / "in"
    (tree / "sub").mkdir(parents=True)
    make_clip(tree / "a.mkv", frames=2)
    make_clip(tree / "sub" / "b.mkv", frames=2)
    (tree / "bad.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    with pytest.raises(BatchError) as caught:
        encode_many([tree], out, weights=weights)
    assert [Path(item["source"]).name for item in caught.value.report.failed] == ["bad.mp4"]
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.vae")} == {"a.vae", "sub/b.vae"}
    (out / "a.vae").unlink()
    arguments = ["encode", str(tree), "--outdir", str(out), "--weights", str(weights), "--skip-existing"]
    assert main(arguments) == 4
    assert "1 encoded" in capsys.readouterr().out
    assert main(["encode", str(tree), "--outdir", str(out), "--weights", str(weights)]) == 1
    (tree / "a.mp4").write_bytes(b"")
    assert {t.target.name for t in plan([tree], out)} == {"a.mkv.vae", "a.mp4.vae", "bad.vae", "b.vae"}


def test_memory_is_bounded_before_it_is_taken(tmp_path, weights: Path) -> None:
    """Pictures that would need more than --max-memory are refused, with the number, on both sides."""
    clip, coded = make_clip(tmp_path / "a.mkv", frames=2), tmp_path / "a.vae"
    with pytest.raises(InputError, match=r"needs about .* GiB for pictures of 64x48"):
        api.encode(clip, coded, weights=weights, max_memory=1000)
    assert not coded.exists()
    api.encode(clip, coded, weights=weights, max_memory=2**30)
    with pytest.raises(InputError, match="--max-memory"):
        api.decode(coded, tmp_path / "b.mkv", weights=weights, max_memory=1000)
