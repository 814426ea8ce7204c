"""Encode and decode every video of a folder, and compare what comes out with what went in.

    python examples/check_footage.py FOLDER [--k 32] [--threads N] [--match NAME]

For each clip: frame count, size, frame rate, colour tags, sample aspect and sound packets of the decoded .mkv against
the source's; size and quality of the file; frames per second with reading and writing.  Exit code 1 if any differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import vcodec
from vcodec import media
from vcodec.evaluation import evaluate

FIELDS = ("width", "height", "fps", "sar", "rotation", "color_range", "color_primaries", "color_trc", "color_space")


def facts(path: Path) -> tuple[dict[str, object], list[bytes]]:
    """What must survive: the fields and the number of frames, and the bytes of the sound packets."""
    with media.open_video(path) as reader:
        frames, sound = 0, []
        for item in reader:
            if isinstance(item, media.Frame):
                frames += 1
            else:
                sound.append(item.data)
        return {name: getattr(reader.info, name) for name in FIELDS} | {"frames": frames}, sound


def main() -> int:
    """Check a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--match", default="")
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(p for p in args.folder.iterdir() if args.match in p.name):
            coded, back = Path(folder) / "x.vae", Path(folder) / "x.mkv"
            made = vcodec.encode(path, coded, k=args.k, overwrite=True, threads=args.threads)
            decoded = vcodec.decode(coded, back, overwrite=True, threads=args.threads)
            (want, sound), (got, sound_back) = facts(path), facts(back)
            differ = [f"{n}: {want[n]} -> {got[n]}" for n in want if want[n] != got[n]]
            differ += ["sound packets"] if sound != sound_back else []
            wrong += bool(differ)
            quality, _ = evaluate(path, back, ssim=False)
            print(
                f"{path.name:28} {got['width']}x{got['height']} {got['frames']:5} frames  {made['bpp']:.4f} bpp  "
                f"{quality['psnr_y']:.2f} dB  enc {made['encode_fps']:.1f}  dec {decoded['decode_fps']:.1f} fps  "
                f"{'; '.join(differ) or 'as the source'}",
                flush=True,
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
