"""Windows a second of a LatentDataset: python examples/measure_latents.py FOLDER [--workers 2] [--window 5]."""

from __future__ import annotations

import argparse
import time

import torch

from vcodec import LatentDataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = LatentDataset(args.folder, args.window, weights=args.weights)
    loader = torch.utils.data.DataLoader(data, 8, shuffle=True, num_workers=args.workers)
    for _ in range(2):
        began, first, count = time.perf_counter(), None, 0
        for batch in loader:
            count += len(batch)
            first = first or (time.perf_counter(), count)
        seconds = time.perf_counter() - first[0]
        print(
            f"{tuple(batch.shape[1:])}: {(count - first[1]) / seconds:.0f} windows/s after the first batch, "
            f"{count} in {time.perf_counter() - began:.2f} s with the workers' start"
        )


if __name__ == "__main__":
    main()
