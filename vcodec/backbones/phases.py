"""A picture at every quarter sample, in bytes, compiled for this CPU: what the search compares with.

bytes ─► taps across, 16 bits ─► pairs of rows ─► taps down, two products a lane ─► bytes
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vcodec.loops import KEPT
from vcodec.products import everywhere, in_pairs

__all__ = ["interpolate"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
_RUN = 16  # samples at a time
_HALF, _SHIFT = 2048, 12  # of two filters over 64 each


def _down(typing_context: Any, rows: Any, at: Any, pitch: Any, taps: Any, out: Any, to: Any, apart: Any) -> Any:
    """Bytes out[to + apart · i : … + 16] of three filters i, taps [3,8] over 64, down eight rows from rows[at].

    Arrays are flat, of int16 but out; pitch: from one row to the next.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, short, integer = ir.IntType(8), ir.IntType(16), ir.IntType(32)
        shorts, sums = ir.VectorType(short, _RUN), ir.VectorType(integer, _RUN // 2)

        def place(i: int, where: Any, kind: Any) -> Any:
            data = context.make_array(signature.args[i])(context, builder, args[i]).data
            return builder.bitcast(builder.gep(data, [where]), kind.as_pointer())

        def constant(kind: Any, value: int) -> Any:
            return ir.Constant(kind, [value] * kind.count)

        lines, where = [], args[1]
        for _ in range(8):
            lines.append(builder.load(place(0, where, shorts), align=2))
            where = builder.add(where, args[2])
        # samples of two rows, in turn: of the first and third four, and of the others
        turns = [[i + n for s in (f, f + 8) for i in range(s, s + 4) for n in (0, _RUN)] for f in (0, 4)]
        orders = [ir.Constant(ir.VectorType(integer, _RUN), turn) for turn in turns]
        pairs = [
            [builder.shuffle_vector(one, other, order) for order in orders]
            for one, other in zip(lines[::2], lines[1::2], strict=True)
        ]
        goal = args[5]
        for i in range(3):
            halves = [constant(sums, _HALF)] * 2
            for n, both in enumerate(pairs):
                two = builder.load(place(3, ir.Constant(args[5].type, 8 * i + 2 * n), integer), align=2)
                weights = everywhere(builder, two)
                halves = [builder.add(h, in_pairs(builder, x, weights)) for h, x in zip(halves, both, strict=True)]
            halves = [builder.ashr(h, constant(sums, _SHIFT)) for h in halves]
            order = ir.Constant(ir.VectorType(integer, _RUN), [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])
            level = builder.trunc(builder.shuffle_vector(*halves, order), shorts)  # they fit
            for sign, bound in ((">", 0), ("<", 255)):
                limit = constant(shorts, bound)
                level = builder.select(builder.icmp_signed(sign, level, limit), level, limit)
            shown = builder.trunc(level, ir.VectorType(byte, _RUN))
            builder.store(shown, place(4, goal, shown.type), align=1)
            goal = builder.add(goal, args[6])
        return context.get_dummy_value()

    return types.none(rows, at, pitch, taps, out, to, apart), emit


_filtered_down: Any = intrinsic(_down)


@njit(cache=KEPT, nogil=True)
def interpolate(wide: Bytes, taps: Ints, out: Bytes, first: int, stop: int) -> None:
    """wide [H+7,W+7], taps [4,8] over 64 -> out [16,first:stop,W], every quarter sample (4·dy + dx), in 8 bits.

    What taps make of 8-bit samples fits 16 bits; the first of each way are a sample alone.  W is 16 at least.
    """
    width, tall = wide.shape[1] - 7, stop - first
    across = np.empty((tall + 7, width), np.int16)
    rows, goal, below = across.reshape(-1), out.reshape(-1), taps[1:].astype(np.int16).reshape(-1)
    plane = out.shape[1] * out.shape[2]
    for right in range(4):
        t0, t1, t2, t3, t4, t5, t6, t7 = taps[right].astype(np.int16)
        for y in range(tall + 7):
            line, made = wide[first + y], across[y]
            if right == 0:
                for x in range(width):
                    made[x] = np.int16(64) * np.int16(line[x + 3])
                continue
            for x in range(width):
                made[x] = np.int16(
                    np.int16(line[x]) * t0 + np.int16(line[x + 1]) * t1
                    + np.int16(line[x + 2]) * t2 + np.int16(line[x + 3]) * t3
                    + np.int16(line[x + 4]) * t4 + np.int16(line[x + 5]) * t5
                    + np.int16(line[x + 6]) * t6 + np.int16(line[x + 7]) * t7
                )  # fmt: skip
        for y in range(tall):
            shown, here = out[right, first + y], across[y + 3]
            for x in range(width):
                level = (np.int32(here[x]) + np.int32(32)) >> np.int32(6)
                shown[x] = np.uint8(min(max(level, np.int32(0)), np.int32(255)))
            to = (4 + right) * plane + (first + y) * width
            for run in range(0, width, _RUN):
                x = min(run, width - _RUN)
                _filtered_down(rows, y * width + x, width, below, goal, to + x, 4 * plane)
