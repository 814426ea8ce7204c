"""Many videos into many .vae files: a folder tree to a folder tree, in several processes, one bad file at most lost.

inputs ─► jobs (source, target) ─► worker processes: api.encode ─► done · skipped · failed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vcodec import helper
from vcodec.datasets.footage import video_files
from vcodec.errors import BatchError, OutputError, UsageError, VcodecError

__all__ = ["Batch", "Task", "encode_many", "plan"]


@dataclass(frozen=True)
class Task:
    """One video to encode."""

    source: Path
    target: Path


@dataclass
class Batch:
    """What came of many: the report of each encode, what was there already, what failed and why."""

    done: list[dict[str, Any]]
    skipped: list[str]
    failed: list[dict[str, str]]


def plan(sources: Sequence[str | Path], outdir: str | Path) -> list[Task]:
    """Where each video goes: its place below the folder it was found in, as .vae; two of a name keep their suffixes.

    Raises InputError where there is no video.
    """
    found: list[tuple[Path, Path]] = []
    for source in map(Path, sources):
        root = source if source.is_dir() else source.parent
        found += [(path, path.relative_to(root)) for path in video_files([source])]
    plain = [place.with_suffix(".vae") for _, place in found]
    tasks = [
        Task(path, Path(outdir) / (name if plain.count(name) == 1 else place.with_name(place.name + ".vae")))
        for (path, place), name in zip(found, plain)
    ]
    targets = [task.target for task in tasks]
    if doubled := next((t for t in targets if targets.count(t) > 1), None):
        raise UsageError(f"two of the inputs would become {doubled}; encode them into folders of their own")
    return tasks


def encode_many(
    sources: Sequence[str | Path],
    outdir: str | Path,
    *,
    skip_existing: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int, Path], None] | None = None,
    **options: Any,
) -> Batch:
    """Encode videos, and all below folders, into .vae files in `outdir`; `options` are those of `vcodec.encode`.

    A file is there only when it is whole, so that after an end of any kind the same call with `skip_existing` goes on.
    One that cannot be encoded is noted and the others go on; then BatchError is raised, its `report` the Batch.
    Raises InputError, OutputError and UsageError before anything is encoded.
    """
    if not 1 <= workers <= 256:
        raise UsageError(f"{workers} workers are not possible: choose 1 to 256")
    tasks = plan(sources, outdir)
    batch = Batch([], [str(t.target) for t in tasks if skip_existing and t.target.exists()], [])
    todo = [t for t in tasks if not (skip_existing and t.target.exists())]
    if not overwrite and (there := next((t.target for t in todo if t.target.exists()), None)):
        raise OutputError(f"{there} exists; go on with --skip-existing, or overwrite with -f")
    for folder in {t.target.parent for t in todo}:
        folder.mkdir(parents=True, exist_ok=True)
    options |= {"overwrite": True}
    for task, outcome in _outcomes(todo, workers, options):
        if isinstance(outcome, dict):
            batch.done.append({"source": str(task.source), "output": str(task.target)} | outcome)
        else:
            batch.failed.append({"source": str(task.source), "error": outcome})
        if progress:
            progress(len(batch.done) + len(batch.failed), len(todo), task.source)
    if batch.failed:
        names = ", ".join(item["source"] for item in batch.failed[:3])
        more = f" and {len(batch.failed) - 3} more" if len(batch.failed) > 3 else ""
        error = BatchError(f"{len(batch.failed)} of {len(todo)} videos could not be encoded: {names}{more}")
        error.report = batch
        raise error
    return batch


def _outcomes(tasks: list[Task], workers: int, options: dict[str, Any]) -> Iterable[tuple[Task, dict[str, Any] | str]]:
    """Report of each task, or what was wrong with it, as they come."""
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, _encode(task, options)
        return
    left = list(tasks)
    if options.get("threads") is None:
        options = options | {"threads": max(1, helper.cores() // workers)}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        running: dict[Future[dict[str, Any] | str], Task] = {pool.submit(_encode, t, options): t for t in left}
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                task = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    continue  # a process died: whose fault it was shows below
                left.remove(task)
                error = future.exception()
                yield task, future.result() if error is None else f"{type(error).__name__}: {error}"
    for task in left:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            try:
                outcome = alone.submit(_encode, task, options).result()
            except BrokenProcessPool:
                outcome = "its process died (out of memory?); try fewer --workers, or smaller pictures"
        yield task, outcome


def _encode(task: Task, options: dict[str, Any]) -> dict[str, Any] | str:
    from vcodec import api

    try:
        return api.encode(task.source, task.target, **options)
    except (VcodecError, OSError, MemoryError) as error:
        return str(error) or type(error).__name__
