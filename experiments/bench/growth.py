"""Command: what grows with the number of images, their side, and the number of layers, and how fast.

python -m experiments.bench.growth [--most=1000000]

Images are generated, 32x32x3 uint8 in a memory-mapped file, as the cache of decoded images is. Per number of images:
one epoch of batches without the network (order, reading, padding), threshold and p-values (a tenth held out), AUC, the
table of scores, and this process's own memory at the end, less what it had before (mapped pages, which the system takes
back when it needs them, not counted). The last column is the slope of the whole time on log-log axes between this row
and the one above: 1 is linear. The network's part is linear by construction: steps of one size.
"""

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.bench.interleaved import timed

SIDES = (32, 64, 128, 256)
LAYERS = ((6,), (5, 6), (4, 5, 6), (3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6))
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000)
    options = parser.parse_args()
    numbers = [10**power for power in range(3, 10) if 10**power <= options.most]
    of_images(numbers)
    of_networks()


def of_images(numbers: list[int]) -> None:
    """Everything that a run does once for each image on the host."""
    print("| images | batches, s | threshold, p-values, s | AUC, s | scores.csv, s | memory, MB | slope |")
    print("|" + "---|" * 7)
    measured(numbers[0])  # loads the libraries
    last: tuple[int, float] | None = None
    for number in numbers:
        times, grown = measured(number)
        whole = sum(times)
        slope = f"{math.log(whole / last[1]) / math.log(number / last[0]):.2f}" if last else ""
        cells = " | ".join(f"{seconds:.2f}" for seconds in times)
        print(f"| {number:,} | {cells} | {grown:.0f} | {slope} |", flush=True)
        last = number, whole


def measured(number: int) -> tuple[list[float], float]:
    """The seconds of the parts, and the megabytes of this process's own that they left behind."""
    with tempfile.TemporaryDirectory() as folder:
        images = generated(Path(folder) / "images.npy", number)
        before = own_memory()
        times = [timed(call, 1)[0] for call in of_number(images, number, Path(folder))]
        return times, own_memory() - before


def generated(path: Path, number: int) -> np.ndarray:
    shape = (number, 32, 32, 3)
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    block = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), np.uint8)
    for start in range(0, number, 1000):
        images[start : start + 1000] = block
    images.flush()
    return np.load(path, mmap_mode="r")


def of_number(images: np.ndarray, number: int, folder: Path) -> list[Callable[[], object]]:
    """The parts, in the order of the columns."""
    from mocca_jax.data import Split, batching
    from mocca_jax.method import metrics, threshold
    from mocca_jax.outputs import results
    from mocca_jax.scoring import evaluate

    rng = np.random.default_rng(0)
    labels, scores = np.arange(number) % 2, rng.random(number, np.float32)
    split = Split(images, labels, [f"test/{i:08d}.png" for i in range(number)])
    heldout = rng.random(max(number // 10, 20), np.float32)

    def batches() -> None:
        order = batching.epoch_order(number, 0, 0, 0)
        for batch in batching.batches(split, order, 256, 256):
            batch.image[0, 0, 0, 0] += 0

    def decisions() -> None:
        threshold.conformal_threshold(heldout, 0.05)
        threshold.p_values(scores, heldout)

    found = evaluate.Scores(scores, {"layer0": scores})
    return [
        batches,
        decisions,
        lambda: metrics.evaluate(labels, scores),
        lambda: results.write_scores(folder / "scores.csv", split, found, heldout),
    ]


def of_networks() -> None:
    """Milliseconds of a one-class step of MVTec AD's network."""
    from experiments.bench import ours
    from mocca_jax.configs import mvtec
    from mocca_jax.data import cache
    from mocca_jax.training import parallel

    parallel.configure(0, str(cache.root() / "xla"))
    config, rng = mvtec.get_config("bottle"), np.random.default_rng(0)

    def step_time(side: int, layers: tuple[int, ...], batch: int) -> float:
        step = ours.make(config, rng.random((batch, side, side, 3), np.float32), "one_class", layers)
        step()
        return 1e3 * min(timed(step, ROUNDS))

    print("\n| side, batch 8, layers 4,5,6 | ms per image | per pixel, compared with 32 |\n|---|---|---|")
    times = {side: step_time(side, (4, 5, 6), 8) / 8 for side in SIDES}
    for side, milliseconds in times.items():
        relative = milliseconds / times[SIDES[0]] * (SIDES[0] / side) ** 2
        print(f"| {side} | {milliseconds:.1f} | {relative:.2f} |", flush=True)
    print("\n| layers, 64x64, batch 32 | ms per step |\n|---|---|")
    for layers in LAYERS:
        print(f"| {','.join(map(str, layers))} | {step_time(64, layers, 32):.0f} |", flush=True)


def own_memory() -> float:
    """Megabytes that belong to this process alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(found.split()[1]) for found in lines if found.startswith("RssAnon")) / 1000


if __name__ == "__main__":
    main()
