"""Speed with reading and writing: fps, share of the machine's peak, memory; one JSON.

python examples/bench_speed.py CLIP... [--codec qae] [--k 32] [--repeats 3] [-o speed.json]

Each figure is the median of several runs in processes of their own.  The peak is that of 3×3 convolutions of 128
channels on 60×107 positions here and now, fp32, with as many threads as the commands use for operations (1) and with
all cores.  Of qae's networks of decoding, which multiply 16-bit integers, the share is of the peak of such products, in
one thread, on noise: nothing of it is zero, and nothing is left out.  A keyframe's go by tiles where a CPU has them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from vcodec import lanes, load_codec, tiles
from vcodec.backbones import drawing, keydrawing
from vcodec.backbones.layers import Stack
from vcodec.backbones.pictures import Pictures
from vcodec.checkpoint import describe_codec


def main() -> None:
    """Encode and decode each clip several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--codec", default="qae")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    peaks = {f"{n} threads": round(peak(n), 1) for n in dict.fromkeys((1, cores))}
    macs = describe_codec(args.codec)["kmac_per_pixel"]
    report: dict[str, Any] = {
        "codec": args.codec,
        "k": args.k,
        "gmac_s_peak": peaks,
        "kmac_per_pixel": macs,
        "clips": [],
    }
    for clip in args.clips:
        entry = measured(clip, args.codec, args.k, args.repeats)
        for way in ("encode", "decode"):
            work = macs[way] * entry["width"] * entry["height"] * entry[f"{way}_fps"] * 1e-6
            entry[f"{way}_share_of_peak"] = round(work / peaks[f"{cores} threads"], 3)
        report["clips"].append(entry)
        print(json.dumps(entry))
    if args.codec == "qae":
        report["networks"] = networks()
        print(json.dumps(report["networks"]))
    if args.output:
        args.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    else:
        print(json.dumps(peaks))


def measured(clip: Path, codec: str, k: int, repeats: int) -> dict[str, Any]:
    """Medians of encoding and decoding one clip."""
    runs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="vcodec-bench-") as folder:
        coded, shown = Path(folder) / "a.vae", Path(folder) / "a.mp4"
        for _ in range(repeats):
            said = command("encode", "-f", clip, "-o", coded, "--codec", codec, "--k", str(k), "--json")
            heard = command("decode", "-f", coded, "-o", shown, "--json")
            now = {
                "encode_fps": said["encode_fps"],
                "decode_fps": heard["decode_fps"],
                "encode_peak_rss_mb": said["peak_rss_bytes"] / 1e6,
                "decode_peak_rss_mb": heard["peak_rss_bytes"] / 1e6,
            }
            for name, value in now.items():
                runs.setdefault(name, []).append(value)
    facts = {"clip": clip.name, "width": said["width"], "height": said["height"], "frames": said["frames"]}
    return facts | {name: round(statistics.median(values), 1) for name, values in runs.items()}


def command(*arguments: str | Path) -> dict[str, Any]:
    """What `vcodec ARGUMENTS` prints."""
    words = [sys.executable, "-m", "vcodec", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def peak(threads: int) -> float:
    """Multiply-accumulates a second, in thousand millions."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    layer = torch.nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(1, 128, 60, 107).to(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(12):
            start = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return 128 * 128 * 9 * 60 * 107 / min(times) * 1e-9


def networks(height: int = 480, width: int = 864, repeats: int = 7) -> dict[str, dict[str, float]]:
    """Of each network of decoding: multiply-accumulates a second, in thousand millions, and share of what the
    processor does at most."""
    backbone = load_codec("qae").backbone
    names = ("loop_filter", "refine", "synthesis", "analysis")
    nets: dict[str, Stack] = {name: getattr(backbone, name) for name in names}
    pictures = Pictures.of(getattr(backbone, "inverse_basis"), *nets.values())  # noqa: B009
    rng = np.random.default_rng(0)
    planes = (
        rng.integers(0, 255 * 32, (height, width), np.int16),
        rng.integers(0, 255 * 32, (2, height // 2, width // 2), np.int16),
    )
    added = rng.integers(-300, 300, (height // 8, width // 8, 96), np.int16)
    busy = np.ones(added.shape[:2], np.bool_)
    offset = torch.zeros(nets["refine"].offset.table.shape[-1])
    runs = {
        "loop_filter": lambda: drawing.draw(planes, (added, busy), pictures.rows, grey=False),
        "refine": lambda: keydrawing.refined(planes, *pictures.refine.loops(offset)),
        "synthesis": lambda: keydrawing.bent(planes, added, *pictures.synthesis.loops(offset)),
    }
    pairs, positions = peak_of_pairs(), height // 8 * width // 8
    most = {"loop_filter": pairs} | dict.fromkeys(("refine", "synthesis"), peak_of_tiles() if tiles.HERE else pairs)
    out = {}
    for name, run in runs.items():
        work = positions * nets[name].macs() * (16 if name == "loop_filter" else 1)
        run()  # which compiles it
        speed, peak_speed = work / quickest(run, repeats) * 1e-9, most[name]
        out[name] = {
            "gmac_s": round(speed, 1),
            "gmac_s_peak": round(peak_speed, 1),
            "share_of_peak": round(speed / peak_speed, 3),
        }
    return out


@njit
def _multiplied(
    x: npt.NDArray[np.int32], weights: npt.NDArray[np.int32], out: npt.NDArray[np.int32], turns: int
) -> None:
    total = lanes.zeros(6)
    for _ in range(turns):
        for i in range(8):
            total = lanes.add_pairs(total, x, 64 * i, weights, 6 * i)
    lanes.keep(total, out)


def peak_of_pairs() -> float:
    """The same of 16-bit integers that never leave the nearest cache."""
    count = lanes.ACROSS * lanes.SIZE
    x, weights, out = (np.ones(n, np.int32) for n in (8 * 64 + count, 6 * 8, 6 * count))
    _multiplied(x, weights, out, 1)
    turns = 20_000
    return turns * 8 * 6 * count * 2 / quickest(lambda: _multiplied(x, weights, out, turns), 7) * 1e-9


@njit
def _in_tiles(
    high: npt.NDArray[np.uint8], low: npt.NDArray[np.uint8], weights: npt.NDArray[np.uint8], turns: int
) -> None:
    tiles.begin(tiles.SHAPES)
    for _ in range(turns):
        tiles.add(high, low, 0, tiles.DEEP, weights, 0)
    tiles.end()


def peak_of_tiles() -> float:
    """The same by tiles, on CPUs that have them."""
    high, low, weights = tiles.room(tiles.BLOCK), tiles.room(tiles.BLOCK), tiles.room(2 * tiles.BLOCK)
    _in_tiles(high, low, weights, 1)
    turns = 100_000
    return turns * tiles.SIDE**2 * tiles.DEEP / quickest(lambda: _in_tiles(high, low, weights, turns), 7) * 1e-9


def quickest(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
