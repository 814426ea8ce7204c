"""Sums of products of 16-bit integers in tiles of 16 places by 16 outputs, on CPUs that multiply such tiles (AMX).

    a = 256·a₁ + a₀, weights w = 256·w₁ + w₀, of bytes:   a·w = 2¹⁶·a₁w₁ + 2⁸·(a₁w₀ + a₀w₁) + a₀w₀

Four products of bytes take a fourth of the time of one of 16 bits.  Sums wrap around at 32 bits, so what fits them in
the end is exact, in any order.  Arrays are flat, and nothing checks that a place is in them.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcodec.products import address

__all__ = [
    "BLOCK",
    "DEEP",
    "HERE",
    "SHAPES",
    "SIDE",
    "add",
    "add_bytes",
    "begin",
    "clear",
    "end",
    "put",
    "put_bytes",
    "room",
    "weights_of",
]

SIDE, DEEP = 16, 64  # places and outputs of a tile; products of each sum that are added at a time
BLOCK = SIDE * DEEP  # bytes of the weights of those, or of half of them
_BYTE, _LONG = ir.IntType(8), ir.IntType(64)
_ROW = ir.VectorType(ir.IntType(32), SIDE)
_SUMS = range(3)  # tiles: of a₁w₁, of what stands between, of a₀w₀
_HIGH, _LOW, _HIGH_WEIGHTS, _LOW_WEIGHTS = range(3, 7)
_STEPS = (
    ("tdpbssd", 0, _HIGH, _HIGH_WEIGHTS),
    ("tdpbsud", 1, _HIGH, _LOW_WEIGHTS),
    ("tdpbusd", 1, _LOW, _HIGH_WEIGHTS),
    ("tdpbuud", 2, _LOW, _LOW_WEIGHTS),
)
# where all are bytes: tiles of places and of outputs; sums of each with each are four
_BESIDE, _BLOCKS = (4, 5), (6, 7)


def _here() -> bool:
    """Whether this CPU has tiles, and the system lets this process use them."""
    features = get_host_cpu_features()
    if not all(features.get(name) for name in ("amx-tile", "amx-int8", "avx512bw")):
        return False
    return bool(getattr(torch.cpu, "_init_amx", lambda: False)())


HERE = _here()


def _shapes() -> npt.NDArray[np.uint8]:
    """What ``begin`` wants: all tiles have 16 rows of 64 bytes."""
    out = np.zeros(64, np.uint8)
    out[0] = 1
    out[16:32:2] = DEEP
    out[48:56] = SIDE
    return out


SHAPES = _shapes()


def room(count: int) -> npt.NDArray[np.uint8]:
    """Zeros: rows of tiles none of which lies across two lines of a cache, if they do not in an array."""
    flat = np.zeros(count + DEEP, np.uint8)
    return flat[-flat.ctypes.data % DEEP :][:count]


def weights_of(weight: npt.NDArray[np.int64], narrow: bool = False) -> npt.NDArray[np.uint8]:
    """Weights [O,I,k,k] of 16 bits as ``add`` reads them: [⌈O/SIDE⌉,k·⌈k·I/DEEP⌉,2·BLOCK]; narrow: of bytes, as
    ``add_bytes`` does, [...,BLOCK].

    What a place sees in a row lies side by side.  Of DEEP · SIDE weights four of each output do, as in products.py:
    first all high bytes, then all low ones.
    """
    o, i, k = weight.shape[:3]
    blocks, steps = -(-o // SIDE), -(-k * i // DEEP)
    wide = np.zeros((blocks * SIDE, k, steps * DEEP), np.int64)
    wide[:o, :, : k * i] = weight.transpose(0, 2, 3, 1).reshape(o, k, k * i)
    planes = np.stack([wide & 255] if narrow else [wide >> 8, wide & 255])
    split = planes.reshape(-1, blocks, SIDE, k * steps, DEEP // 4, 4)
    out = room(split.size).reshape(blocks, k * steps, -1)
    out[:] = split.transpose(1, 3, 0, 4, 2, 5).reshape(out.shape)
    return out


def _call(builder: Any, name: str, *args: Any) -> None:
    """Code for an instruction on tiles."""
    kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), args)


def _tile(number: int) -> Any:
    return ir.Constant(_BYTE, number)


def _constant(value: int) -> Any:
    return ir.Constant(_LONG, value)


def _begin(typing_context: Any, given: Any) -> Any:
    """Tiles are used from here on, shaped as ``shapes`` says."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = _constant(0)
        _call(builder, "ldtilecfg", address(context, builder, signature.args[0], args[0], first, _BYTE))
        return context.get_dummy_value()

    return types.none(given), emit


def _end(typing_context: Any) -> Any:
    """They are not used any more."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.none(), emit


def _clear(typing_context: Any) -> Any:
    """All sums are 0."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for number in range(4):
            _call(builder, "tilezero", _tile(number))
        return context.get_dummy_value()

    return types.none(), emit


def _load(context: Any, builder: Any, tile: int, array: tuple[Any, Any], at: Any, pitch: Any) -> None:
    """Code for rows of a tile, a pitch apart."""
    begin = address(context, builder, *array, at, _BYTE)
    _call(builder, "tileloadd64", _tile(tile), begin, pitch)


def _add(typing_context: Any, high: Any, low: Any, at: Any, pitch: Any, weights: Any, first: Any) -> Any:
    """Add products of a[at + pitch · place : … + DEEP], bytes high and low, and of weights from ``first`` on."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        high, low, _, _, weights, _ = zip(signature.args, args)
        other = builder.add(args[5], _constant(BLOCK))
        _load(context, builder, _HIGH, high, args[2], args[3])
        _load(context, builder, _HIGH_WEIGHTS, weights, args[5], _constant(DEEP))
        _load(context, builder, _LOW, low, args[2], args[3])
        _load(context, builder, _LOW_WEIGHTS, weights, other, _constant(DEEP))
        for name, *numbers in _STEPS:
            _call(builder, name, *map(_tile, numbers))
        return context.get_dummy_value()

    return types.none(high, low, types.int64, types.int64, weights, types.int64), emit


def _add_bytes(typing_context: Any, x: Any, at: Any, pitch: Any, weights: Any, first: Any, apart: Any) -> Any:
    """Add products of bytes x[at + pitch · place : … + DEEP], of 2 · SIDE places, and of weights that are bytes too, of
    two blocks of outputs, ``apart``."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, _, _, weights, *_ = zip(signature.args, args)
        _load(context, builder, _BESIDE[0], x, args[1], args[2])
        _load(context, builder, _BLOCKS[0], weights, args[4], _constant(DEEP))
        _load(context, builder, _BLOCKS[1], weights, builder.add(args[4], args[5]), _constant(DEEP))
        below = builder.add(args[1], builder.mul(args[2], _constant(SIDE)))
        _load(context, builder, _BESIDE[1], x, below, args[2])
        for number, (places, block) in enumerate(product(_BESIDE, _BLOCKS)):
            _call(builder, "tdpbusd", _tile(number), _tile(places), _tile(block))
        return context.get_dummy_value()

    return types.none(x, types.int64, types.int64, weights, types.int64, types.int64), emit


def _put_bytes(typing_context: Any, out: Any, to: Any, pitch: Any) -> Any:
    """out[to + pitch · place + output] = sums, int32, of 2 · SIDE places and outputs."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bytes_apart = builder.mul(args[2], _constant(4))
        for number, (places, block) in enumerate(product(range(2), range(2))):
            row = builder.mul(args[2], _constant(places * SIDE))
            place = builder.add(builder.add(args[1], row), _constant(block * SIDE))
            begin = address(context, builder, signature.args[0], args[0], place, _BYTE)
            _call(builder, "tilestored64", _tile(number), begin, bytes_apart)
        return context.get_dummy_value()

    return types.none(out, types.int64, types.int64), emit


def _put(typing_context: Any, made: Any, out: Any, to: Any, pitch: Any) -> Any:
    """out[to + pitch · place + output] = sums, int32; made [3·SIDE·SIDE]: room."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def place(array: int, at: Any, kind: Any) -> Any:
            return address(context, builder, signature.args[array], args[array], at, kind)

        for number in _SUMS:
            begin = place(0, _constant(number * SIDE * SIDE), _BYTE)
            _call(builder, "tilestored64", _tile(number), begin, _constant(4 * SIDE))
        to = args[2]
        for row in range(SIDE):
            total = None
            for number in _SUMS:
                at = _constant((number * SIDE + row) * SIDE)
                part = builder.load(place(0, at, _ROW), align=4)
                if total is not None:
                    total = builder.shl(total, ir.Constant(_ROW, [8] * SIDE))
                total = part if total is None else builder.add(total, part)
            builder.store(total, place(1, to, _ROW), align=4)
            to = builder.add(to, args[3])
        return context.get_dummy_value()

    return types.none(made, out, types.int64, types.int64), emit


# to loops they are functions of the values that a signature's types stand for
begin: Any = intrinsic(_begin)
end: Any = intrinsic(_end)
clear: Any = intrinsic(_clear)
add: Any = intrinsic(_add)
add_bytes: Any = intrinsic(_add_bytes)
put: Any = intrinsic(_put)
put_bytes: Any = intrinsic(_put_bytes)
