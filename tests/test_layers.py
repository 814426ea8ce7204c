"""`qae:layers`: the search for layers, and the coding of paths and pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import small_codec
from vcodec.backbones.layering import find_layers, render
from vcodec.checkpoint import new_parts
from vcodec.codec import Codec, Grid, Settings
from vcodec.datasets.moving_digits import MovingDigits, draw_digits
from vcodec.entropy import layers, raster
from vcodec.entropy.context import ContextConfig, ContextNet
from vcodec.entropy.lattice import ReadPort, WritePort
from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables, integer_rows
from vcodec.errors import InputError
from vcodec.training.layered import LayerCoding, draw_pictures, freeze_layers


def clips(count: int) -> list[torch.Tensor]:
    """Moving digits [20,64,64] in 8-bit levels."""
    data = MovingDigits(draw_digits(200, 9), 2)
    return [torch.from_numpy(data.clip(np.random.default_rng((8, n)))).float() for n in range(count)]


def test_layers_are_found_exactly() -> None:
    """Two digits that bounce over black are two layers, and rendering them gives each frame back to the last bit."""
    found = [(clip, find_layers(clip, 3, 64)) for clip in clips(6)]
    exact = [torch.equal(render(layer.pictures, layer.paths), clip) for clip, layer in found]
    assert sum(exact) >= 5
    for _, layer in found:
        assert 1 <= len(layer.pictures) <= 3 and int(layer.sizes.max()) <= 28
        for picture, (rows, columns) in zip(layer.pictures, layer.sizes.tolist()):
            assert picture[rows:].max() == 0 and picture[:, columns:].max() == 0 and picture[0].max() > 0


def test_what_is_no_layer_is_left_alone() -> None:
    """Noise, a single frame, black, and what is larger than a layer may be give none."""
    noise = torch.randint(0, 256, (6, 32, 32), generator=torch.Generator().manual_seed(1)).float()
    black = torch.zeros(5, 16, 16)
    for frames, most in ((noise, 16), (clips(1)[0][:1], 64), (black, 64), (clips(1)[0], 8)):
        found = find_layers(frames, 3, most)
        assert found.pictures.shape[0] == found.paths.shape[0] == found.sizes.shape[0] == 0
        assert found.paths.shape[1] == len(frames)


def test_rendering_cuts_at_the_edges() -> None:
    """A layer that leaves the frame is cut, far outside it is nowhere; where two meet, the brighter is seen."""
    pictures = torch.zeros(2, 8, 8)
    pictures[0, :2, :2], pictures[1, :2, :2] = 5.0, 7.0
    paths = torch.tensor([[[-1, -1], [7, 7], [100, -100]], [[0, 0], [0, 0], [-2, 0]]])
    frames = render(pictures, paths)
    assert frames[0, 0, 0] == 7 and frames[0].sum() == 28
    assert frames[1, 7, 7] == 5 and frames[2].sum() == 0


def port_pair(tables: Tables) -> tuple[SymbolWriter, WritePort]:
    writer = SymbolWriter()
    return writer, WritePort(writer, tables)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-400, 400), st.integers(-9, 9)), min_size=1, max_size=12), st.integers(-30000, 30000)
)
def test_any_path_comes_back(speeds: list[tuple[int, int]], start: int) -> None:
    """Paths of any start and any velocity that 16 bits hold are read as they were written."""
    tables = small_codec("qae:layers").entropy.paths
    path = np.array([start, -start // 60]) + np.cumsum(np.array(speeds), 0)
    path = np.clip(path, -32768, 32767)
    writer, port = port_pair(tables)
    layers._code_path(port, len(path), (64, 64), path)
    reader = SymbolReader(writer.finish())
    assert np.array_equal(layers._code_path(ReadPort(reader, tables), len(path), (64, 64), None), path)
    reader.finish()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([2, 3, 5, 8, 20, 32]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_picture_comes_back(k: int, height: int, width: int, seed: int) -> None:
    """Pictures of any size and K are read as they were written, under tables that leave every level possible."""
    tables = small_codec("qae:layers").entropy.grey(k)
    picture = np.random.default_rng(seed).integers(0, k, (height, width))
    writer, port = port_pair(tables)
    raster.code_picture(port, k, (height, width), picture)
    reader = SymbolReader(writer.finish())
    assert np.array_equal(raster.code_picture(ReadPort(reader, tables), k, (height, width), None), picture)
    reader.finish()
    assert tables.symbols == k and tables.rows.min() > 0


def test_tables_between_two_k_take_the_nearest_levels() -> None:
    """Merging levels keeps their shares; beyond the largest K is refused."""
    rows = np.ones((raster.context_count(16), 16))
    rows[:, 0] = 85.0
    cut = raster.recut(Tables(integer_rows(rows)), 2)
    assert cut.rows[:, 0] / 65536 == pytest.approx(0.92, abs=0.001)
    with pytest.raises(InputError, match="up to 32"):
        small_codec("qae:layers").entropy.grey(33)


@pytest.fixture(scope="module")
def frozen() -> Codec:
    """A codec of untrained networks, its tables counted on a few digits."""
    torch.manual_seed(0)
    parts = new_parts("qae:layers")
    digits = draw_digits(120, 1)
    pictures = draw_pictures(MovingDigits(digits, 1), 0, 120)
    net = ContextNet(ContextConfig(channels=64))
    return freeze_layers("qae:layers", parts, net, pictures, MovingDigits(digits, 2), clips=3)


def test_more_levels_are_a_better_picture_in_more_bytes(frozen: Codec) -> None:
    """Bytes and quality rise with K up to no loss at all; a clip of two digits takes a few dozen bytes."""
    clip = clips(1)[0][None, None] / 255.0
    grid = Grid(20, 64, 64)
    sizes, errors = [], []
    for k in (2, 8, 32, 256):
        payload, _ = frozen.compress(clip, None, Settings(k))
        out, _ = frozen.decompress(payload.data, 0, grid, None, Settings(k))
        sizes.append(len(payload.data))
        errors.append(float((out - clip).square().mean()))
    assert sizes == sorted(set(sizes)) and errors == sorted(set(errors), reverse=True)
    assert errors[-1] < 1e-12 and sizes[0] < 120 and sizes[-1] < 600


def test_what_layers_do_not_explain_is_coded_too(frozen: Codec) -> None:
    """A clip of noise has no layers and comes back as its residual, better with larger K."""
    noise = torch.rand(1, 1, 2, 32, 32, generator=torch.Generator().manual_seed(2))
    errors = []
    for k in (4, 64, 256):
        payload, _ = frozen.compress(noise, None, Settings(k))
        out, _ = frozen.decompress(payload.data, 0, Grid(2, 32, 32), None, Settings(k))
        errors.append(float((out - noise).square().mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3


def test_a_step_of_training_moves_every_network() -> None:
    """The joint loss of layers is finite and reaches restoring, transform, codebook and context networks."""
    torch.manual_seed(3)
    parts = new_parts("qae:layers")
    context = ContextNet(ContextConfig(channels=parts.backbone.latent_channels))
    model = LayerCoding(parts.backbone, parts.quantizer, context)  # type: ignore[arg-type]
    batch = MovingDigits(draw_digits(40, 9), 2).batch(np.random.default_rng(0), 2, 2, 64)
    loss = model(batch, [8, 64], 0.5).loss
    loss.backward()
    assert torch.isfinite(loss)
    for part in (model.backbone.restore, model.backbone, model.codebook, model.context):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
