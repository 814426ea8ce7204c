"""Law 3: no float stands between the file and the indices."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import constriction
import numpy as np
import pytest
import torch

from tests.models import moving_frames, small_codec, small_trees
from vcodec import tiles
from vcodec.backbones.motion import dense_vectors, neighbours
from vcodec.codec import Codec, Grid, Settings
from vcodec.entropy.abreast import ShortTables, read_abreast
from vcodec.entropy.active import Active
from vcodec.entropy.context import ContextConfig, ContextNet, FrozenContext
from vcodec.entropy.integer import FrozenConv
from vcodec.entropy.keyframes import FrozenKeyContext, KeyContext, key_steps
from vcodec.entropy.lattice import (
    GROWN_FIRST,
    Contexts,
    LaterPort,
    ReadPort,
    WritePort,
    code_choice,
    code_flags,
    code_grain,
    code_maps,
    code_offsets,
    code_thumbnail,
)
from vcodec.entropy.motion import roughness as roughness_of
from vcodec.entropy.observed import ROUGH, activity, first_step, roughness
from vcodec.entropy.steps import Steps, steps_of
from vcodec.entropy.surroundings import COLUMNS, KINDS, Frame, past_of
from vcodec.entropy.tables import TABLE_SUM, SymbolReader, SymbolWriter, Tables, integer_rows
from vcodec.entropy.tiledsteps import TiledStep
from vcodec.entropy.trees import Trees
from vcodec.errors import DamagedError, WeightsError
from vcodec.grain import GRAINS
from vcodec.scale import cascaded
from vcodec.sources import MEMORY, SOURCES
from vcodec.spots import listed, nothing
from vcodec.training.growing import Watched, grown

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = Settings(24)


def parsed(codec: Codec, payload: bytes, frames: int, height: int, width: int) -> list[torch.Tensor]:
    """Indices of each frame, read from a payload."""
    reader, memory, quality, out = SymbolReader(payload), None, None, []
    shape = tuple(codec.backbone.latent_shape(codec.backbone.codable_grid(Grid(1, height, width))))
    for i in range(frames):
        quality = codec.entropy.read_quality(reader, quality)
        k, fine = cascaded(SETTINGS.k, SETTINGS.fine, i, quality)
        _, _, memory = codec.entropy.read(reader, shape, codec.quantizer, memory, k, fine)
        out.append(memory.indices.dense())
    reader.finish()
    return out


@pytest.fixture(params=["parse", "parse-keys"])
def golden(request: pytest.FixtureRequest) -> tuple[Codec, bytes, list[torch.Tensor]]:
    """An untrained qae, without and with contexts for keyframes; a payload stored once, and the indices it held."""
    codec = small_codec("qae", keys=request.param == "parse-keys")
    data = np.load(GOLDEN / f"{request.param}.npz")
    return codec, data["payload"].tobytes(), list(torch.from_numpy(data["index"].astype(np.float32)))


def same(indices: list[torch.Tensor], want: list[torch.Tensor]) -> bool:
    return len(indices) == len(want) and all(torch.equal(a[0], b) for a, b in zip(indices, want))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("onednn", [True, False])
def test_parse_ignores_threads_and_libraries(golden, threads: int, onednn: bool) -> None:
    """The golden payload parses to its indices with 1 and 2 threads, with oneDNN on and off."""
    codec, payload, want = golden
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.mkldnn.flags(enabled=onednn):
            assert same(parsed(codec, payload, 3, 64, 96), want)
    finally:
        torch.set_num_threads(before)


def test_parse_ignores_picture_networks(golden) -> None:
    """The golden payload parses the same with the networks in bf16, and under autocast."""
    codec, payload, want = golden
    kept = deepcopy(codec.backbone.state_dict())
    codec.backbone.to(torch.bfloat16)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert same(parsed(codec, payload, 3, 64, 96), want)
    finally:
        codec.backbone.to(torch.float32).load_state_dict(kept)


def test_tables_ignore_batch_and_precision() -> None:
    """Table numbers are equal for batch 1 and 4, in float32 and float64, in both memory layouts."""
    torch.manual_seed(1)
    net = FrozenContext(ContextNet(ContextConfig(channels=12)).freeze())
    wide = FrozenContext(net.tensors())
    for layer in (wide.past, wide.deep, wide.head_a, wide.known, wide.head_b):
        layer.weights = [w.double() for w in layer.weights]
    act = torch.randint(0, 10, (4, 1, 5, 6))
    past = torch.randint(-9, 10, (4, 12, 10, 12)).float()
    rough = torch.randint(0, 2, (4, 3, 10, 12)).float()
    table, features = net.step_a(act, net.history(past, rough), 32, 1)
    table_b = net.step_b(past, features, 32, 1)
    assert table.min() >= 0 and table.max() < 48 and len(table.unique()) > 4
    for i in range(4):
        one, f = net.step_a(act[i : i + 1], net.history(past[i : i + 1], rough[i : i + 1]), 32, 1)
        assert torch.equal(one[0], table[i])
        assert torch.equal(net.step_b(past[i : i + 1], f, 32, 1)[0], table_b[i])
    for other, x in ((wide, past), (net, past.contiguous(memory_format=torch.channels_last))):
        again, f = other.step_a(act, other.history(x, rough), 32, 1)
        assert torch.equal(again.float(), table)
        assert torch.equal(other.step_b(x, f, 32, 1).float(), table_b)


def numbers_in_places(steps: Steps, act: torch.Tensor, known: torch.Tensor) -> list[torch.Tensor]:
    """Table numbers of each step's squares as a map, 0 elsewhere; known [1,C,h,w]: all indices."""
    active, found = Active.of(act[0, 0].numpy()), []
    color = sum(np.ogrid[: known.shape[2], : known.shape[3]]) % 2
    owners = torch.from_numpy(steps.owners[:, color])
    for step in range(steps.count):
        numbers = active.none(known.shape[1])
        steps.put(step, active, listed(known * (owners < step)), numbers)
        out = torch.zeros(known.shape[1], active.rows.size)
        out[:, active.places] = torch.from_numpy(numbers).float()
        found.append(out.view(known.shape))
        assert not (found[-1] * (owners != step)).any()
    return found


@pytest.mark.parametrize("size", [(2, 2), (36, 44), (4, 300)])
@pytest.mark.parametrize(("share", "width"), [(0.0, 8), (0.3, 8), (1.0, 8), (0.6, 32), (1.0, 32)])
def test_bytes_give_the_tables_of_floats(size: tuple[int, int], share: float, width: int) -> None:
    """8-bit arithmetic gives the very table numbers that float32 gives, weights beyond a byte among them, of blocks of
    some activity; of keyframes in tiles too, of steps whose networks suit them."""
    torch.manual_seed(3)
    h, w = size
    tensors = ContextNet(ContextConfig(channels=96, key_width=width)).freeze()
    for name in ("inter.head_a", "inter.head_b", "inter.known", "key.0.deep", "key.3.head"):
        tensors[f"context.{name}"][::3, ::5] *= 40
    assert tensors["context.inter.head_b"].abs().max() > 254
    net, plain = FrozenContext(tensors), FrozenContext(tensors)
    plain.eight_bit = None
    assert net.keys is not None and plain.keys is not None and net.eight_bit is not None
    plain.keys.eight_bit = [None] * 8
    in_tiles = [isinstance(step, TiledStep) for step in net.keys.eight_bit]
    assert in_tiles == [False, *[tiles.HERE and width == 32] * 7]
    act = torch.randint(1, 10, (1, 1, h // 2, w // 2)) * (torch.rand(1, 1, h // 2, w // 2) < share)
    past, known = torch.randint(-9, 10, (2, 1, 96, h, w)).float()
    rough = torch.randint(0, 2, (1, 3, h, w)).float()
    for before in (past, listed(past), None):
        quick, slow = (numbers_in_places(steps_of(n, before, rough, known.shape, 32), act, known) for n in (net, plain))
        assert all(torch.equal(a, b) for a, b in zip(quick, slow, strict=True))
        assert share == 0 or max(len(table.unique()) for table in quick) > 4
    # which is what networks say, and of the first look all that they say
    table, features = net.step_a(act, net.history(past, rough), 32, 1)
    alive = (act > 0).repeat_interleave(2, 2).repeat_interleave(2, 3)
    mine, active = first_step(96, h, w), Active.of(act[0, 0].numpy())
    for n in (net, plain):
        steps = steps_of(n, past, rough, known.shape, 32)
        a, b = numbers_in_places(steps, act, known)
        assert torch.equal(a, table * mine * alive)
        assert torch.equal(b, net.step_b(known * mine, features, 32, 1) * ~mine * alive)
        steps.put(0, active, nothing(tuple(known.shape)), numbers := active.none(96), every=True)
        assert np.array_equal(numbers, table[0].flatten(1)[:, active.places])


def test_tables_of_keyframes_ignore_batch() -> None:
    """Table numbers of each step are equal for batch 1 and 4, and from the steps before alone what training saw."""
    torch.manual_seed(2)
    net = KeyContext(96, 8)
    for parameter in net.parameters():
        parameter.data.add_(torch.randn(parameter.shape) * 0.02)
    frozen = FrozenKeyContext(net.freeze())
    again = KeyContext(96, 8)
    again.thaw(net.freeze())
    index = torch.randint(-9, 10, (4, 96, 6, 8)).float()
    act = activity(index)
    steps = key_steps(96, 6, 8)
    assert (steps.sum(0) == 1).all()
    level = torch.full((4,), 5.0)
    trained, _ = again(index, level)
    known = torch.zeros_like(index)
    for number, mask in enumerate(steps):
        table = frozen.tables(number, act, known, 32)
        assert table.min() >= 0 and table.max() < 48 and len(table.unique()) > 4
        # a network's output of 1 is four tables; activations are on one grid
        assert (table - trained)[:, mask].abs().max() <= 1.01
        for i in range(4):
            assert torch.equal(frozen.tables(number, act[i : i + 1], known[i : i + 1], 32)[0], table[i])
        known = known + index * mask


def test_what_is_written_later_is_the_same() -> None:
    """A port that keeps symbols writes what one writes that does not, raw values between them too."""
    rng = np.random.default_rng(6)
    tables = Tables(integer_rows(rng.uniform(0.1, 1, (40, 8))))
    parts = [(rng.integers(0, 40, n), rng.integers(0, 8, n)) for n in (5, 0, 700, 1, 30)]
    writers = SymbolWriter(), SymbolWriter()
    later = LaterPort(writers[1], tables)
    for port in (WritePort(writers[0], tables), later):
        for turn in range(2):
            for rows, symbols in parts:
                port.symbols(rows, symbols)
            if turn == 0:
                port.raw(2, np.array([7, 65535]))
    assert writers[1].count < writers[0].count
    later.close()
    later.close()
    first, second = ((w.finish(), w.count, w.expected_bits) for w in writers)
    assert first == second


def test_integer_bound_is_proven() -> None:
    """A layer whose sums could leave 2^24, or with a fraction among its weights, is refused when it is frozen."""
    FrozenConv([torch.full((1, 64, 3, 3), 100.0)], [255], 0)
    with pytest.raises(WeightsError, match="2\\^24"):
        FrozenConv([torch.full((1, 64, 3, 3), 127.0)], [255], 2**22)
    with pytest.raises(WeightsError, match="not an integer"):
        FrozenConv([torch.full((1, 1, 1, 1), 0.5)], [255], 0)


def test_tables_are_integers() -> None:
    """Rows sum to 2^16; what has weight keeps some; rows that do not sum are refused."""
    rows = integer_rows(np.array([[1.0, 1e-9, 0.0], [3.0, 2.0, 1.0]]))
    assert (rows.sum(1) == TABLE_SUM).all() and rows[0].tolist() == [TABLE_SUM - 1, 1, 0]
    with pytest.raises(WeightsError):
        Tables(np.array([[1, 2, 3]]))


def test_symbols_round_trip_in_any_grouping() -> None:
    """Symbols written under mixed tables, with raw values between, read back; spare words are noticed."""
    rng = np.random.default_rng(5)
    tables = Tables(integer_rows(rng.random((9, 32)) ** 4))
    rows = rng.integers(0, 9, 5000)
    symbols = np.array([rng.choice(32, p=tables.rows[r] / TABLE_SUM) for r in rows])
    raw = rng.integers(0, 65536, 7)
    writer = SymbolWriter()
    writer.write(tables, rows[:3000], symbols[:3000])
    writer.write_raw(raw)
    writer.write(tables, rows[3000:], symbols[3000:])
    data = writer.finish()
    assert 8 * len(data) <= 1.001 * writer.expected_bits + 64
    reader = SymbolReader(data)
    assert (reader.read(tables, rows[:3000]) == symbols[:3000]).all()
    assert (reader.read_raw(7) == raw).all()
    assert (reader.read(tables, rows[3000:]) == symbols[3000:]).all()
    reader.finish()
    with pytest.raises(DamagedError):
        SymbolReader(data + b"1234" * 3).finish()


@pytest.mark.parametrize("spread", [0.5, 30.0])
def test_short_alphabets_read_the_same(spread: float) -> None:
    """With short alphabets each payload gives what was written: every letter of every table, rare ones too."""
    rng = np.random.default_rng(6)
    value, centres = np.arange(64), np.array([0, 1, 20, 40, 62, 63])
    tables = Tables(integer_rows(np.exp(-np.abs(value - centres[:, None]) / spread) + 1e-7))
    rows = rng.integers(0, 6, (3, 6 * 64 * 8))
    likely = np.array([[rng.choice(64, p=tables.rows[r] / TABLE_SUM) for r in row] for row in rows])
    rows[0] = np.arange(6).repeat(64 * 8)  # all letters
    likely[0] = np.tile(value, 6 * 8)
    likely[1, 100] = (centres[rows[1, 100]] + 32) % 64  # one rare letter
    likely[2] = centres[rows[2]]  # none
    payloads = []
    for row, symbols in zip(rows, likely):
        writer = SymbolWriter()
        writer.write(tables, row, symbols)
        writer.write(tables, row[:50], symbols[:50])
        payloads.append(writer.finish())
    short = ShortTables(tables)
    readers = [SymbolReader(data) for data in payloads]
    assert (read_abreast(readers, short, rows) == likely).all()
    assert (read_abreast(readers, short, rows[:, :50]) == likely[:, :50]).all()
    for reader in readers:
        reader.finish()
    assert (short.short.letters < 64).any() == (spread < 1)
    with pytest.raises(DamagedError):
        read_abreast([SymbolReader(b"\xff" * 8)], short, rows[:1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 3), (18, 22), (33, 40)])
def test_maps_round_trip(shape: tuple[int, int]) -> None:
    """Motion, activity and choices of any size, escapes among them, read back as they were written."""
    rng = np.random.default_rng(sum(shape))
    rows = GROWN_FIRST + 3 * len(KINDS)
    tables, trees = Tables(integer_rows(rng.random((rows, 32)) + 0.01)), Trees(small_trees(), rows)
    h, w = shape
    maps = np.stack([rng.integers(-255, 256, shape), rng.integers(-3, 4, shape), rng.integers(0, 10, shape)])
    before = np.stack([rng.integers(-255, 256, shape), rng.integers(-3, 4, shape), rng.integers(0, 2, shape)])
    contexts = Contexts(trees, Frame.of(24, 6), past_of(before, rng.integers(0, 10, shape)))
    source = rng.integers(0, SOURCES, (1, *shape))
    maps[:2] *= source != MEMORY
    coarse = np.concatenate([maps[:2] // 100, source])
    near = neighbours(torch.from_numpy(coarse)[None])[0].numpy()
    apart = np.abs(near[1:] - near[:1]).any((0, 1))
    choice = rng.integers(0, 4, (2 * h, 2 * w)) * apart
    thumb = np.stack([rng.integers(0, 32, shape) for _ in range(3)] + [maps[2]])
    moving = ("dy", "dx", "activity")
    writer = SymbolWriter()
    port = WritePort(writer, tables)
    code_flags(port, 5, 11)
    code_offsets(port, np.array([4, 0, 7]))
    grains = [code_grain(port, before, grain) for before, grain in pairwise((None, *GRAINS, 0))]
    code_thumbnail(port, trees, Frame.of(24, 0), shape, thumb)
    code_maps(port, contexts, ("source",), shape, source, source)
    code_maps(port, contexts, moving, shape, maps, source)
    code_choice(port, trees, contexts.frame, coarse, maps[2], choice)
    back = ReadPort(SymbolReader(writer.finish()), tables)
    assert code_flags(back, 5, None) == 11
    assert code_offsets(back, None).tolist() == [4, 0, 7]
    assert [code_grain(back, before, None) for before in (None, *GRAINS)] == grains == [*GRAINS, 0]
    assert (code_thumbnail(back, trees, Frame.of(24, 0), shape, None) == thumb).all()
    assert (code_maps(back, contexts, ("source",), shape, None, source) == source).all()
    assert (code_maps(back, contexts, moving, shape, None, source) == maps).all()
    assert (code_choice(back, trees, contexts.frame, coarse, maps[2], None) == choice).all()
    back.reader.finish()


def test_trees_ask_what_their_nodes_say() -> None:
    """A tree's row is that of the leaf its questions lead to; nodes that lead nowhere, or round, are refused."""
    rows = GROWN_FIRST + 3 * len(KINDS)
    nodes = small_trees()
    seen = np.zeros((3, COLUMNS), np.int32)
    seen[:, 14], seen[:, 1] = (0, 1, -5), (8, 8, 7)
    for i, kind in enumerate(KINDS):
        beyond = GROWN_FIRST + len(KINDS) + 2 * i
        assert Trees(nodes, rows).rows(kind, seen).tolist() == [beyond + 1, GROWN_FIRST + i, beyond]
    for at, node in (
        (0, (COLUMNS, 0, 9)),
        (0, (-2, 0, 9)),
        (9, (1, 0, 9)),
        (9, (1, 0, len(nodes) - 1)),
        (30, (-1, rows, 0)),
    ):
        bad = nodes.copy()
        bad[at] = node
        with pytest.raises(WeightsError, match="trees"):
            Trees(bad, rows)
    with pytest.raises(WeightsError, match="trees"):
        Trees(nodes[: len(KINDS) - 1], rows)


def test_trees_grow_where_a_question_saves_bits() -> None:
    """What two columns decide takes no bits once a tree has grown; where nothing decides, nothing is asked."""
    rng = np.random.default_rng(3)
    seen = rng.integers(-40, 40, (6000, COLUMNS))
    said = 3 * (seen[:, 5] > 7) + (seen[:, 2] > -3)
    watched = Watched()
    for half in (slice(0, 2500), slice(2500, None)):
        watched.add("dx", seen[half], said[half] + 10)
        watched.add("choice", seen[half], rng.integers(0, 4, 6000)[half])
    fixed = np.ones((GROWN_FIRST, 32))
    trees, tables = grown(watched, fixed, np.ones((len(KINDS), 32)))
    bits = tables.bits[trees.rows("dx", seen.astype(np.int32)), said + 10]
    assert bits.mean() < 0.05
    for kind in ("choice", "dy"):
        assert len(np.unique(trees.rows(kind, seen.astype(np.int32)))) == 1
    assert abs(tables.bits[trees.rows("choice", seen[:1].astype(np.int32))[0], :4].mean() - 2) < 0.02


def write_golden(name: str) -> None:
    """Make a golden payload (once, when what it is of was fixed)."""
    codec = small_codec("qae", keys=name == "parse-keys")
    frames = moving_frames(codec, 3, 64, 96)
    payload, _ = codec.compress(codec.to_clip(frames), None, SETTINGS)
    index = torch.cat(parsed(codec, payload.data, 3, 64, 96)).to(torch.int16)
    np.savez_compressed(GOLDEN / f"{name}.npz", payload=np.frombuffer(payload.data, np.uint8), index=index.numpy())


def test_a_table_for_each_symbol_codes_as_a_run_of_one_table() -> None:
    """Few symbols of many tables and many of few give the bytes of the coder called table by table."""
    rng = np.random.default_rng(5)
    weights = rng.integers(0, 3, (300, 32)) * rng.random((300, 32))
    weights[:, 15] += 1
    tables = Tables(integer_rows(weights))
    for count, used in ((40, 300), (2000, 5)):
        rows = rng.integers(0, used, count)
        symbols = np.array([rng.choice(32, p=tables.rows[row] / TABLE_SUM) for row in rows])
        order = np.argsort(rows, kind="stable")
        plain = constriction.stream.queue.RangeEncoder()
        for row in np.unique(rows):
            plain.encode(symbols[rows == row].astype(np.int32), tables.model(row))
        writer = SymbolWriter()
        writer.write(tables, rows, symbols)
        data = writer.finish()
        assert data == plain.get_compressed().astype("<u4").tobytes()
        assert np.array_equal(SymbolReader(data).read(tables, rows), symbols)
        assert writer.expected_bits == pytest.approx(tables.bits[rows[order], symbols[order]].sum())


@pytest.mark.parametrize("steered", [0.0, 0.93])
def test_the_compiled_writer_writes_as_constriction_does(steered: float) -> None:
    """Word for word, wherever it ends; steered: how often a value is chosen for which a carry stays possible."""
    rng = np.random.default_rng(11)
    weights = rng.random((12, 20)) ** rng.integers(1, 60, (12, 1))
    tables = Tables(integer_rows(weights + 1e-9))
    held = 0
    for _ in range(40):
        writer, plain = SymbolWriter(), constriction.stream.queue.RangeEncoder()
        for turn in range(40):
            if turn % 8 == 0 and rng.random() > steered:
                rows, symbols = rng.integers(0, 12, 300), rng.choice([0, 19, 7], 300)
                writer.write(tables, rows, symbols)
                for row in np.unique(rows):
                    plain.encode(symbols[rows == row].astype(np.int32), tables.model(int(row)))
            lower, width = int(writer._state[0]), int(writer._state[1])
            ends_at = (2**64 - lower) // (width >> 24 << 8) if lower + width >= 2**64 else 65535
            value = ends_at if rng.random() < steered else int(rng.integers(0, 65536))
            writer.write_raw(np.array([min(value, 65535)]))
            plain.encode(np.array([min(value, 65535)], np.int32), constriction.stream.model.Uniform(1 << 16))
            held = max(held, int(writer._state[2]))
            assert writer.finish() == plain.get_compressed().astype("<u4").tobytes()
    assert held > 5 or not steered
    with pytest.raises(ValueError, match="no table"):
        SymbolWriter().write(tables, np.zeros(1, np.int64), np.full(1, 20))


@pytest.mark.parametrize("size", [2, 32, 200])
def test_the_compiled_reader_reads_as_constriction_does(size: int) -> None:
    """Tables of any shape, near certain ones and ones with holes, read alike up to the last word and beyond it."""
    rng = np.random.default_rng(size)
    weights = rng.random((50, size)) ** rng.integers(1, 60, (50, 1))
    weights[::3] *= rng.integers(0, 2, weights[::3].shape)
    weights[:, 0] += 1e-9
    tables = Tables(integer_rows(weights))
    rows = rng.integers(0, 50, 3000)
    symbols = np.array([rng.choice(size, p=tables.rows[r] / TABLE_SUM) for r in rows])
    writer = SymbolWriter()
    for part in range(0, 3000, 500):
        writer.write(tables, rows[part : part + 500], symbols[part : part + 500])
        writer.write_raw(symbols[part : part + 3] * 257)
    for data in (writer.finish(), writer.finish()[:400], bytes(rng.integers(0, 255, 800, dtype=np.uint8)), b""):
        compiled, plain, handed = SymbolReader(data), SymbolReader(data), SymbolReader(data)
        plain.take([tables.model(0)], [0])  # from here on constriction's
        for part in range(0, 3000, 500):
            if part == 1500:
                handed.take([tables.model(0)], [0])
            found = []
            for reader in (compiled, plain, handed):
                try:
                    found.append((*reader.read(tables, rows[part : part + 500]), *reader.read_raw(3)))
                except DamagedError:
                    found.append(())
            assert found[0] == found[1] == found[2]
            if not found[0]:
                break
            assert compiled._coder is None and plain._coder is not None
        else:
            ends = []
            for reader in (compiled, plain, handed):
                try:
                    reader.finish()
                    ends.append(True)
                except DamagedError:
                    ends.append(False)
            assert len(set(ends)) == 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 5)])
def test_roughness_in_loops(shape: tuple[int, int]) -> None:
    """The compiled maps of rough motion are those that the networks were trained on."""
    rng = np.random.default_rng(len(shape) + shape[0])
    coarse = rng.integers(-12, 13, (3, *shape))
    choice = rng.integers(0, 4, (2 * shape[0], 2 * shape[1]))
    out = np.empty((len(ROUGH), *choice.shape), np.float32)
    roughness_of(coarse, choice, np.array(ROUGH), out)
    vectors = dense_vectors(torch.from_numpy(coarse)[None], torch.from_numpy(choice)[None])
    assert np.array_equal(out, roughness(vectors[:, :2])[0].numpy())
