"""Moving MNIST (quantized-autoencoder, section II.C; Srivastava et al. 2015): 20 frames of 64×64, two MNIST digits.

    train-images-idx3-ubyte(.gz) ─► digits uint8 [60000,28,28] ─► bounce ─► clip

The files are looked for in the folder the user names, else downloaded once into the user's cache.  Files are known by
the SHA-256 of their content unpacked, so that it does not matter who packed them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from vcodec.datasets.base import Preparation
from vcodec.datasets.moving_digits import MovingDigits
from vcodec.errors import InputError, UsageError

__all__ = ["MovingMnist", "MovingMnistConfig", "load_mnist"]

Bytes = npt.NDArray[np.uint8]
_SOURCES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_TIMEOUT_S = 20
_HEADER = 16
_LIMIT = 64 << 20  # bytes of an unpacked file, at most


@dataclass(frozen=True)
class _File:
    name: str
    count: int
    sha256: str


_FILES = {
    "train": _File(
        "train-images-idx3-ubyte", 60000, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "test": _File("t10k-images-idx3-ubyte", 10000, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
}


def load_mnist(split: str, folder: Path | None = None) -> Bytes:
    """The digits of "train" [60000,28,28] or "test" [10000,28,28].

    folder: where the idx files are, packed or not; None: the user's cache, filled from the network when it is empty.
    Raises InputError saying what is missing and what to do.
    """
    if split not in _FILES:
        raise InputError(f"MNIST has no part '{split}': choose train or test")
    file = _FILES[split]
    if folder is not None:
        found = _find(folder, file.name)
        if found is None:
            raise InputError(f"{folder}: no {file.name} or {file.name}.gz in it")
        return _digits(_unpacked(found.read_bytes(), found), file, found)
    cache = _cache()
    found = _find(cache, file.name) or _download(file, cache)
    return _digits(_unpacked(found.read_bytes(), found), file, found)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vcodec" / "mnist"


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx3", ".idx3")):
        if path.is_file():
            return path
    return None


def _unpacked(data: bytes, origin: object) -> bytes:
    """Content of a file that may be gzip."""
    if data[:2] != b"\x1f\x8b":
        return data
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        out = unpack.decompress(data, _LIMIT)
    except zlib.error as error:
        raise InputError(f"{origin}: damaged ({error}); fetch the file again") from error
    return out


def _digits(data: bytes, file: _File, origin: object) -> Bytes:
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise InputError(f"{origin}: not the {file.name} of MNIST (its SHA-256 differs); fetch the file again")
    return np.frombuffer(data, np.uint8, offset=_HEADER).reshape(file.count, 28, 28)


def _download(file: _File, cache: Path) -> Path:
    reasons = []
    for source in _SOURCES:
        url = f"{source}{file.name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                data = answer.read(_LIMIT)
        except (OSError, ValueError) as error:
            reasons.append(f"{url}: {error}")
            continue
        content = _unpacked(data, url)
        _digits(content, file, url)
        cache.mkdir(parents=True, exist_ok=True)
        target = cache / f"{file.name}.gz"
        part = target.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(gzip.compress(content, mtime=0))
        part.replace(target)
        return target
    raise InputError(
        f"MNIST could not be downloaded ({'; '.join(reasons)}); give a folder with {file.name}.gz "
        "(--mnist-dir), or use moving-digits, which needs no files"
    )


@dataclass(frozen=True)
class MovingMnistConfig:
    """Moving MNIST."""

    digits: int = 2
    """digits in a clip, >= 1"""
    part: str = "train"
    """MNIST's digits to take: train, or test"""


class MovingMnist(MovingDigits):
    """As MovingDigits, with MNIST's digits."""

    Config: ClassVar[type[Any]] = MovingMnistConfig

    @classmethod
    def open(cls, paths: Sequence[Path], config: MovingMnistConfig, preparation: Preparation) -> Self:  # type: ignore[override]
        """paths: the folder with the idx files, or none (downloaded, or found in the user's cache)."""
        if len(paths) > 1:
            raise UsageError("Moving MNIST comes from one folder: give one path, or none to download it")
        return cls(load_mnist(config.part, paths[0] if paths else None), config.digits)
