"""Train the weights that are bundled, and write their entry of MODELS.json.

    python examples/train_release.py FOOTAGE [--codec qae] [--recipe FILE] [--minutes 60] [--threads 1] [--resume]

FOOTAGE is a folder of videos; every ninth is held back.  The checkpoint goes to vcodec/weights.  The fourth and
fifth releases of qae went on from the one before with --recipe examples/qae_release.toml, the sixth with
examples/train_keyframes.py; without --recipe training starts from nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vcodec.checkpoint import bundled_path
from vcodec.training import run


def main() -> None:
    """Train and describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--codec", default="qae")
    parser.add_argument("--recipe")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    path = bundled_path(args.codec)
    made = run(
        [args.footage],
        path,
        codec=args.codec,
        recipe=args.recipe or ("qae" if args.codec == "qae" else None),
        minutes=args.minutes,
        threads=args.threads,
        resume=args.resume,
    )
    log = path.with_name(path.name + ".run") / "log.csv"
    heads, *rows = (line.split(",") for line in log.read_text("utf-8").splitlines())
    entry = {
        "file": path.name,
        "codec": args.codec,
        "sha256": made["sha256"],
        "data": f"{args.footage.name}/: {made['clips']} clips, every ninth held back",
        "script": "examples/train_release.py",
        "steps": made["steps"],
        "minutes": made["minutes"],
        "recipe": made["recipe"],
        "validation": made["validation"],
        "curve": [dict(zip(heads[:4], map(float, row[:4]))) for row in rows],
    }
    models = path.parent / "MODELS.json"
    kept = json.loads(models.read_text("utf-8")) if models.exists() else []
    entries = [e for e in kept if e["file"] != path.name] + [entry]
    models.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
