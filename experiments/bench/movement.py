"""Unusual movement, from a film file to scores: frames per second by size, memory over a long film.

python -m experiments.bench.movement [--rounds=3] [--frames=300] [--long=100000]

Films are made up: a textured ground with squares that move. Beside the detector: reading the film alone, and OpenCV's
flow alone in one thread, which is what a script of one's own would run. The long film is the same frames over and over,
handed over one by one; resident memory is looked at every tenth of it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.bench import interleaved
from mocca_jax import Detector, pipeline
from mocca_jax.config import files
from mocca_jax.data import films, flow, footage
from mocca_jax.training import memory

SIZES = ((160, 240), (360, 640))
TRAINING, SQUARES = 120, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--long", type=int, default=100_000, help="frames of the long film; 0: none")
    options = parser.parse_args()
    print(interleaved.circumstances())
    print("| frames | what | frames per second | milliseconds a frame |\n|---|---|---|---|")
    for number, size in enumerate(SIZES):
        with tempfile.TemporaryDirectory() as folder:
            detector, film = trained(Path(folder), size), Path(folder) / "new.mp4"
            films.write(film, scene(options.frames, size, 9), 25)
            report(size, film, detector, options)
            if number == 0 and options.long:
                long(detector, size, options.long)


def trained(folder: Path, size: tuple[int, int]) -> Detector:
    """A run on four short films."""
    for number in range(4):
        films.write(folder / f"good/{number}.mp4", scene(TRAINING, size, number), 25)
    config = files.load("video")
    config.data_dir, config.planted = str(folder / "good"), ()
    pipeline.run(config, folder / "run")
    return Detector.load(folder / "run")


def scene(count: int, size: tuple[int, int], seed: int) -> Iterator[np.ndarray]:
    """Frames `[rows, columns, 3]` uint8 on one ground; the squares are the seed's."""
    ground = np.random.default_rng(0).integers(90, 140, (*size, 1)).repeat(3, -1).astype(np.uint8)
    rng = np.random.default_rng([1, seed])
    square = rng.integers(0, 255, (size[0] // 8, size[0] // 8, 1)).repeat(3, -1).astype(np.uint8)
    side, lanes = len(square), rng.permutation(size[0] - size[0] // 8)[:SQUARES]
    for frame in range(count):
        picture = ground.copy()
        for number, top in enumerate(lanes):
            left = (2 * frame + 37 * number) % (size[1] - side)
            picture[top : top + side, left : left + side] = square
        yield picture


def report(size: tuple[int, int], film: Path, detector: Detector, options: argparse.Namespace) -> None:
    """A row for each way, by turns."""
    ways: dict[str, Callable[[], int]] = {
        "read the film": lambda: sum(1 for _ in films.frames(film)),
        "read, OpenCV's flow in one thread": lambda: flow_alone(film, size),
        "Detector.score": lambda: len(detector.score(film)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    detector.score(film)
    for _ in range(options.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            assert way() == options.frames
            seconds[name].append(time.perf_counter() - began)
    for name, found in seconds.items():
        each = statistics.median(found) / options.frames
        print(f"| {size[1]}x{size[0]} | {name} | {1 / each:.0f} | {1000 * each:.2f} |")


def flow_alone(film: Path, size: tuple[int, int]) -> int:
    """Frames whose flow from the one before was computed."""
    before, count = None, 0
    for picture in films.frames(film):
        grey = flow.grey(picture, size)
        if before is not None:
            flow.dense(before, grey)
        before, count = grey, count + 1
    return count


def long(detector: Detector, size: tuple[int, int], count: int) -> None:
    """What the process holds while it judges a long film."""
    pictures = [Image.fromarray(picture) for picture in scene(50, size, 9)]
    frames = (footage.Frame(pictures[n % 50], n / 25, n == 0) for n in range(count))
    held, began = [], time.perf_counter()
    for moment in detector.moments(frames):
        if moment.frame % (count // 10) == count // 10 - 1:
            held.append(memory.resident() // 2**20)
    print(f"\n{count} frames in {time.perf_counter() - began:.0f} s; MB held at each tenth: {json.dumps(held)}")


if __name__ == "__main__":
    main()
