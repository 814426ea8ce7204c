"""The entropy model of `qae`: one frame's side information and latent indices, to and from the coder.

    side maps ─► activity ─► step A ─► step B            (lattice.py, trees.py)  (context.py)
    of a keyframe:        ─► eight steps                                         (keyframes.py)

Writing also chooses: each index may fall to the level nearer zero, or to zero, where that costs less in
distortion + λ·bits under the very table it is coded with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vcodec.entropy import calibration, choosing, motion
from vcodec.entropy.active import EVERY, Active
from vcodec.entropy.choosing import Candidates
from vcodec.entropy.context import FrozenContext
from vcodec.entropy.keyframes import KEY_WIDTH, KeyContext
from vcodec.entropy.lattice import (
    GROWN_FIRST,
    Contexts,
    LaterPort,
    Port,
    ReadPort,
    WritePort,
    code_choice,
    code_flags,
    code_grain,
    code_maps,
    code_offsets,
    code_quality,
    code_thumbnail,
)
from vcodec.entropy.learning import CodedStep, Learned, Learning
from vcodec.entropy.listing import joined, kept
from vcodec.entropy.observed import ACTIVITY_LEVELS, ROUGH, TABLES
from vcodec.entropy.steps import KeySteps, steps_of
from vcodec.entropy.surroundings import Frame, past_of
from vcodec.entropy.tables import SymbolReader, SymbolWriter, Tables
from vcodec.entropy.trees import Trees, stumps
from vcodec.errors import DamagedError, WeightsError
from vcodec.grain import RANGE, rounded
from vcodec.scale import LAMBDA, Quality, levels_of, step_at
from vcodec.spots import Spots, nothing

__all__ = ["INDEX_SYMBOLS", "FrameEntropy", "FrameState", "Plan", "index_class"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
INDEX_SYMBOLS = 32
ESCAPE = 31
REACH = 15  # indices within ±15 have symbols of their own
_RAW_ZERO = 1 << 15
CLASSES = 3
# the last frame's weights; whether sources are sent; memory's weights; whether chroma is 128 everywhere
_LIGHT, _KEPT, _KEPT_LIGHT, _GREY = 1, 2, 4, 8
_PRICED = 1.5  # times λ: what a bit is worth in choosing indices, by measurement
BLOCK_BITS = 4.0  # what saying that a 16×16 block is not empty has to pay back, by measurement


def index_class(k: int) -> int:
    """Which of the three sets of tables a codebook uses: K = 2 has no sign, K = 3 and 4 hardly any tail."""
    return 0 if k == 2 else 1 if k <= 4 else 2


class FrameState(NamedTuple):
    """What the next frame's contexts read."""

    number: int  # of the frame in its GOP
    indices: Tensor | Spots  # [1,C,h,w] float, integer-valued
    activity: Ints  # [1,h/2,w/2]
    motion: Ints  # [3,h/2,w/2]: dy, dx, source
    flags: int = 0  # _LIGHT, _KEPT, _KEPT_LIGHT, _GREY
    grain: int | None = None  # vectors were multiples of 1 << grain quarter samples
    costs: calibration.Costs | None = None  # None: no frame's contexts were coded yet
    learned: Learned | None = None


class Quantizer(Protocol):
    """What this model asks of a quantizer (see quantizers/conditional.py)."""

    def step(self, level: Tensor, kind: Tensor, fine: int = 0) -> Tensor: ...
    def scaled(self, values: Tensor, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0) -> Tensor: ...
    def levels_of(self, index: Spots, level: Tensor, kind: Tensor, phase: Tensor, fine: int = 0) -> Spots: ...
    def bounds(self, k: int) -> tuple[int, int]: ...


@dataclass(frozen=True)
class _Wish:
    """What the encoder would like to send.

    scaled [C,h,w]: latents in steps; price [C] / (weight [C] · weight [h,w]): λ in squared steps a bit.
    """

    scaled: Floats
    low: int
    high: int
    price: Floats
    weight: tuple[Floats, Floats]


class Plan(NamedTuple):
    """A frame as it will be written: what the reader will have, and what writing it needs."""

    levels: Spots  # [1,C,h,w]
    side: dict[str, Tensor]
    after: FrameState
    before: FrameState | None
    chosen: _Chosen
    k: int
    device: torch.device

    @property
    def hat(self) -> Tensor:
        """The levels as a map [1,C,1,h,w]."""
        return self.levels.dense(self.device)[:, :, None]


class _Place(NamedTuple):
    level: Tensor
    kind: Tensor
    phase: Tensor
    number: int


class FrameEntropy:
    """Frozen entropy model; the same methods write and read."""

    def __init__(
        self, net: FrozenContext, index_tables: Tables, side_tables: Tables, trees: Trees | None = None
    ) -> None:
        """trees: which of side_tables a symbol is coded with; None: a table for each kind."""
        self.net, self.index_tables, self.side_tables = net, index_tables, side_tables
        self.trees = Trees(stumps(GROWN_FIRST), len(side_tables.rows)) if trees is None else trees
        bits = np.minimum(index_tables.bits, 64.0).astype(np.float32)
        self._bits = bits.reshape(CLASSES, TABLES, INDEX_SYMBOLS)
        held = index_tables.rows.reshape(CLASSES, TABLES, INDEX_SYMBOLS)[:, 1:] > 0
        if (held != held[:, :1]).any():
            raise WeightsError("probability tables are damaged: those of one codebook hold different symbols")
        self._learning = Learning(index_tables, side_tables)
        self.device = torch.device("cpu")

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> FrameEntropy:
        """From a checkpoint's integer tensors; raises WeightsError when they are not sound."""
        wide = {n: t.to(torch.int32) for n, t in tensors.items()}
        index, side = (Tables(wide[f"tables.{n}"].numpy().astype(np.int64)) for n in ("index", "side"))
        return cls(FrozenContext(wide), index, side, Trees(wide["trees"].numpy(), len(side.rows)))

    def tensors(self) -> dict[str, Tensor]:
        """The integers it is made of, for a checkpoint."""
        out = self.net.tensors() | {"trees": torch.from_numpy(self.trees.nodes)}
        out |= {
            f"tables.{n}": torch.from_numpy(t.rows)
            for n, t in (("index", self.index_tables), ("side", self.side_tables))
        }
        return {n: t.to(torch.int16 if int(t.abs().max()) < 2**15 else torch.int32) for n, t in out.items()}

    @staticmethod
    def macs(channels: int, shape: Any) -> dict[str, float]:
        """Multiply-accumulates of a chunk that begins with a keyframe; an encoder runs most of it twice."""
        place = shape.height * shape.width
        inter = FrozenContext.macs(channels)
        once = float(place * (KeyContext.macs(channels, KEY_WIDTH) + (shape.steps - 1) * inter))
        return {"encode": 2 * once, "decode": once}

    def to(self, device: torch.device) -> None:
        """Where the context networks run."""
        self.net.to(device)
        self.device = device

    # ------------------------------------------------------------------ one frame

    def choose(
        self,
        values: Tensor,
        side: dict[str, Tensor],
        weight: tuple[Tensor, Tensor] | None,
        quantizer: Quantizer,
        state: FrameState | None,
        k: int,
        fine: int,
    ) -> Plan:
        """Decide what is sent of a frame's latent [1,C,1,h,w] and its side information.

        weight: what squared error weighs, of channels [1,C,1,1] times of places [1,1,h,w], or of all of them [1,1,1,1].
        """
        at = self._place(quantizer, state, k)
        step = quantizer.step(at.level, at.kind, fine)
        price = _PRICED * LAMBDA * (step_at(k, fine) / step).square()
        scaled = quantizer.scaled(values[:, :, 0], at.level, at.kind, at.phase, fine)
        channels, places = (torch.ones_like(price), torch.ones(1, 1, 1, 1)) if weight is None else weight
        where = _array(places.expand(1, 1, *scaled.shape[2:]))[0]
        weights = _array(channels)[:, 0, 0], where
        wish = _Wish(_array(scaled), *quantizer.bounds(k), _array(price)[:, 0, 0], weights)
        chosen = self._choose(wish, state, self._rough(side, scaled.shape), k)
        act = chosen.activity[None]
        coarse = (
            side["coarse"][0].cpu().numpy().astype(np.int64)
            if "coarse" in side
            else np.zeros((3, *act.shape[1:]), np.int64)
        )
        levels = quantizer.levels_of(chosen.indices, at.level, at.kind, at.phase, fine)
        costs = self._costs(state, chosen.coded, scaled.shape[1:], k)
        after = FrameState(at.number, chosen.indices, act, coarse, _flags(side), _grain(side), costs, Learned())
        return Plan(levels, side, after, state, chosen, k, self.device)

    def emit_quality(self, writer: SymbolWriter, before: Quality | None, quality: Quality) -> None:
        """Write what quality the next frame has; before: the last one's, None in a keyframe."""
        code_quality(WritePort(writer, self.side_tables), before, quality)

    def read_quality(self, reader: SymbolReader, before: Quality | None) -> Quality:
        """Read what quality the next frame has."""
        return code_quality(ReadPort(reader, self.side_tables), before, None)

    def emit(self, writer: SymbolWriter, plan: Plan) -> None:
        """Write what was decided."""
        act, before, learned = plan.after.activity[0], plan.before, plan.after.learned
        tables = self._learning.tables(None if before is None else before.learned)
        port = LaterPort(writer, tables.side.tables)
        self._side(port, (act.shape[0], act.shape[1]), plan.side, act, before, plan.k)
        port.close()
        for step, far in zip(plan.chosen.coded, plan.chosen.far, strict=True):
            writer.write(tables.indices.tables, step.coded_with, step.symbols)
            writer.write_raw(far + _RAW_ZERO)
        if before is not None and learned is not None:
            self._learning.teach(learned, tables, plan.chosen.coded, port.coded)

    def read(
        self,
        reader: SymbolReader,
        shape: tuple[int, int, int, int],
        quantizer: Quantizer,
        state: FrameState | None,
        k: int,
        fine: int,
    ) -> tuple[Spots, dict[str, Tensor], FrameState]:
        """Read a frame of latent shape (C, 1, h, w): its levels [1,C,h,w], side information, and what follows it."""
        c, _, h, w = shape
        tables = self._learning.tables(None if state is None else state.learned)
        port = ReadPort(reader, tables.side.tables)
        side, act, motion = self._side(port, (h // 2, w // 2), None, None, state, k)
        rough = self._rough(side, (1, c, h, w))
        index, read = self._read_indices(reader, tables.indices.tables, (c, h, w), act, state, rough, k)
        at = self._place(quantizer, state, k)
        inside = index._replace(values=index.values.clip(*quantizer.bounds(k)))
        hat = quantizer.levels_of(inside, at.level, at.kind, at.phase, fine)
        learned, costs = Learned(), self._costs(state, read, (c, h, w), k)
        if state is not None:
            self._learning.teach(learned, tables, read, port.coded)
        return hat, side, FrameState(at.number, index, act[None], motion, _flags(side), _grain(side), costs, learned)

    def opening(self, shape: tuple[int, int, int, int]) -> FrameState:
        """What the first frame's contexts read where a GOP starts from a remembered picture; shape (C, 1, h, w)."""
        c, _, h, w = shape
        none = np.zeros((3, h // 2, w // 2), np.int64)
        return FrameState(-1, torch.zeros(1, c, h, w, device=self.device), none[:1], none)

    def _place(self, quantizer: Quantizer, state: FrameState | None, k: int) -> _Place:
        number = 0 if state is None else state.number + 1

        def one(value: int) -> Tensor:
            return torch.tensor([value], device=self.device)

        return _Place(levels_of([k], self.device), one(0 if state is None else 1), one(number), number)

    # ------------------------------------------------------------------ side information

    def _rough(self, side: dict[str, Tensor], shape: Sequence[int]) -> Tensor:
        """What the context networks see of a frame's motion [1,3,h,w]."""
        if "coarse" not in side:
            return torch.zeros(1, 3, shape[2], shape[3], device=self.device)
        coarse, choice = (np.ascontiguousarray(side[n][0].cpu().numpy(), np.int64) for n in ("coarse", "choice"))
        out = np.empty((len(ROUGH), *choice.shape), np.float32)
        motion.roughness(coarse, choice, np.array(ROUGH), out)
        return _tensor(out, self.device)

    def _side(
        self,
        port: Port,
        shape: tuple[int, int],
        side: dict[str, Tensor] | None,
        act: Ints | None,
        state: FrameState | None,
        k: int,
    ) -> tuple[dict[str, Tensor], Ints, Ints]:
        def numpy(name: str) -> Ints | None:
            return None if side is None else np.ascontiguousarray(side[name][0].cpu().numpy(), np.int64)

        def tensor(a: Ints) -> Tensor:
            return torch.from_numpy(a)[None].to(self.device)

        def with_act(maps: Ints | None) -> Ints | None:
            return None if maps is None or act is None else np.concatenate([maps, act[None]])

        if state is None:
            flags = code_flags(port, 0, None if side is None else _flags(side))
            offsets = code_offsets(port, numpy("offsets"))
            maps = code_thumbnail(port, self.trees, Frame.of(k, 0), shape, with_act(numpy("thumbnail")))
            still = np.zeros((3, *shape), np.int64)
            sent = {"thumbnail": tensor(maps[:3].clip(0, 31)), "offsets": tensor(offsets), "grey": _grey(flags)}
            return sent, _valid_activity(maps[3]), still
        vectors, weights = numpy("coarse"), numpy("weights")
        flags = code_flags(port, state.flags, None if side is None else _flags(side))
        light = [
            _code_light(port, None if weights is None else weights[i]) if flags & bit else _NEUTRAL for i, bit in _LIT
        ]
        grain = code_grain(port, state.grain, None if side is None else _grain(side))
        frame = Frame.of(k, state.number + 1, grain)
        past = np.concatenate([rounded(state.motion[:2], grain), state.motion[2:]])
        contexts = Contexts(self.trees, frame, past_of(past, state.activity[0]))
        kept = np.zeros((1, *shape), np.int64)
        if flags & _KEPT:
            kept = code_maps(port, contexts, ("source",), shape, None if vectors is None else vectors[2:], kept)
        if vectors is not None and (vectors[:2] & ((1 << grain) - 1)).any():
            raise ValueError(f"vectors are no multiples of {1 << grain}")
        moved = with_act(None if vectors is None else vectors[:2] >> grain)
        maps = code_maps(port, contexts, ("dy", "dx", "activity"), shape, moved, kept)
        grains, act_out = maps[:2].clip(-(RANGE >> grain), RANGE >> grain), _valid_activity(maps[2])
        choice = code_choice(port, self.trees, frame, np.concatenate([grains, kept]), act_out, numpy("choice"))
        coarse = np.concatenate([grains << grain, kept])
        sent = {"coarse": tensor(coarse), "choice": tensor(choice), "weights": tensor(np.stack(light))}
        sent |= {"grey": _grey(flags), "grain": torch.tensor([grain])}
        return sent, act_out, coarse

    # ------------------------------------------------------------------ indices

    def _choose(self, wish: _Wish, state: FrameState | None, rough: Tensor, k: int) -> _Chosen:
        """Indices worth sending, with the activity and the tables they are sent under."""
        channels, h, w = wish.scaled.shape
        steps = steps_of(self.net, None if state is None else state.indices, rough, (1, channels, h, w), k)
        costs = None if state is None else state.costs
        shifts = np.zeros(channels, np.int64) if costs is None else calibration.believed(costs)
        rule = choosing.Rule(wish.low, wish.high, self._bits[index_class(k)], shifts)

        def through(active: Active, some: Candidates) -> tuple[Bytes, Floats, Spots]:
            """Choose step by step: numbers of tables, indices, and these as a list."""
            numbers, indices = active.none(channels), some.nothing()
            known = nothing((1, channels, h, w))
            for step in range(steps.count):
                steps.put(step, active, known, numbers)
                some.choose(rule, numbers, steps.owners, step, indices)
                known = Spots(*some.sent(indices), known.shape)
            return numbers, indices, known

        # a first look: indices fall to zero, blocks empty, and with them activity falls
        guess = np.empty((h // 2, w // 2), np.int64)
        counts = choosing.first_activity(wish.scaled, wish.low, wish.high, guess)
        first = Active.of(guess)
        some = Candidates.of(wish.scaled, counts, wish.price, wish.weight, first)
        if isinstance(steps, KeySteps):
            numbers, indices, _ = through(first, some)
        else:  # at the tables of step A alone
            numbers, indices = first.none(channels), some.nothing()
            steps.put(0, first, nothing((1, channels, h, w)), numbers, every=True)
            some.choose(rule, numbers, steps.owners, EVERY, indices)
        # then for good, under the tables of what activity has become
        active = Active.of(some.worthwhile(rule, numbers, indices, BLOCK_BITS, first))
        numbers, _, known = through(active, some.within(first, active))
        coded, far = [], []
        for step in range(steps.count):
            rows, places = active.coded(numbers, steps.owners, step, index_class(k) * TABLES)
            symbols, beyond = choosing.symbols_of(places, known.places, known.values, REACH, ESCAPE)
            shifted = calibration.shifted(rows, places, h * w, index_class(k) * TABLES, costs)
            coded.append(CodedStep(rows, shifted, places, symbols))
            far.append(beyond)
        return _Chosen(known, active.activity, coded, far)

    def _read_indices(
        self,
        reader: SymbolReader,
        tables: Tables,
        shape: tuple[int, int, int],
        act: Ints,
        state: FrameState | None,
        rough: Tensor,
        k: int,
    ) -> tuple[Spots, list[CodedStep]]:
        steps = steps_of(self.net, None if state is None else state.indices, rough, (1, *shape), k)
        first, costs = index_class(k) * TABLES, None if state is None else state.costs
        active, known, read = Active.of(act), nothing((1, *shape)), list[CodedStep]()
        numbers = active.none(shape[0])
        for step in range(steps.count):
            steps.put(step, active, known, numbers)
            rows, coded = active.coded(numbers, steps.owners, step, first)
            shifted = calibration.shifted(rows, coded, shape[1] * shape[2], first, costs)
            symbols = reader.read(tables, shifted)
            places, values, far = kept(symbols, coded, REACH)
            if far:
                values[values > REACH] = reader.read_raw(far) - _RAW_ZERO
            known = joined([known, Spots(places, values, known.shape)])
            read.append(CodedStep(rows, shifted, coded, symbols))
        return known, read

    def _costs(
        self, state: FrameState | None, coded: Sequence[CodedStep], shape: Sequence[int], k: int
    ) -> calibration.Costs | None:
        """What the frame after this one knows of shifts, of latents [C,h,w]."""
        return None if state is None else self._learning.costs(state.costs, coded, shape, index_class(k) * TABLES)


def _tensor(a: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(a)[None].to(device)


_LIT = ((0, _LIGHT), (1, _KEPT_LIGHT))
_NEUTRAL = np.zeros(4, np.int64)


def _flags(side: dict[str, Tensor]) -> int:
    """What a frame's side information makes use of."""
    grey = _GREY * int(bool(side["grey"].any()))
    if "weights" not in side:
        return grey
    light, kept_light = side["weights"][0].any(1).tolist()
    kept = bool(side["coarse"][:, 2].any())
    return grey | _LIGHT * int(light) | _KEPT * int(kept) | _KEPT_LIGHT * int(kept_light)


def _grain(side: dict[str, Tensor]) -> int | None:
    return int(side["grain"][0]) if "grain" in side else None


def _grey(flags: int) -> Tensor:
    return torch.tensor([flags & _GREY > 0])


def _code_light(port: Port, weights: Ints | None) -> Ints:
    """Four weights within ±127."""
    sent = None if weights is None else weights + 128
    pairs = port.raw(2, None if sent is None else sent[::2] * 256 + sent[1::2])
    return (np.stack([pairs >> 8, pairs & 255], 1).reshape(-1) - 128).clip(-127, 127)


class _Chosen(NamedTuple):
    """indices [1,C,h,w], activity [h/2,w/2], and what is coded in each step; far: indices beyond
    those that have symbols, of each step."""

    indices: Spots
    activity: Ints
    coded: list[CodedStep]
    far: list[Ints]


def _array(maps: Tensor) -> npt.NDArray[np.float32]:
    """Maps [1,C,h,w] as the compiled loops want them: [C,h,w]."""
    return maps[0].contiguous().float().cpu().numpy()


def _valid_activity(act: Ints) -> Ints:
    if act.max(initial=0) >= ACTIVITY_LEVELS:
        raise DamagedError("a payload holds an activity that does not exist")
    return act
