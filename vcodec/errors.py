"""The errors of vcodec: one tree; each class knows the exit code the command line gives it.

    VcodecError                 1   anything vcodec refuses, in one clear line
    ├── InputError              1   a source, a value or a file that cannot be used
    │   ├── MediaError          1   a video that cannot be read or written
    │   ├── OutputError         1   an output that exists, equals the input, or cannot be written
    │   ├── UnknownNameError    1   a codec, preset or table entry that does not exist
    │   ├── WeightsError        1   weights missing, damaged, or not those a file was made with
    │   └── UnsupportedError    1   a format version or a feature that needs a newer vcodec
    ├── UsageError              2   options that do not go together
    ├── DamagedError            3   a .vae file (or a part of it) that is broken
    └── BatchError              4   some of many files could not be worked on; the others were

Each message names the file, the problem and the way out.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BatchError",
    "DamagedError",
    "InputError",
    "MediaError",
    "OutputError",
    "UnknownNameError",
    "UnsupportedError",
    "UsageError",
    "VcodecError",
    "WeightsError",
]


class VcodecError(Exception):
    """Base of all errors raised on purpose by vcodec."""

    exit_code = 1


class InputError(VcodecError):
    """A source, a value or a file that cannot be used."""


class MediaError(InputError):
    """A video that cannot be read or written."""


class OutputError(InputError):
    """An output that exists already, equals the input, or cannot be written."""


class UnknownNameError(InputError):
    """A codec, preset or table entry that does not exist."""


class WeightsError(InputError):
    """Weights that are missing, damaged, or not those a file was made with."""


class UnsupportedError(InputError):
    """A format version or a feature that this vcodec does not know."""


class UsageError(VcodecError):
    """Options that do not go together."""

    exit_code = 2


class DamagedError(VcodecError):
    """A .vae file, or a part of one, that is broken.

    Where the rest was decoded and written all the same, `report` is what decoding would have returned.
    """

    exit_code = 3
    report: dict[str, Any] | None = None


class BatchError(VcodecError):
    """Some of many files could not be worked on; the others were. `report` says which."""

    exit_code = 4
    report: Any = None
