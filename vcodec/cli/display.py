"""What commands print: results on standard output, notes and progress on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vcodec.api import Progress

__all__ = ["ReaderGoneError", "format_bytes", "note", "progress_bar", "show", "show_json", "table"]


class ReaderGoneError(Exception):
    """Whoever read standard output is there no more."""


def show(text: str, *, piped: bool = False) -> None:
    """Print a result; on standard error where standard output carries the file itself."""
    print(text, file=sys.stderr if piped else sys.stdout)


def show_json(value: object, *, piped: bool = False) -> None:
    """Print a result as JSON."""
    show(json.dumps(value, indent=2, allow_nan=False), piped=piped)


def note(text: str) -> None:
    """Say something by the way."""
    print(f"vcodec: note: {text}", file=sys.stderr)  # noqa: T201


def format_bytes(count: float) -> str:
    """`999 B`, `45.3 kB`, `1.25 MB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.4g} GB"


def table(rows: Iterable[Iterable[object]]) -> str:
    """Rows in columns of equal width; the first row is the heading."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*texts)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in texts)


@contextlib.contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on standard error, or None where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(compact=True),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, count="", speed="")

        def update(state: Progress) -> None:
            rate = state.frames / state.seconds if state.seconds > 0 else 0.0
            speed = f"{rate:.1f} fps"
            if state.file_bytes and state.frames:
                speed += f"  {8 * state.file_bytes / (state.frames * state.pixels):.4f} bpp"
            fields: dict[str, Any] = {
                "count": f"{state.frames}/{state.total or '?'}",
                "speed": speed,
            }
            bars.update(task, description=state.stage, completed=state.frames, total=state.total, **fields)

        yield update
