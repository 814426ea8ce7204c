"""Output that appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from vcodec.errors import OutputError

__all__ = ["OutputFile", "OutputFolder"]


def _temporary(target: Path) -> Path:
    """A free name beside the target, whose folder has to exist."""
    if not target.parent.is_dir():
        raise OutputError(f"{target}: there is no folder {target.parent}; make it first")
    return target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(3)}.part")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


class OutputFile:
    """A temporary file beside `target`, which `commit` puts under that name and `discard` removes.

    Raises OutputError when the target exists and overwrite is False, is no plain file, or cannot be written.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self.target = target
        self._overwrite = overwrite
        self._place = target.resolve()
        self._check()
        self.path = _temporary(self._place)
        try:
            self.file = self.path.open("xb")
        except OSError as error:
            raise OutputError(f"{target}: cannot be written ({_reason(error)})") from error
        self._open = True

    def _check(self) -> None:
        if self._place.is_dir() or (self._place.exists() and not self._place.is_file()):
            raise OutputError(f"{self.target}: it is not a plain file")
        if self._place.exists() and not self._overwrite:
            raise OutputError(f"{self.target}: it exists already; overwrite it with -f, or choose another name")

    def write(self, data: bytes | memoryview) -> None:
        """Appends bytes. Raises OutputError."""
        try:
            self.file.write(data)
        except OSError as error:
            raise OutputError(f"{self.target}: cannot be written ({_reason(error)})") from error

    def rewrite(self, position: int, data: bytes) -> None:
        """Replaces bytes written before. Raises OutputError."""
        try:
            self.file.seek(position)
            self.file.write(data)
        except OSError as error:
            raise OutputError(f"{self.target}: cannot be written ({_reason(error)})") from error

    def commit(self) -> None:
        """Puts the file under its name, at once and whole. Does nothing the second time."""
        if not self._open:
            return
        try:
            self.file.close()
            self._check()
            self.path.replace(self._place)
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.target}: cannot be written ({_reason(error)})") from error
        except OutputError:
            self.discard()
            raise
        self._open = False

    def discard(self) -> None:
        """Removes the temporary. May be called twice, and after `commit`."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                self.file.close()
            self.path.unlink(missing_ok=True)


class OutputFolder:
    """A temporary folder beside `target`, put under that name as a whole; else as `OutputFile`.

    Only a folder that holds nothing but files with one of `suffixes` is ever replaced.
    """

    def __init__(self, target: Path, *, overwrite: bool, suffixes: tuple[str, ...]) -> None:
        self.target = target
        self._overwrite = overwrite
        self._suffixes = suffixes
        self._place = target.resolve()
        self._check()
        self.path = _temporary(self._place)
        try:
            self.path.mkdir()
        except OSError as error:
            raise OutputError(f"{target}: cannot be written ({_reason(error)})") from error
        self._open = True

    def _check(self) -> None:
        if not self._place.exists():
            return
        if not self._place.is_dir():
            raise OutputError(f"{self.target}: it exists already and is no folder")
        held = list(self._place.iterdir())
        if held and not self._overwrite:
            raise OutputError(f"{self.target}: the folder is not empty; overwrite it with -f, or choose another name")
        if any(entry.suffix.lower() not in self._suffixes or not entry.is_file() for entry in held):
            raise OutputError(f"{self.target}: the folder holds other files too; choose another name")

    def commit(self) -> None:
        """Puts the folder under its name, whole. Does nothing the second time."""
        if not self._open:
            return
        old = self.path.with_suffix(".old")
        try:
            self._check()
            if self._place.exists():
                self._place.rename(old)
            self.path.rename(self._place)
        except OSError as error:
            if old.exists() and not self._place.exists():
                old.rename(self._place)
            self.discard()
            raise OutputError(f"{self.target}: cannot be written ({_reason(error)})") from error
        except OutputError:
            self.discard()
            raise
        self._open = False
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Removes the temporary. May be called twice, and after `commit`."""
        if self._open:
            self._open = False
            shutil.rmtree(self.path, ignore_errors=True)
