"""The command line: `main` runs one command and turns every error into one line and an exit code.

    0  done                          3  a .vae file is damaged (what can be decoded was written)
    4  some of many files failed; the others are done
    1  an input cannot be used       130, 143, 129  stopped by Ctrl-C, SIGTERM, SIGHUP; nothing half-written
    stays 2  wrong usage                   141  the reader of standard output went away

Each command is one file here. They import `vcodec.api` and all that is heavy only when they run, so that
`vcodec --help` and `vcodec info` start at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from vcodec.cli.display import ReaderGoneError
from vcodec.errors import VcodecError

__all__ = ["main", "program"]

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE_S = 1.0
_READER_GONE = 128 + 13  # as a process that SIGPIPE ends


class _Stopped(BaseException):
    """A signal asked to stop."""

    def __init__(self, number: int) -> None:
        self.number = number


def program() -> NoReturn:
    """The command line of a process, which ends with it: what libraries would take apart goes with the process."""
    code = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit code."""
    code = _main(argv)
    if any(thread.name.startswith("vcodec-") for thread in threading.enumerate()):
        # one waits in a pipe that says nothing: Python's own way out would trip over it
        sys.stderr.flush()
        os._exit(code)
    return code


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in options
    if debug:
        arguments.remove("--debug")
    try:
        with _signals():
            code = _run(arguments)
            sys.stdout.flush()
            return code
    except _Stopped as stop:
        _say("interrupted" if stop.number == signal.SIGINT else f"stopped by signal {stop.number}")
        return 128 + stop.number
    except (BrokenPipeError, ReaderGoneError):
        _drop_stdout()
        return _READER_GONE
    except VcodecError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            _drop_stdout()
            return _READER_GONE
        if debug:
            traceback.print_exc()
        _say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {_unexpected(error)}")
        return 1


def _run(arguments: list[str]) -> int:
    plain = [argument for argument in arguments[1:] if argument != "--json"]
    if arguments[:1] == ["info"] and len(plain) == 1 and not plain[0].startswith("-"):
        # the usual call, without the option parser, which takes longer to load than all the rest
        from vcodec.cli.facts import print_info

        print_info(plain[0], len(plain) < len(arguments) - 1)
        return 0
    from vcodec.cli.app import command

    try:
        command().main(args=arguments, prog_name="vcodec")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    if isinstance(error, MemoryError):
        return "out of memory; try smaller pictures, or fewer --threads"
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text} (a bug in vcodec; --debug shows where)"


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"vcodec: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _drop_stdout() -> None:
    """Point standard output at nothing, so that flushing it at exit fails no more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Let a stop signal raise _Stopped; those that follow at once are the same wish, and leave its clean-up alone."""

    heard = float("-inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        last, heard = heard, time.monotonic()
        if heard - last > _PATIENCE_S:
            raise _Stopped(number)

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {}
    try:
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    except ValueError:
        pass  # not the main thread: signals are another's business
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
