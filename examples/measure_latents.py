"""Windows a second of a LatentDataset: python examples/measure_latents.py FOLDER [--workers 2] [--window 5].

Beside the rate it prints how many cores the workers got: on a machine with other work that is less than their number.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from vcodec import LatentDataset


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--weights")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = LatentDataset(args.folder, args.window, weights=args.weights)
    for what in ("shuffled", "stream()") * args.repeats:
        stream = what == "stream()"
        loader = torch.utils.data.DataLoader(
            data.stream() if stream else data, 8, shuffle=None if stream else True, num_workers=args.workers
        )
        began, used = time.perf_counter(), cpu_seconds()
        count = sum(len(batch) for batch in loader)
        whole = time.perf_counter() - began
        print(
            f"{what:8s} {tuple(data[0].shape)}: {count / whole:.0f} windows/s; {count} in {whole:.2f} s, the workers' "
            f"start included, on {(cpu_seconds() - used) / whole:.2f} cores",
            flush=True,
        )


if __name__ == "__main__":
    main()
