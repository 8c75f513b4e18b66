"""Memory and time of cutting clips from a very large frame store.

python -m experiments.bench.frame_store [--frames=270000] [--batches=200]

The store is a sparse file: it takes no room on disk. Reported are the process's own (anonymous) memory and its peak
with mapped pages, which the system takes back when it needs them.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from mocca_jax.data import clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=270_000)
    parser.add_argument("--batches", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="frame-store-") as folder:
        path = Path(folder) / "frames.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (options.frames, 256, 512, 3)).flush()
        print(f"before: {memory()}")
        began = time.monotonic()
        store = np.load(path, mmap_mode="r")
        split = clips.training_clips(store, [clips.Video("v", 0, len(store))], 16, 1, 0)
        print(
            f"{store.nbytes / 1e9:.0f} GB addressed, {len(split)} clips, {time.monotonic() - began:.2f} s: {memory()}"
        )
        rng = np.random.default_rng(0)
        began = time.monotonic()
        for _ in range(options.batches):
            split.images[rng.integers(0, len(split), 4)]
        seconds = (time.monotonic() - began) / options.batches
        print(f"{options.batches} batches of 4 clips, {1000 * seconds:.0f} ms each: {memory()}")


def memory() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"own {own / 1024:.0f} MB, peak with mapped pages {peak / 1024:.0f} MB"


if __name__ == "__main__":
    main()
