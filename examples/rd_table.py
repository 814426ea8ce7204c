"""BD-rate of a codec against x264 `veryfast -tune zerolatency`, clip by clip.

    python examples/rd_table.py FOLDER [--k 8,20,50,128] [--crf 20,...] [--frames N] [--large-frames N] [--json OUT]

Rate is the whole .vae file without sound against x264's raw stream; quality is psnr_yuv (6:1:1) of the decoded 8-bit
frames; GOPs of 128 frames at most on both sides, each codec's own scene cuts.  Clips below 10 frames are left out.
--large-frames limits clips above 500,000 samples a frame.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import bjontegaard
import numpy as np

import vcodec
from vcodec import media
from vcodec.evaluation import evaluate
from vcodec.metrics import Meter

GOP = 128


def x264(path: Path, frames: int, crf: int) -> dict[str, float]:
    """Rate and quality of x264 on the first frames of a clip."""
    out = io.BytesIO()
    with media.open_video(path, audio=False) as reader, av.open(out, "w", format="h264") as container:
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(crf), "g": str(GOP)}
        stream = container.add_stream("libx264", rate=Fraction(25), options=options)
        info = reader.info
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, "yuv420p"
        source = [frame.planes for _, frame in zip(range(frames), reader.frames())]
        for i, planes in enumerate(source):
            picture = av.VideoFrame(info.width, info.height, "yuv420p")
            for plane, data in zip(picture.planes, planes):
                wide = np.zeros((data.shape[0], plane.line_size), np.uint8)
                wide[:, : data.shape[1]] = data
                plane.update(wide.tobytes())
            picture.pts = i
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    size = len(out.getvalue())
    out.seek(0)
    meter = Meter(ssim=False)
    with media.open_video(out, audio=False) as reader:
        for want, got in zip(source, reader.frames()):
            meter.add(want, got.planes)
        return {"crf": crf, "bpp": 8 * size / (len(source) * info.width * info.height)} | meter.result()


def ours(path: Path, seconds: float | None, k: int, folder: Path) -> dict[str, Any]:
    """Rate and quality of the default codec on the same frames."""
    coded = folder / "x.vae"
    cut = folder / "cut.mkv"
    source = path
    if seconds is not None:
        source = cut
    made = vcodec.encode(source, coded, k=k, gop=GOP, audio=False, overwrite=True)
    report, _ = evaluate(source, coded, ssim=False)
    return {"k": k, "bpp": made["bpp"], "encode_fps": made["encode_fps"]} | report


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--k", default="8,20,50,128")
    parser.add_argument("--crf", default="16,22,28,34,40,46")
    parser.add_argument("--frames", type=int, default=10**6)
    parser.add_argument("--large-frames", type=int, default=10**6)
    parser.add_argument("--match", default="")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rates: list[float] = []
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in sorted(p for p in args.folder.iterdir() if args.match in p.name):
            with media.open_video(path, audio=False) as reader:
                info = reader.info
                limit = args.large_frames if info.width * info.height > 500_000 else args.frames
                count, whole = 0, True
                with media.create_video(folder / "cut.mkv", info, overwrite=True) as writer:
                    for frame in reader.frames():
                        if count == limit:
                            whole = False
                            break
                        writer.write(frame)
                        count += 1
            if count < 10:
                continue
            points = [ours(path, None if whole else 1.0, int(k), folder) for k in args.k.split(",")]
            anchor = [x264(path, count, int(crf)) for crf in args.crf.split(",")]
            table[path.name] = {"frames": count, "vcodec": points, "x264": anchor}
            anchor.sort(key=lambda p: p["bpp"])
            a, b = ([[p[x] for p in c] for x in ("bpp", "psnr_yuv")] for c in (anchor, points))
            try:
                rate = bjontegaard.bd_rate(*a, *b, method="pchip", require_matching_points=False, min_overlap=0)
            except (AssertionError, ValueError) as error:
                print(f"{path.name:28} {count:5} frames  no BD-rate: {error}", flush=True)
                continue
            rates.append(float(rate))
            table[path.name]["bd_rate"] = float(rate)
            top, bottom = min(a[1][-1], b[1][-1]), max(a[1][0], b[1][0])
            table[path.name]["overlap_db"] = [bottom, top]
            spans = f"{b[0][0]:.3f}-{b[0][-1]:.3f} bpp {b[1][0]:.1f}-{b[1][-1]:.1f} dB"
            print(f"{path.name:28} {count:5} frames  {rate:+7.1f} %  {spans}", flush=True)
    print(f"mean of {len(rates)} clips: {np.mean(rates):+.1f} %")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1), "utf-8")


if __name__ == "__main__":
    main()
