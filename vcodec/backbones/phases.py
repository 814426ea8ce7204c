"""A picture at every quarter sample, in bytes, compiled for this CPU: what the search compares with.

bytes ─► taps across, 16 bits ─► pairs of rows ─► taps down, two products a lane ─► bytes
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from vcodec.lanes import SIZE
from vcodec.loops import KEPT
from vcodec.products import address, in_pairs, spread

__all__ = ["interpolate"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
_RUN = 2 * SIZE  # samples at a time
_PART = 8  # 16-bit integers of 128 bits: instructions that mix two vectors stay in such parts
_HALF, _SHIFT = 2048, 12  # of two filters over 64 each
_SHORTS, _SUMS = ir.VectorType(ir.IntType(16), _RUN), ir.VectorType(ir.IntType(32), SIZE)
_WIDE = bool(get_host_cpu_features().get("avx512bw"))


def _ordered(builder: Any, one: Any, other: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _joined(builder: Any, left: Any, right: Any) -> Any:
    """Halves of parts, 32 bits, as 16 bits beside each other: they fit."""
    if _WIDE:
        kind = ir.FunctionType(_SHORTS, [_SUMS, _SUMS])
        pack = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.packssdw.512")
        return builder.call(pack, [left, right])
    places = [i + n for f in range(0, SIZE, 4) for n in (0, SIZE) for i in range(f, f + 4)]
    return builder.trunc(_ordered(builder, left, right, places), _SHORTS)


def _down(typing_context: Any, rows: Any, at: Any, pitch: Any, taps: Any, out: Any, to: Any, apart: Any) -> Any:
    """Bytes out[to + apart · i : … + _RUN] of three filters i, taps [3,8] over 64, down eight rows from rows[at].

    Arrays are flat, of int16 but out; pitch: from one row to the next.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def place(i: int, where: Any, kind: Any) -> Any:
            return address(context, builder, signature.args[i], args[i], where, kind)

        lines, where = [], args[1]
        for _ in range(8):
            lines.append(builder.load(place(0, where, _SHORTS), align=2))
            where = builder.add(where, args[2])
        # samples of two rows, in turn: of the first halves of parts, and of the others
        firsts = range(0, _RUN, _PART)
        turns = [[i + n for f in firsts for i in range(f + half, f + half + 4) for n in (0, _RUN)] for half in (0, 4)]
        pairs = [
            [_ordered(builder, one, other, turn) for turn in turns]
            for one, other in zip(lines[::2], lines[1::2], strict=True)
        ]
        goal = args[5]
        for i in range(3):
            halves = [_constant(_SUMS, _HALF)] * 2
            for n, both in enumerate(pairs):
                two = ir.Constant(args[5].type, 8 * i + 2 * n)
                weight = spread(builder, builder.load(place(3, two, ir.IntType(32)), align=2), SIZE)
                weight = builder.bitcast(weight, _SHORTS)
                halves = [builder.add(h, in_pairs(builder, x, weight)) for h, x in zip(halves, both, strict=True)]
            level = _joined(builder, *(builder.ashr(h, _constant(_SUMS, _SHIFT)) for h in halves))
            for sign, bound in ((">", 0), ("<", 255)):
                limit = _constant(_SHORTS, bound)
                level = builder.select(builder.icmp_signed(sign, level, limit), level, limit)
            shown = builder.trunc(level, ir.VectorType(ir.IntType(8), _RUN))
            builder.store(shown, place(4, goal, shown.type), align=1)
            goal = builder.add(goal, args[6])
        return context.get_dummy_value()

    return types.none(rows, at, pitch, taps, out, to, apart), emit


_filtered_down: Any = intrinsic(_down)


@njit(cache=KEPT, nogil=True)
def interpolate(wide: Bytes, taps: Ints, out: Bytes, first: int, stop: int) -> None:
    """wide [H+7,W+7], taps [4,8] over 64 -> out [16,first:stop,W], every quarter sample (4·dy + dx), in 8 bits.

    What taps make of 8-bit samples fits 16 bits; the first of each way are a sample alone.  W is 32 at least.
    """
    width, tall = wide.shape[1] - 7, stop - first
    across, line = np.empty((tall + 7, width), np.int16), np.empty(width + 7, np.int16)
    rows, goal, below = across.reshape(-1), out.reshape(-1), taps[1:].astype(np.int16).reshape(-1)
    plane = out.shape[1] * out.shape[2]
    for right in range(4):
        t0, t1, t2, t3, t4, t5, t6, t7 = taps[right].astype(np.int16)
        for y in range(tall + 7):
            given, made = wide[first + y], across[y]
            if right == 0:
                for x in range(width):
                    made[x] = np.int16(64) * np.int16(given[x + 3])
                continue
            for x in range(width + 7):
                line[x] = given[x]
            for x in range(width):
                made[x] = np.int16(
                    line[x] * t0 + line[x + 1] * t1 + line[x + 2] * t2 + line[x + 3] * t3
                    + line[x + 4] * t4 + line[x + 5] * t5 + line[x + 6] * t6 + line[x + 7] * t7
                )  # fmt: skip
        for y in range(tall):
            shown, here = out[right, first + y], across[y + 3]
            for x in range(width):
                level = np.int16(here[x] + np.int16(32)) >> np.int16(6)
                shown[x] = np.uint8(min(max(level, np.int16(0)), np.int16(255)))
            to = (4 + right) * plane + (first + y) * width
            for run in range(0, width, _RUN):
                x = min(run, width - _RUN)
                _filtered_down(rows, y * width + x, width, below, goal, to + x, 4 * plane)
