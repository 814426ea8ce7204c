"""The sweep: every codec at every K and every anchor at every crf, on every clip; then curves and BD-rates."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcodec import __version__
from vcodec.encoding import DEFAULT_GOP
from vcodec.errors import InputError, UsageError
from vcodec.models import codec_for_encoding
from vcodec.rd.anchors import Anchor
from vcodec.rd.clips import Clip
from vcodec.rd.comparison import MIN_POINTS, compare_curves
from vcodec.rd.points import AnchorPoint, CodecPoint, Point, measure_point, picture_of_source
from vcodec.rd.store import Store, point_key

if TYPE_CHECKING:
    from vcodec.codec import Codec

__all__ = ["DEFAULT_K", "MEASURES", "Sweep", "run_sweep"]

DEFAULT_K = (4, 8, 16, 32, 64, 128, 256)
MEASURES = ("psnr_yuv", "psnr_y", "psnr_rgb", "ms_ssim")
_AVERAGED: tuple[str, ...] = (
    "bpp",
    "kbps",
    "psnr_y",
    "psnr_u",
    "psnr_v",
    "psnr_yuv",
    "psnr_rgb",
    "mse_y",
    "ssim",
    "ms_ssim",
)
_AVERAGED += ("encode_fps", "decode_fps", "psnr_y_min", "flicker")


@dataclass(frozen=True)
class Sweep:
    """What is to be swept.

    crf: in place of each anchor's own; empty: those. weights: a checkpoint in place of the bundled ones; its codec
    stands for those named. jobs: points at once, in processes of their own, which slows each: fps are comparable
    within 1 job. effort: of vcodec's encoding. threads: of each encoder and network; None: their own default.
    """

    codecs: Sequence[str] = ("qae",)
    ks: Sequence[int] = DEFAULT_K
    anchors: Sequence[Anchor] = ()
    crf: Sequence[int] = ()
    gop: int = DEFAULT_GOP
    effort: int = 0
    weights: Path | None = None
    device: str = "auto"
    threads: int | None = None
    jobs: int = 1


@dataclass(frozen=True)
class _Unit:
    """A point of a clip, and where it belongs."""

    clip: Clip
    label: str
    point: Point
    key: str = field(compare=False)


def run_sweep(
    clips: Sequence[Clip],
    sweep: Sweep,
    store: Store,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    recompute: bool = False,
) -> dict[str, Any]:
    """Measure what the store does not have (recompute: all), and report all.

    progress(what, done, total): after each point. The report is that of rd.json (DESIGN §6): `curves`, one a clip
    and codec; `averages` over the clips, one a codec; `bd_rate`, mean over the clips; `bd_clips`, with overlap, of
    each clip and measure; `codecs`, their complexity; `sources`; `conditions`.
    """
    if not sweep.codecs and not sweep.anchors:
        raise UsageError("there is nothing to sweep: name a --codec or an --anchor")
    if sweep.weights is not None and sweep.codecs:
        # a checkpoint says itself which codec it is
        sweep = replace(sweep, codecs=[_load(sweep, sweep.codecs[0]).name])
    units = list(_units(clips, sweep))
    with tempfile.TemporaryDirectory(prefix="vcodec-rd-") as name:
        work = Path(name)
        records, computed = _measure(units, sweep, store if not recompute else _Unread(store.folder), work, progress)
        sources = [_source(clip, work, _of(records, units, clip)) for clip in clips]
    curves = _curves(units, records, sweep)
    details = _compare(curves, sweep)
    return {
        "curves": curves,
        "averages": _averages(curves, len(clips)),
        "bd_rate": _bd_means(details, sweep),
        "bd_clips": details,
        "codecs": [_complexity(name, sweep) for name in sweep.codecs],
        "sources": sources,
        "conditions": _conditions(sweep, clips) | {"points": len(units), "points_computed": computed},
    }


class _Unread(Store):
    """A store that is only written."""

    def get(self, key: str) -> None:
        """Nothing is there."""


def _units(clips: Sequence[Clip], sweep: Sweep) -> Iterator[_Unit]:
    hashes = {name: _load(sweep, name).weights_sha256.hex() for name in sweep.codecs}
    for clip in clips:
        for name in sweep.codecs:
            for k in sweep.ks:
                options = (sweep.gop, sweep.weights, hashes[name], sweep.device, sweep.threads, sweep.effort)
                point: Point = CodecPoint(name, k, *options)
                yield _Unit(clip, name, point, point_key(clip, point))
        for anchor in sweep.anchors:
            for crf in sweep.crf or anchor.crf:
                anchor.check_crf(crf)
                point = AnchorPoint(anchor, crf, sweep.gop, sweep.threads)
                yield _Unit(clip, anchor.name, point, point_key(clip, point))


def _load(sweep: Sweep, name: str) -> Codec:
    return codec_for_encoding(name, sweep.weights, sweep.device, sweep.threads)


def _measure(
    units: Sequence[_Unit],
    sweep: Sweep,
    store: Store,
    work: Path,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[dict[str, dict[str, Any]], int]:
    records = {unit.key: record for unit in units if (record := store.get(unit.key)) is not None}
    missing = [unit for unit in units if unit.key not in records]
    done = len(units) - len(missing)
    if progress:
        progress("kept points" if done else "", done, len(units))
    if sweep.jobs > 1:
        for unit in missing:
            unit.clip.source(work)  # cut once, before the processes want it
    for unit, record in _results(missing, sweep.jobs, work):
        store.put(unit.key, record)
        records[unit.key] = record
        done += 1
        if progress:
            setting = " ".join(f"{name} {value}" for name, value in unit.point.setting.items())
            progress(f"{unit.clip.name}: {unit.label} {setting}", done, len(units))
    return records, len(missing)


def _results(units: Sequence[_Unit], jobs: int, work: Path) -> Iterator[tuple[_Unit, dict[str, Any]]]:
    if jobs == 1 or len(units) < 2:
        for unit in units:
            yield unit, measure_point(unit.clip, unit.point, work)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[dict[str, Any]], _Unit] = {
            pool.submit(measure_point, unit.clip, unit.point, work): unit for unit in units
        }
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _of(records: dict[str, dict[str, Any]], units: Sequence[_Unit], clip: Clip) -> dict[str, Any]:
    found = [records[unit.key] for unit in units if unit.clip is clip]
    if len({record["frames"] for record in found}) > 1:
        raise InputError(f"{clip.path}: its points differ in frames; give -o another folder, or --recompute")
    return found[0]


def _source(clip: Clip, work: Path, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "clip": clip.name,
        "width": clip.width,
        "height": clip.height,
        "fps": clip.fps,
        "frames": record["frames"],
        "content_sha256": clip.content,
        "view": picture_of_source(clip, work, record["frames"]),
    }


def _curves(units: Sequence[_Unit], records: dict[str, dict[str, Any]], sweep: Sweep) -> list[dict[str, Any]]:
    commands = {anchor.name: anchor.command(sweep.gop) for anchor in sweep.anchors}
    weights = f" --weights {sweep.weights}" if sweep.weights else ""
    for name in sweep.codecs:
        effort = f" --effort {sweep.effort}" if sweep.effort else ""
        options = f"--codec {name} --k K --gop {sweep.gop}{effort} --no-audio{weights}"
        commands[name] = f"vcodec encode INPUT {options} -o OUTPUT.vae"
    curves: dict[tuple[str, str], dict[str, Any]] = {}
    for unit in units:
        kind = "codec" if isinstance(unit.point, CodecPoint) else "anchor"
        start = {
            "codec": unit.label,
            "label": unit.label,
            "kind": kind,
            "clip": unit.clip.name,
            "command": commands[unit.label],
            "points": [],
        }
        curves.setdefault((unit.clip.name, unit.label), start)["points"].append(records[unit.key])
    for curve in curves.values():
        curve["points"].sort(key=lambda point: point["bpp"])
    return list(curves.values())


def _averages(curves: Sequence[dict[str, Any]], clips: int) -> list[dict[str, Any]]:
    """Means over the clips of the points of one setting."""
    averages = []
    for label in dict.fromkeys(curve["label"] for curve in curves):
        own = [curve for curve in curves if curve["label"] == label]
        setting = "k" if own[0]["kind"] == "codec" else "crf"
        points = []
        for value in sorted({point[setting] for point in own[0]["points"]}):
            group = [point for curve in own for point in curve["points"] if point[setting] == value]
            point: dict[str, Any] = {setting: value}
            for name in _AVERAGED:
                values = [one.get(name) for one in group]
                point[name] = None if None in values else sum(values) / len(values)
            points.append(point)
        points.sort(key=lambda point: point["bpp"])
        averages.append({key: own[0][key] for key in ("codec", "label", "kind", "command")} | {"points": points})
    return averages


def _compare(curves: Sequence[dict[str, Any]], sweep: Sweep) -> list[dict[str, Any]]:
    """Every curve against every other of its clip, in every measure."""
    rows = []
    for test in curves:
        for anchor in curves:
            if anchor["clip"] == test["clip"] and anchor is not test:
                for measure in MEASURES:
                    found = compare_curves(test["points"], anchor["points"], measure).as_dict()
                    names = {"clip": test["clip"], "codec": test["label"], "anchor": anchor["label"]}
                    rows.append(names | {"measure": measure} | found)
    return rows


def _bd_means(rows: Sequence[dict[str, Any]], sweep: Sweep) -> dict[str, dict[str, float | None]]:
    """{codec: {anchor: percent}} in psnr_yuv, mean over the clips where it can be told; None: on no clip."""
    anchors = [anchor.name for anchor in sweep.anchors]
    means: dict[str, dict[str, float | None]] = {}
    for codec in [*sweep.codecs, *anchors]:
        others = anchors if codec in sweep.codecs else [name for name in anchors if name != codec]
        for anchor in others:
            found = [
                row["percent"]
                for row in rows
                if (row["codec"], row["anchor"], row["measure"]) == (codec, anchor, MEASURES[0])
                and row["percent"] is not None
            ]
            means.setdefault(codec, {})[anchor] = sum(found) / len(found) if found else None
    return means


def _complexity(name: str, sweep: Sweep) -> dict[str, Any]:
    from vcodec.checkpoint import describe_codec

    entry = describe_codec(name)
    return {key: entry[key] for key in ("codec", "parameters", "kmac_per_pixel")}


def _conditions(sweep: Sweep, clips: Sequence[Clip]) -> dict[str, Any]:
    import av

    gop = f"at most {sweep.gop} frames from keyframe to keyframe, of vcodec and of the anchors"
    return {
        "vcodec": __version__,
        "rate": "bytes of the whole file without sound: .vae of vcodec, .mp4 of the anchors; bpp = 8 bytes / (T H W)",
        "quality": "decoded 8-bit frames at the source's size, measured per frame and averaged; psnr_yuv weighs 6:1:1",
        "fps": "with reading and writing: encode from the source into the coded file, decode from it into a .y4m file",
        "gop": sweep.gop,
        "gop_text": gop + "; each codec places its own scene cuts (SVT-AV1 and VP9 by their defaults)",
        "bd_rate": f"psnr_yuv, PCHIP over log rate, overlap alone, {MIN_POINTS} points at least; mean over the clips",
        "frames": clips[0].frames if clips else None,
        "duration": clips[0].duration if clips else None,
        "jobs": sweep.jobs,
        "threads": sweep.threads,
        "device": sweep.device,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "bjontegaard": version("bjontegaard"),
    }
