"""What a run shows on standard error: on a terminal a live view with the loss curve, elsewhere a line an evaluation."""

from __future__ import annotations

import itertools
import math
import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from vcodec.training.loop import Progress
from vcodec.training.validation import Validation

__all__ = ["View", "curve"]

_BLOCKS = " ▁▂▃▄▅▆▇█"


def curve(values: list[float], width: int = 60, height: int = 6) -> list[str]:
    """A plot of positive values in text, logarithmic: ``height`` lines, each led by the value at its top."""
    logs = [math.log(v) for v in values if math.isfinite(v) and v > 0]
    if len(logs) < 2:
        return []
    width = min(width, len(logs))
    ends = [round(i * len(logs) / width) for i in range(width + 1)]
    means = [sum(logs[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    low, high = min(means), max(means)
    scale = (8 * height - 1) / ((high - low) or 1.0)
    heights = [1 + round((m - low) * scale) for m in means]
    lines = []
    for row in reversed(range(height)):
        label = math.exp(low + (high - low) * (row + 1) / height)
        bars = "".join(_BLOCKS[min(8, max(0, h - 8 * row))] for h in heights)
        lines.append(f"{label:9.4g} {bars}")
    return lines


class View:
    """A context manager; ``footage``, ``training`` and ``counting`` are called as the run goes."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(file=sys.stderr)
        self._quiet = quiet
        self._live: Live | None = None
        self._losses: list[float] = []
        self._latest: Validation | None = None
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bars.add_task("material", total=1.0, note="")
        if not quiet and self._console.is_terminal:
            self._live = Live(get_renderable=self._picture, console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def material(self, done: int, total: int, name: str) -> None:
        """Preparing the material."""
        self._bars.update(self._task, description="material", completed=done / total, note=f"{done}/{total} {name}")

    def training(self, at: Progress) -> None:
        """A training step."""
        note = f"step {at.step}  loss {at.loss:.4g}"
        self._bars.update(self._task, description="training", completed=at.share, note=note)
        self._losses.append(at.loss)
        if len(self._losses) > 4096:  # of a long run, every second point
            self._losses = self._losses[::2]
        if at.validation and not self._quiet:
            self._latest = at.validation
            points = "  ".join(f"{k}: {bpp:.3f}/{psnr:.1f}" for k, (bpp, psnr) in at.validation.table.items())
            self._console.print(
                f"{at.seconds / 60:6.1f} min  step {at.step}  loss {at.loss:.4g}  "
                f"validation {at.validation.loss:.4g}  K: bpp/psnr_y  {points}",
                highlight=False,
                soft_wrap=True,
            )

    def counting(self, done: int, total: int) -> None:
        """Counting tables."""
        self._bars.update(self._task, description="tables", completed=done / total, note=f"{done}/{total}")

    def note(self, text: str) -> None:
        """A line by the way."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [Text(line, no_wrap=True) for line in curve(self._losses)]
        if self._latest:
            table = Table("K", *(str(k) for k in self._latest.table), box=None)
            table.add_row("bpp", *(f"{bpp:.3f}" for bpp, _ in self._latest.table.values()))
            table.add_row("psnr_y", *(f"{psnr:.2f}" for _, psnr in self._latest.table.values()))
            parts.append(table)
        return Group(*parts, self._bars)
