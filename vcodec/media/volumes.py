"""Volumes that change in time, [T, C, H, W, D]: .npy and .npz in, .npy out, a moment in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vcodec.errors import MediaError
from vcodec.media.arrays import ArrayFile, ArrayGrower

__all__ = ["VolumeReader", "VolumeWriter", "create_volume", "open_volume"]


class VolumeReader:
    """A volume being read: iterate it for its moments, arrays [C, H, W, D], each time from the first.

    shape: (T, C, H, W, D). A context manager.
    """

    def __init__(self, path: Path) -> None:
        self._array = ArrayFile(path)
        shape = self._array.shape
        if len(shape) not in (4, 5):
            self.close()
            raise MediaError(f"{path}: {list(shape)} is no volume; it must be [T, C, H, W, D] or [T, H, W, D]")
        if self._array.dtype.kind not in "buif":
            self.close()
            raise MediaError(f"{path}: a volume of {self._array.dtype} cannot be coded; save real numbers")
        self._path = path
        self.dtype: np.dtype[Any] = self._array.dtype
        time, *rest = shape
        channels, height, width, depth = rest if len(rest) == 4 else (1, *rest)
        self.shape = (time, channels, height, width, depth)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        array = ArrayFile(self._path)
        try:
            for item in array.items():
                yield item.reshape(self.shape[1:])
        finally:
            array.close()

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._array.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VolumeWriter:
    """A volume being written; a context manager, closed on a good end and aborted on an exception."""

    def __init__(
        self, target: Path, shape: tuple[int, int, int, int], dtype: npt.DTypeLike, *, overwrite: bool
    ) -> None:
        self._array = ArrayGrower(target, shape, dtype, overwrite=overwrite)

    def write(self, moment: npt.NDArray[Any]) -> None:
        """Adds the next moment, [C, H, W, D]. Raises MediaError (wrong shape), OutputError."""
        self._array.append(moment)

    def close(self) -> None:
        """Finishes the file and puts it under its name. May be called twice."""
        self._array.finish()

    def abort(self) -> None:
        """Removes what was written. May be called twice, and after `close`."""
        self._array.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def open_volume(source: str | Path) -> VolumeReader:
    """Opens a .npy or .npz of [T, C, H, W, D], or [T, H, W, D] (C = 1), any real type. Raises MediaError."""
    path = Path(source)
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    return VolumeReader(path)


def create_volume(
    target: str | Path, shape: tuple[int, int, int, int], dtype: npt.DTypeLike, *, overwrite: bool = False
) -> VolumeWriter:
    """Starts a .npy of moments of `shape` (C, H, W, D). Raises OutputError (it exists, cannot be written)."""
    return VolumeWriter(Path(target), shape, dtype, overwrite=overwrite)
