"""A binary output that appears whole or not at all."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from vcodec.errors import OutputError, UsageError
from vcodec.media.output import OutputFile

__all__ = ["Target", "check_target", "null_output", "open_output"]

Target: TypeAlias = "str | Path | BinaryIO"


def null_output() -> BinaryIO:
    """An output that takes everything and keeps nothing; it can be rewound."""
    return cast("BinaryIO", _NullOutput())


class _NullOutput(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return offset

    def tell(self) -> int:
        return 0

    def truncate(self, size: int | None = None, /) -> int:
        return 0


def check_target(target: Target, source: object, *, overwrite: bool) -> None:
    """Refuse a target that cannot or must not be written, before any work is done.

    Raises OutputError: it is the source, or it exists and may not be overwritten.
    """
    if not isinstance(target, (str, Path)) or str(target) == "-":
        return
    path = Path(target)
    if isinstance(source, (str, Path)) and str(source) != "-" and _same_file(path, Path(source)):
        raise OutputError(f"{path} is both input and output; name another output with -o")
    if path.is_file() and not overwrite:
        raise OutputError(f"{path} exists already; overwrite it with -f, or name another output with -o")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


@contextlib.contextmanager
def open_output(target: Target, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a target for writing: a path, "-" for standard output, or an open binary file.

    A file is written beside its final name, and renamed when the block ends well; when it raises, the file is
    removed. Pipes and devices are written directly. Raises OutputError where the file cannot be made.
    """
    if not isinstance(target, (str, Path)):
        yield target
        return
    if str(target) == "-":
        if sys.stdout.isatty():
            raise UsageError("the output is binary, and standard output is a terminal; name a file with -o")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as device:
            yield device
        return
    output = OutputFile(path, overwrite=overwrite)
    try:
        yield output.file
        output.commit()
    except BaseException:
        output.discard()
        raise
