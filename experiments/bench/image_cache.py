"""Memory and time of caching a large folder of images.

python -m experiments.bench.image_cache [--images=10000] [--side=1024] [--size=128]

Writes that many JPEG files (noise on a gradient, a few pictures under many names) into a temporary folder, decodes
them into a cache beside it, then draws batches at random from the cache. Peak memory is the process's own.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="image-cache-"))
    os.environ["MOCCA_CACHE_DIR"] = str(folder / "cache")
    from mocca_jax.data import images

    try:
        files = write(folder, options.images, options.side)
        before = peak()
        began = time.monotonic()
        pixels, _, _ = images.decoded("bench", files, options.size, "stretch", 0, skip=False)
        seconds = time.monotonic() - began
        print(
            f"cached {pixels.shape} in {seconds:.0f} s ({len(files) / seconds:.0f} images/s on {os.cpu_count()} cores)"
        )
        print(f"peak memory {before:.0f} MB before, {peak():.0f} MB after caching")
        rng = np.random.default_rng(0)
        began = time.monotonic()
        total = sum(int(pixels[np.sort(rng.integers(0, len(files), 32))].sum()) for _ in range(100))
        print(f"100 random batches of 32 in {time.monotonic() - began:.2f} s (sum {total}), peak {peak():.0f} MB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(folder: Path, count: int, side: int) -> list[Path]:
    """`count` JPEG files of `DISTINCT` pictures."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, side)[None, :, None]
    contents = []
    for index in range(min(count, DISTINCT)):
        path = folder / f"picture{index}.jpg"
        Image.fromarray((slope + rng.integers(0, 50, (side, side, 3))).astype(np.uint8)).save(path, quality=90)
        contents.append(path.read_bytes())
        path.unlink()
    files = [folder / f"{index:06d}.jpg" for index in range(count)]
    for index, path in enumerate(files):
        path.write_bytes(contents[index % len(contents)])
    return files


def peak() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
