"""What a run writes down: CSV always, TensorBoard when asked for.  Lines after the state that a run resumes from go."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vcodec.errors import UsageError
from vcodec.training.validation import Validation

__all__ = ["Logs", "tensorboard_writer"]


class Logs:
    """log.csv (evaluations) and steps.csv (every few steps) in a run's folder; perhaps TensorBoard."""

    def __init__(self, folder: Path, board: Any = None) -> None:
        self.folder, self.board = folder, board

    def step(self, step: int, loss: float, rate: float, norm: float, seconds: float, terms: dict[str, float]) -> None:
        """A training step; terms: parts of its loss."""
        row = {"step": step, "loss": loss, "learning_rate": rate, "gradient_norm": norm, "seconds": round(seconds, 2)}
        parts = " ".join(f"{n}={v!r}" for n, v in terms.items())
        self._append("steps.csv", [*row, "terms"], [*row.values(), parts])
        if self.board:
            for name, value in {**{n: row[n] for n in ("loss", "learning_rate", "gradient_norm")}, **terms}.items():
                self.board.add_scalar(f"train/{name}", value, step)

    def evaluation(self, step: int, seconds: float, loss: float, found: Validation) -> None:
        """An evaluation."""
        heads = [f"{name}_k{k}" for k in found.table for name in ("bpp", "psnr_y")]
        row = [x for pair in found.table.values() for x in pair]
        self._append(
            "log.csv",
            ["step", "minutes", "loss", "validation_loss", *heads],
            [step, round(seconds / 60, 2), *(round(x, 5) for x in [loss, found.loss, *row])],
        )
        if self.board:
            self.board.add_scalar("validation/loss", found.loss, step)
            for k, (bpp, psnr) in found.table.items():
                self.board.add_scalar(f"validation/bpp_k{k}", bpp, step)
                self.board.add_scalar(f"validation/psnr_y_k{k}", psnr, step)

    def picture(self, step: int, path: Path) -> None:
        """A grid of samples."""
        if self.board and path.is_file():
            import av

            with av.open(str(path)) as container:
                frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
            self.board.add_image("samples", frame, step, dataformats="HWC")

    def cut(self, step: int) -> None:
        """Remove what was written after a step: it will be written again."""
        for name in ("log.csv", "steps.csv"):
            path = self.folder / name
            if path.is_file():
                head, *lines = path.read_text("utf-8").splitlines(keepends=True) or [""]
                if not head.endswith("\n"):  # killed while it was begun
                    path.unlink()
                    continue
                # a line that was cut off by a kill has no end
                kept = [x for x in lines if x.endswith("\n") and int(x.partition(",")[0]) <= step]
                part = path.with_suffix(".part")
                part.write_text("".join([head, *kept]), "utf-8")
                part.replace(path)
        for path in (self.folder / "samples").glob("step-*.png"):
            if int(path.stem.partition("-")[2]) > step:
                path.unlink()

    def flush(self) -> None:
        """Have TensorBoard's file on disk."""
        if self.board:
            self.board.flush()

    def _append(self, name: str, heads: Sequence[str], row: Sequence[Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if fresh:
                writer.writerow(heads)
            writer.writerow(row)


def tensorboard_writer(folder: Path, step: int) -> Any:
    """A writer of TensorBoard files that hides what an earlier run wrote after ``step``; raises UsageError."""
    for package in ("torch.utils.tensorboard", "tensorboardX"):
        try:
            return importlib.import_module(package).SummaryWriter(str(folder), purge_step=step + 1)
        except ImportError:
            continue
    raise UsageError(
        "--tensorboard needs the package tensorboard or tensorboardX: pip install tensorboardX "
        "(log.csv and steps.csv are written without either)"
    )
