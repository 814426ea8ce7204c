"""The contract of every codec of the registry: DESIGN's laws over the whole table, one suite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models import CONTRACT, moving_frames, small_codec
from vcodec.checkpoint import load_codec, save_codec
from vcodec.codec import Codec, Grid, Settings, State
from vcodec.errors import DamagedError, InputError

every_codec = pytest.mark.parametrize("codec", [small_codec(name) for name in CONTRACT], ids=CONTRACT)


def parts_of(codec: Codec, frames: list, chunk: int) -> list[list]:
    """Frames in chunks, the first of which also holds the codec's lead frames."""
    first = codec.lead_frames + chunk
    return [frames[:first], *[frames[i : i + chunk] for i in range(first, len(frames), chunk)]]


def coded(codec: Codec, frames: list, settings: Settings, chunk: int) -> list:
    """Payloads with their grids, chunk by chunk."""
    out, state = [], None
    for part in parts_of(codec, frames, chunk):
        payload, state = codec.compress(codec.to_clip(part), state, settings)
        out.append((payload, Grid(len(part), *part[0][0].shape)))
    return out


def decoded(codec: Codec, chunks: list, settings: Settings) -> torch.Tensor:
    """The clip of all chunks."""
    parts, state = [], None
    for payload, grid in chunks:
        clip, state = codec.decompress(payload.data, payload.symbols, grid, state, settings)
        parts.append(clip)
    return torch.cat(parts, 2)


@every_codec
@pytest.mark.parametrize(("count", "height", "width"), [(1, 1, 1), (3, 17, 33), (9, 48, 64), (21, 32, 20)])
def test_decoding_is_what_encoding_saw(codec: Codec, count: int, height: int, width: int) -> None:
    """Law 1: decompress(compress(x)) equals the in-memory path, for any length and any size, odd ones too."""
    frames = moving_frames(codec, count, height, width)
    settings = Settings(8)
    state: State | None = None
    seen, chunks = [], []
    inner = memory = None
    for part in parts_of(codec, frames, codec.chunk_frames):
        payload, clip, state = codec.code(codec.to_clip(part), state, settings)
        chunks.append((payload, Grid(len(part), height, width)))
        if clip is not None:
            seen.append(clip)
        else:
            clip = codec.to_clip(part)
            for step in torch.split(clip, codec.backbone.step_sizes(len(part), inner is None), 2):
                latent, inner = codec.backbone.encode(step, inner, settings.k)
                index = codec.quantizer.quantize(latent.values, settings.k)
                latent.values = codec.quantizer.dequantize(index, settings.k)
                out, memory = codec.backbone.decode(latent, memory, settings.k)
                seen.append(out[:, :, : step.shape[2]])
    clip = decoded(codec, chunks, settings)
    torch.testing.assert_close(clip, torch.cat(seen, 2), atol=1e-5, rtol=0)
    out = codec.to_frames(clip, Grid(count, height, width))
    assert [p.shape for p in out[0]] == [p.shape for p in frames[0]]
    assert len(out) == count
    assert all(p.dtype == np.uint8 and p.flags.c_contiguous for frame in out for p in frame)


@every_codec
def test_chunks_with_state_equal_one_call(codec: Codec) -> None:
    """Law 2: chunk by chunk with state gives the clip of one single call."""
    step = codec.backbone.step_frames
    frames = moving_frames(codec, codec.lead_frames + 3 * step, 32, 48)
    settings = Settings(8)
    whole = decoded(codec, coded(codec, frames, settings, 3 * step), settings)
    parts = decoded(codec, coded(codec, frames, settings, step), settings)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)


@every_codec
def test_a_later_frame_changes_nothing_before(codec: Codec) -> None:
    """Law 2: changing a later step leaves earlier steps as they were."""
    step = codec.backbone.step_frames
    same = codec.lead_frames + 2 * step
    frames = moving_frames(codec, same + step, 32, 48)
    other = frames[:same] + [tuple(255 - p for p in f) for f in frames[same:]]
    settings = Settings(8)
    one, two = (decoded(codec, coded(codec, f, settings, step), settings) for f in (frames, other))
    assert torch.equal(one[:, :, :same], two[:, :, :same])
    assert not torch.equal(one[:, :, same:], two[:, :, same:])


@every_codec
@pytest.mark.parametrize("k", [2, 5, 32])
def test_payloads_are_as_long_as_their_tables_say(codec: Codec, k: int) -> None:
    """Law 4: 8·len(payload) ≤ 1.001 · (−Σ log2 p on the frozen tables) + 64."""
    frames = moving_frames(codec, 8, 64, 96)
    payload, _ = codec.compress(codec.to_clip(frames), None, Settings(k))
    assert payload.bits > 0
    assert 8 * len(payload.data) <= 1.001 * payload.bits + 64


@every_codec
def test_every_k_and_fine_step_round_trips(codec: Codec) -> None:
    """K between the trained sizes and fine steps decode to what was coded; K out of range is refused."""
    frames = moving_frames(codec, 2, 32, 32)
    for settings in (Settings(2), Settings(3), Settings(7, 5), Settings(31, -128), Settings(32, 127)):
        assert decoded(codec, coded(codec, frames, settings, codec.chunk_frames), settings).shape[2] == 2
    for k in (-1, 0, 1, 257):
        with pytest.raises(InputError, match="2 to 256"):
            Settings(k)


@every_codec
def test_checkpoints_keep_a_codec(codec: Codec, tmp_path) -> None:
    """A saved and loaded codec has the same hash and decodes the same payload to the same clip."""
    path = tmp_path / "codec.safetensors"
    save_codec(codec, path, {"note": "anything"})
    again = load_codec(path)
    assert again.weights_sha256 == codec.weights_sha256
    chunks = coded(codec, moving_frames(codec, 3, 32, 32), Settings(8), codec.chunk_frames)
    assert torch.equal(decoded(codec, chunks, Settings(8)), decoded(again, chunks, Settings(8)))


@every_codec
def test_payloads_that_do_not_fit_are_refused(codec: Codec) -> None:
    """A payload with words to spare, or not of whole words, raises DamagedError; nothing else escapes."""
    frames = moving_frames(codec, 4, 32, 32)
    (payload, grid), *_ = coded(codec, frames, Settings(8), 20)
    with pytest.raises(DamagedError):
        codec.decompress(payload.data + b"\x01\x02\x03\x04" * 3, 0, grid, None, Settings(8))
    with pytest.raises(DamagedError):
        codec.decompress(payload.data[:-1], 0, grid, None, Settings(8))
    rng = np.random.default_rng(0)
    for _ in range(20):
        junk = rng.integers(0, 256, 4 * int(rng.integers(0, 60)), dtype=np.uint8).tobytes()
        try:
            clip, _ = codec.decompress(junk, 0, grid, None, Settings(8))
        except DamagedError:
            continue
        assert clip.isfinite().all()
