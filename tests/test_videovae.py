"""The video VAEs: the released structure, streams, inflation, windows, states, memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.plain_ivvae import PlainIVVAE
from vcodec.backbones.base import Grid
from vcodec.backbones.causalvae import PRESETS as CAUSAL_PRESETS
from vcodec.backbones.causalvae import CausalVAE, CausalVAEConfig, ImageVAE
from vcodec.backbones.footprint import Footprint
from vcodec.backbones.group_conv import GroupCausalConv
from vcodec.backbones.inflation import THIRD_BRANCH_FRAME, inflate_causal, inflate_ktc
from vcodec.backbones.ivvae import IVVAE, PRESETS, IVVAEConfig
from vcodec.backbones.vae_layers import RMSNorm, Stream, TimeConv
from vcodec.backbones.videovae import VideoVAE
from vcodec.checkpoint import load_state, new_parts, save_state
from vcodec.errors import InputError

COUNTS = {"z4": 107_170_842, "z8": 107_379_150, "z16": 107_798_550, "z16-dim96": 241_854_742}


def made(kind: type[VideoVAE], z: int = 4, base: int = 4) -> VideoVAE:
    """A network with random weights, every part in use, in float64."""
    torch.manual_seed(3)
    config = IVVAEConfig(z, base, 1.3, 0.1) if kind is IVVAE else CausalVAEConfig(z, base, 1.3, 0.1)
    model = kind(config).double().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def clip_of(frames: int, height: int = 16, width: int = 24, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator, dtype=torch.float64)


def test_parameters_are_those_of_the_paper() -> None:
    """ivvae has exactly the released counts; causalvae is 127 M ± 1 % at base 96."""
    with torch.device("meta"):
        for name, count in COUNTS.items():
            assert sum(p.numel() for p in IVVAE(PRESETS[name]).parameters()) == count
        for name in ("z4", "z8", "z16"):
            count = sum(p.numel() for p in CausalVAE(CAUSAL_PRESETS[name]).parameters())
            assert abs(count / 127e6 - 1) <= 0.01


@pytest.mark.parametrize("z", [2, 4])
@pytest.mark.parametrize("frames", [1, 9])
def test_ivvae_is_the_released_structure(z: int, frames: int) -> None:
    """The same weights give the latents and frames of the structure written down plainly, a group at a time."""
    model = made(IVVAE, z)
    plain = PlainIVVAE(dict(model.state_dict()), 1.3, 0.1)
    clip = clip_of(frames, batch=2)
    with torch.inference_mode():
        latent = model.encode(clip)[0].values
        torch.testing.assert_close(latent, plain.encode(clip * 2 - 1), atol=1e-10, rtol=0)
        torch.testing.assert_close(model.decode(latent)[0] * 2 - 1, plain.decode(latent), atol=1e-10, rtol=0)


@pytest.mark.parametrize("group", [2, 4])
def test_transforming_over_time_is_the_convolution(group: int) -> None:
    """Six products for four frames, four for two (inference) equal three taps (training), to float64's precision."""
    torch.manual_seed(0)
    conv = GroupCausalConv(32, 6, group).double()
    x = torch.randn((1 + 2 * group) * 2, 32, 5, 7, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    slow = conv(x, Stream(2, True, {}))
    with torch.inference_mode():
        fast = torch.empty_like(slow)
        conv.infer(x, Stream(2, True, {}), fast)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [IVVAE, CausalVAE, ImageVAE])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_streams_equal_a_single_step(kind: type[VideoVAE], dtype: torch.dtype, bound: float) -> None:
    """Chunks of any number of groups give what one call gives: 1e-5 in fp32, exactly in fp64."""
    torch.manual_seed(3)
    model = (IVVAE(IVVAEConfig(4, 4)) if kind is IVVAE else kind(CausalVAEConfig(4, 4))).to(dtype).eval()
    clip = clip_of(17).to(dtype)
    with torch.inference_mode():
        whole = model.encode(clip)[0].values
        state, parts = None, []
        for part in torch.split(clip, [1, 4, 8, 4], 2):
            latent, state = model.encode(part, state)
            parts.append(latent.values)
        assert (torch.cat(parts, 2) - whole).abs().max() <= bound
        frames = model.decode(whole)[0]
        state, parts = None, []
        for part in torch.split(whole, [1, 2, whole.shape[2] - 3], 2):
            out, state = model.decode(part, state)
            parts.append(out)
        assert (torch.cat(parts, 2) - frames).abs().max() <= bound
    assert state is not None
    assert state.steps == whole.shape[2]


def test_the_state_says_what_is_first() -> None:
    """A chunk of one group after a state is no image, and the first frame of a long chunk is one."""
    model = made(IVVAE)
    clip = clip_of(9)
    with torch.inference_mode():
        alone, state = model.encode(clip[:, :, :1])
        together, _ = model.encode(clip)
        assert torch.allclose(alone.values, together.values[:, :, :1])
        one, _ = model.encode(clip[:, :, 1:2], state)
        again, _ = model.encode(clip[:, :, 1:2])
        assert one.values.shape == again.values.shape
        assert (one.values - again.values).abs().max() > 1e-3


@pytest.mark.parametrize("frames", [1, 2, 4, 6])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (13, 30)])
def test_any_length_and_size(frames: int, height: int, width: int) -> None:
    """Clips are completed by repeating and come back cropped; the completed clip gives the same latent."""
    model = made(IVVAE)
    clip = clip_of(frames, height, width)
    grid = model.codable_grid(Grid(frames, height, width))
    with torch.inference_mode():
        out, posterior = model(clip, sample=False)
        index = [torch.arange(n).clamp(max=m - 1) for n, m in zip(grid, clip.shape[2:])]
        full = clip[:, :, index[0]][:, :, :, index[1]][..., index[2]]
        assert torch.equal(model.posterior(full)[0].mean, posterior.mean)
    assert out.shape == clip.shape
    assert posterior.mean.shape[1:] == model.latent_shape(grid)


def far_reaching(kind: type[VideoVAE]) -> VideoVAE:
    """A network in which what the earliest taps see matters most: its memory does not fade before it ends."""
    model = made(kind)
    for module in model.modules():
        if isinstance(module, TimeConv):
            module.weight.data[:, :, 0] *= 10
    return model


@pytest.mark.parametrize(("kind", "preroll"), [(IVVAE, 7), (CausalVAE, 38), (ImageVAE, 0)])
def test_decoding_a_window_needs_its_preroll(kind: type[VideoVAE], preroll: int) -> None:
    """Decoding from `decoder_preroll` latents back is exact in fp64, with one latent less it is not."""
    model = far_reaching(kind)
    assert model.decoder_preroll == preroll
    end = preroll + 3
    latent = torch.randn(1, 4, end, 1, 1, dtype=torch.float64)
    with torch.inference_mode():
        whole = model.decode(latent)[0]
        for start, stop in ((0, 2), (end - 2, end - 1), (end - 1, end)):
            window = model.decode_window(latent, start, stop)
            wanted = whole[:, :, model.frames_before(start) : model.frames_before(stop)]
            torch.testing.assert_close(window, wanted, atol=1e-13, rtol=0)
        if preroll:
            model.decoder_preroll -= 1
            assert (model.decode_window(latent, end - 1, end) - whole[:, :, -4:]).abs().max() > 1e-11
        with pytest.raises(InputError, match="has latents 0 to"):
            model.decode_window(latent, end - 1, end + 1)


@pytest.mark.parametrize(("kind", "preroll"), [(IVVAE, 5), (CausalVAE, 28), (ImageVAE, 0)])
def test_encoding_a_window_needs_its_preroll(kind: type[VideoVAE], preroll: int) -> None:
    """Encoding from `encoder_preroll` latents back is exact in fp64, with one latent less it is not."""
    model = far_reaching(kind)
    assert model.encoder_preroll == preroll
    end = preroll + 3
    clip = clip_of(model.frames_before(end), 8, 8)
    with torch.inference_mode():
        whole = model.encode(clip)[0].values
        for start, stop in ((0, 2), (end - 2, end - 1), (end - 1, end)):
            window = model.encode_window(clip, start, stop)
            torch.testing.assert_close(window, whole[:, :, start:stop], atol=1e-13, rtol=0)
        if preroll:
            model.encoder_preroll -= 1
            assert (model.encode_window(clip, end - 1, end) - whole[:, :, -1:]).abs().max() > 1e-11
        with pytest.raises(InputError, match="has latents 0 to"):
            model.encode_window(clip, end - 1, end + 1)


def test_weights_made_in_inference_mode_serve() -> None:
    """A model built where no gradient is tracked gives what any other does, after a change of its weights too."""
    conv = GroupCausalConv(32, 6, 4)
    x = torch.randn(5, 32, 5, 7).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        inner = GroupCausalConv(32, 6, 4)
        for factor in (1.0, 2.0):
            for parameter, mine in zip(inner.parameters(), conv.parameters(), strict=True):
                parameter.copy_(mine).mul_(factor)
            out = torch.empty(5, 6, 5, 7)
            inner.infer(x, Stream(1, True, {}), out)
            torch.testing.assert_close(out, conv(x, Stream(1, True, {})) * factor, atol=1e-4, rtol=0)


def test_states_are_kept_and_shared(tmp_path) -> None:
    """A state saved, loaded or forked goes on as the stream did; one of another side or size is refused."""
    model = made(IVVAE)
    clip = clip_of(9)
    with torch.inference_mode():
        _, state = model.encode(clip[:, :, :5])
        wanted, _ = model.encode(clip[:, :, 5:], state)
        save_state(state, tmp_path / "state.safetensors")
        for other in (load_state(tmp_path / "state.safetensors"), state.fork()):
            assert other.steps == 2
            again = model.encode(clip[:, :, 5:], other)[0].values
            torch.testing.assert_close(again, wanted.values, atol=1e-12, rtol=0)
        assert len(state.slots) == 13
        with pytest.raises(InputError, match="encoder"):
            model.decode(wanted, state)
        with pytest.raises(InputError, match="does not fit"):
            model.encode(clip_of(4, 32, 32), state)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(InputError, match="not the state"):
        load_state(tmp_path / "junk")


@pytest.mark.parametrize("kind", [IVVAE, CausalVAE])
def test_a_spent_state_gives_its_memory_to_the_next(kind) -> None:
    """A stream over spent states is the same, in the same memory; what is spent is refused, a fork goes on."""
    model = made(kind)
    clip = clip_of(13)
    with torch.inference_mode():
        wanted, state = model.encode(clip[:, :, :5])[1].fork(), model.encode(clip[:, :, :5])[1]
        kept, places = state.fork(), {name: slot.data_ptr() for name, slot in state.slots.items()}
        for part in (clip[:, :, 5:9], clip[:, :, 9:]):
            want, wanted = model.encode(part, wanted)
            spent = state
            got, state = model.encode(part, spent.spent())
            assert torch.equal(got.values, want.values)
            assert {name: slot.data_ptr() for name, slot in state.slots.items()} == places
            with pytest.raises(InputError, match="spent"):
                model.encode(part, spent)
        forked, whole = model.encode(clip[:, :, 5:9], kept)[0].values, model.encode(clip)[0].values
        torch.testing.assert_close(forked, whole[:, :, 2:3], atol=1e-12, rtol=0)
    learned = [p.requires_grad_(True) for p in model.parameters()]
    trained, state = model.encode(clip[:, :, :5])
    latent, _ = model.encode(clip[:, :, 5:9], state.spent())
    (latent.values.sum() + trained.values.sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learned)


@pytest.mark.parametrize("name", ["ivvae:z4-small", "causalvae:z4-small"])
def test_memory_is_known_before_it_is_taken(name: str) -> None:
    """Counted without memory, tensors take what the allocator then gives out, to 5 %; the quick bound is above."""
    model = new_parts(name).backbone.eval()
    with torch.device("meta"):
        twin = type(model)(model.config).eval()

    def taken(clip, state) -> int:
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            model.encode(clip, state)
        events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
        events.sort(key=lambda event: event.start_ns())
        return max(itertools.accumulate(event.nbytes() for event in events))

    with torch.inference_mode():
        for frames in (5, 4):  # 4 go on
            clip = torch.rand(1, 3, frames, 128, 128)
            before = model.encode(clip[:, :, :1])[1] if frames == 4 else None
            after = twin.encode(clip[:, :, :1].to("meta"))[1] if frames == 4 else None
            with Footprint() as footprint:
                twin.encode(clip.to("meta"), after)
            assert footprint.peak == pytest.approx(taken(clip, before), rel=0.05)
            needed, bound = model.memory(frames, 128, 128), model.memory_bound(frames, 128, 128)
            assert footprint.peak < footprint.held <= needed <= bound


def test_halves_start_as_two_frames_of_a_group() -> None:
    """KTC's start: the halves show the image VAE's own pictures of a group's first frame and of its third."""
    image, video = made(ImageVAE, 3), made(IVVAE, 6)
    inflate_ktc(image, video)
    clip = clip_of(9)
    with torch.inference_mode():
        out, pictures = video(clip, sample=False)[0], image(clip, sample=False)[0]
    third = 1 + THIRD_BRANCH_FRAME
    shown = [0, 1, third, third, third, 5, 4 + third, 4 + third, 4 + third]
    torch.testing.assert_close(out, pictures[:, :, shown], atol=1e-10, rtol=0)


def test_the_causal_vae_starts_as_the_image_vae() -> None:
    """Tail initialisation [0,0,W]: a group shows the image VAE's own picture of its last frame."""
    image, video = made(ImageVAE, 4), made(CausalVAE, 4)
    inflate_causal(image, video)
    clip = clip_of(9)
    with torch.inference_mode():
        out, pictures = video(clip, sample=False)[0], image(clip, sample=False)[0]
    torch.testing.assert_close(out, pictures[:, :, [0, *[4] * 4, *[8] * 4]], atol=1e-10, rtol=0)
    with pytest.raises(InputError, match="does not start"):
        inflate_causal(made(ImageVAE, 2), video)


def test_norm_is_safe_in_half_precision() -> None:
    """Zeros and large values in fp16 give finite values; each half is normalized alone."""
    norm = RMSNorm(8, 2).half()
    x = torch.zeros(1, 8, 2, 2, dtype=torch.half)
    x[:, :4, 0, 0] = 6e4
    y = norm(x)
    assert y.isfinite().all()
    assert torch.equal(y[0, :4, 0, 0], torch.ones(4, dtype=torch.half))
    assert not y[0, 4:].any()


def test_gradients_reach_every_parameter() -> None:
    """Training sees all of the network, and its path gives what inference gives."""
    model = made(IVVAE).float()
    clip = clip_of(5).float()
    out, posterior = model(clip, sample=False)
    (out.mean() + posterior.mean.square().mean() + posterior.std.mean()).backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.inference_mode():
        torch.testing.assert_close(model(clip, sample=False)[0], out.detach(), atol=2e-5, rtol=0)


def test_samples_are_drawn_from_the_posterior() -> None:
    """The caller chooses: encode gives the mean, sample a draw whose spread is the posterior's."""
    with torch.inference_mode():
        posterior, _ = made(IVVAE).posterior(clip_of(1, 64, 64))
    draws = torch.stack([posterior.sample(torch.Generator().manual_seed(i)) for i in range(200)])
    assert torch.allclose((draws - posterior.mean).std(0).mean(), posterior.std.mean(), rtol=0.05)
    assert np.isclose(float((draws.mean(0) - posterior.mean).mean() / posterior.std.mean()), 0, atol=0.05)
