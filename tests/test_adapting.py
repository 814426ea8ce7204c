"""What own footage is coded with: light, memory, scenes, and the choice of what to adapt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.clips import texture
from tests.models import picture, small_codec
from vcodec import training
from vcodec.backbones import motion
from vcodec.backbones.compensation import compensate
from vcodec.backbones.lookahead import rough_motion
from vcodec.backbones.weighting import LARGEST, fitted, weighted
from vcodec.checkpoint import assemble, load_codec, new_parts, save_codec
from vcodec.codec import Codec, Grid, Settings
from vcodec.datasets.base import Run
from vcodec.entropy.tables import SymbolReader, SymbolWriter
from vcodec.errors import DamagedError, UsageError
from vcodec.training.scenes import Scene, commonest, emptied, find_scenes, with_scenes

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
SIZE = (64, 96)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Frames as small as these are coded faster by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain_codec() -> Codec:
    """The default codec before any training: its linear transforms alone."""
    parts = new_parts("qae", {"backbone": {"width": 8}})
    return assemble("qae", parts, small_codec("qae").entropy)


def room(frames: int, seed: int = 1, light: float = 1.0) -> list[Planes]:
    """A still picture that a textured block of 32×32 crosses."""
    rng = np.random.default_rng(seed)
    still = [picture(rng, SIZE[0] >> s, SIZE[1] >> s) for s in (0, 1, 1)]
    thing = texture(32, 32, seed=seed)
    out = []
    for t in range(frames):
        y, u, v = (plane.copy() for plane in still)
        x = 8 + 8 * t
        y[16:48, x : x + 32] = thing[:, : max(0, SIZE[1] - x)]
        out.append(((y * light).astype(np.uint8), u, v))
    return out


def run_of(frames: list[Planes]) -> Run:
    """Frames as training material."""
    luma = np.stack([f[0] for f in frames])
    chroma = np.stack([np.stack(f[1:]) for f in frames])
    return Run("room", luma, chroma, np.zeros((len(frames), 2, SIZE[0] // 8, SIZE[1] // 8), np.int16))


def coded(codec: Codec, frames: list[Planes], k: int = 64) -> tuple[bytes, torch.Tensor]:
    """Payload of frames as one GOP, and the clip it decodes to; the encoder saw that very clip."""
    clip = codec.to_clip(frames)
    payload, seen, _ = codec.code(clip, None, Settings(k))
    decoded, _ = codec.decompress(payload.data, 0, Grid(len(frames), *SIZE), None, Settings(k))
    assert seen is not None and torch.equal(seen, decoded)
    return payload.data, decoded


def test_light_is_fitted_where_it_changed() -> None:
    """A darkened picture, part of which moved, gives back its gain and offset; an equal one nothing."""
    rng = np.random.default_rng(0)
    luma = torch.from_numpy(picture(rng, *SIZE)).float()[None, None] / 255
    chroma = torch.full((1, 2, SIZE[0] // 2, SIZE[1] // 2), 0.45)
    dark = luma * 0.75 + 10 / 255
    dark[..., :16, :32] = 1.0
    found = fitted((dark, chroma), [(luma, chroma)], 0.01)[:, 0]
    gain, offset = found[0, :2].tolist()
    assert abs(gain + 32) <= 2 and abs(offset - 20) <= 3
    near, _ = weighted((luma * 255).round().to(torch.uint8), (chroma * 255).round().to(torch.uint8), found)
    assert (near / 255 - dark)[..., 16:, :].abs().mean() < 1 / 255
    assert not fitted((luma, chroma), [(luma, chroma)], 0.01).any()


def test_light_on_bytes_is_rounded_once() -> None:
    """Bytes under weights are the exact levels, rounded half up and limited to 8 bits."""
    rng = np.random.default_rng(2)
    shapes = (2, 1, 16, 32), (2, 2, 8, 16)
    luma, chroma = (torch.from_numpy(rng.integers(0, 256, s).astype(np.uint8)) for s in shapes)
    for _ in range(20):
        weights = torch.from_numpy(rng.integers(-LARGEST, LARGEST + 1, (2, 4)))
        gain, offsets = 128 + weights[:, :1, None, None], weights[:, 1:, None, None].double() / 2
        exact = luma * gain / 128.0 + offsets[:, :1], (chroma - 127.5) * gain / 128.0 + 127.5 + offsets[:, 1:]
        for shown, wanted in zip(weighted(luma, chroma, weights), exact, strict=True):
            assert torch.equal(shown, (wanted + 0.5).floor().clamp(0, 255).to(torch.uint8))
    neutral = torch.zeros(2, 4, dtype=torch.int64)
    assert weighted(luma, chroma, neutral)[0] is luma


def test_fading_light_is_cheap() -> None:
    """Frames that darken as a whole cost a fraction of what they cost without weights."""
    codec = plain_codec()
    frames = [room(1, light=1.0 - 0.06 * t)[0] for t in range(6)]
    with_light, _ = coded(codec, frames)
    still, _ = coded(codec, frames[:1] * 6)
    jumps = len(with_light) - len(still)
    alone, _ = coded(codec, frames[:1])
    assert jumps < len(alone) / 2


def test_what_is_uncovered_comes_from_memory() -> None:
    """Blocks that a thing uncovers are taken from the GOP's keyframe, and none of them has a vector of its own."""
    last, now = (torch.from_numpy(room(30)[t][0]).float()[None, None] / 255 for t in (1, 29))  # the thing leaves
    empty = (now * 255).round().to(torch.uint8)
    coarse, choice, _ = motion.search(now, motion.Reference.of(last), rough_motion(now, last)[0], 0.05, 20.0, empty)
    kept = coarse[0, 2].bool()
    assert kept.any() and not coarse[0, :2, kept].any() and not coarse[0, 2].all()
    vectors = motion.dense_vectors(coarse, choice)
    chroma = torch.zeros(1, 2, SIZE[0] // 2, SIZE[1] // 2)
    shown, _ = compensate([(last, chroma), (now, chroma)], vectors)
    uncovered = (last - now).abs() > 0.05
    missed = [(p - now)[uncovered].abs().mean() for p in (shown, last)]
    assert missed[0] < 0.2 * missed[1]  # neighbours' vectors reach into the uncovered blocks, a little


def test_the_commonest_picture_is_the_room() -> None:
    """Samples that something passes for a while come out as they are without it."""
    scene = commonest([run_of(room(14))])
    empty = room(30)[29]
    off = np.abs(scene.luma[0].astype(int) - empty[0].astype(int))
    assert np.mean(off > 2) < 0.01 and np.array_equal(scene.chroma[0], empty[1])
    other = run_of(room(14, seed=5))
    assert len(find_scenes([[run_of(room(14))], [other]])) >= 2


def test_what_pictures_have_in_common_is_the_empty_room() -> None:
    """Each picture has the thing elsewhere, the last is brighter: the room without it, in the last one's light."""
    pictures = [commonest([run_of(room(30)[t : t + 1])]) for t in (1, 4, 29, 7)]
    last = Scene(pictures[3].luma + 3 * (pictures[3].luma < 250), pictures[3].chroma)
    found = emptied([*pictures[:3], last])
    off = np.abs(found.luma[0].astype(int) - room(30)[29][0].astype(int))
    assert np.mean(np.abs(off - 3) > 2) < 0.02


def test_a_gop_starts_from_a_scene_where_that_is_cheaper(tmp_path: Path) -> None:
    """A model that holds the room codes its first frame for less; a checkpoint keeps the scene; other pictures and
    sizes start from a keyframe; a payload that names a scene the model lacks is damaged."""
    plain = plain_codec()
    holding = with_scenes(plain, [commonest([run_of(room(14))])])
    save_codec(holding, tmp_path / "own.safetensors")
    holding = load_codec(tmp_path / "own.safetensors")
    assert holding.weights_sha256 != plain.weights_sha256
    frames = room(3)
    short, _ = coded(holding, frames)
    long, _ = coded(plain, frames)
    assert len(short) < 0.7 * len(long)
    assert int(SymbolReader(short).read_raw(1)[0]) == 1
    other, _ = coded(holding, room(2, seed=9))
    assert int(SymbolReader(other).read_raw(1)[0]) == 0
    small = [tuple(p[: p.shape[0] // 2] for p in f) for f in frames]
    clip = holding.to_clip(small)
    assert holding.code(clip, None, Settings(8))[0] == plain.code(clip, None, Settings(8))[0]
    writer = SymbolWriter()
    writer.write_raw(np.array([2]))
    with pytest.raises(DamagedError, match="does not have"):
        holding.decompress(writer.finish(), 0, Grid(1, *SIZE), None, Settings(8))


def test_adapting_keeps_what_pays(tmp_path: Path) -> None:
    """Training on a fixed camera's footage from a checkpoint: the scene is kept, each step is judged on held-back
    frames, and the result codes for less than the start."""
    start = plain_codec()
    save_codec(start, tmp_path / "start.safetensors")
    with av.open(str(tmp_path / "camera.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=10, width=SIZE[1], height=SIZE[0], pix_fmt="yuv420p")
        for planes in (room(11) * 4)[:40]:
            frame = av.VideoFrame.from_ndarray(np.concatenate([p.reshape(-1, SIZE[1]) for p in planes]), "yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    changes = ["batch=2", "crop=32", "frames=[2]", "validation_batches=1", "validation_ks=[8]", "evaluate_steps=3"]
    model = tmp_path / "own.safetensors"
    weights = tmp_path / "start.safetensors"
    made = training.run(
        [tmp_path / "camera.mkv"], model, weights=weights, changes=changes, steps=3, quiet=True, device="cpu", threads=1
    )
    assert list(made["adapted"]) == ["scenes", "tables", "networks"]
    assert made["adapted"]["scenes"] < 0.95 and made["recipe"]["finish"] == "adapt"
    adapted = load_codec(model)
    assert adapted.weights_sha256.hex() == made["sha256"]
    assert len(coded(adapted, room(8))[0]) < len(coded(start, room(8))[0])
    with pytest.raises(UsageError, match="start from"):
        training.run([tmp_path], tmp_path / "x.safetensors", changes=["start=scratch"], steps=1, quiet=True)
