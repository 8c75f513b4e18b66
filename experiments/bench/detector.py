"""Latency and throughput of a detector through its Python API, on one core and on all.

python -m experiments.bench.detector [--run=runs/bottle] [--rounds=200]

Without a run, one of MVTec AD's bottle is made first, an epoch a stage; `MOCCA_DATA_DIR` says where the data is.

One picture at a time: an array of the network's size, a PNG file; PyTorch on the same network beside it, for the
residual encoder at 128x128. Many at once: the API against the bare compiled network on a batch that lies ready.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from experiments.bench import interleaved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cores:
        measure(options.run, options.rounds, options.cores)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or trained(Path(folder) / "run")
        print(interleaved.circumstances(), flush=True)
        for cores in (1, os.cpu_count()):
            command = [sys.executable, "-m", "experiments.bench.detector", f"--run={run}"]
            subprocess.run([*command, f"--rounds={options.rounds}", f"--cores={cores}"], check=True)


def trained(workdir: Path) -> Path:
    """A run of one epoch a stage; what it learns does not matter here."""
    flags = [f"--config.{stage}.epochs=1" for stage in ("reconstruction", "one_class")]
    command = [sys.executable, "-m", "mocca_jax.main", "--config=configs/mvtec.py:bottle,quick", "--config.maps=()"]
    subprocess.run([*command, *flags, f"--workdir={workdir}"], check=True, capture_output=True)
    return workdir


def measure(run: Path, rounds: int, cores: int) -> None:
    os.sched_setaffinity(0, set(range(cores)))
    import numpy as np
    from PIL import Image

    began = time.perf_counter()
    from mocca_jax import Detector
    from mocca_jax.data import cache
    from mocca_jax.training import parallel

    parallel.configure(0, str(cache.root() / "xla"))
    detector = Detector.load(run)
    loaded = time.perf_counter() - began
    pixels = detector.samples[0]
    detector.score(pixels)
    first = time.perf_counter() - began
    file = io.BytesIO()
    Image.fromarray(np.tile(pixels, (3, 3, 1))).save(file, "PNG")
    path = Path(tempfile.gettempdir(), f"bench-{os.getpid()}.png")
    path.write_bytes(file.getvalue())
    rows = {
        "array": median(lambda: detector.score(pixels), rounds),
        f"PNG of {3 * pixels.shape[0]}x{3 * pixels.shape[1]}": median(lambda: detector.score(path), rounds),
    }
    path.unlink()
    torch = torch_score(detector, cores)
    if torch:
        rows["PyTorch, tensor"] = median(torch, rounds)
    print(f"{cores} core(s): loaded {loaded:.1f} s after start, first score {first:.1f} s")
    print("\n| one picture | median ms | p95 ms |\n|---|---|---|")
    for name, (middle, late) in rows.items():
        print(f"| {name} | {1e3 * middle:.1f} | {1e3 * late:.1f} |")
    size = detector.config.batch_size
    batch = detector.samples[np.arange(8 * size) % len(detector.samples)]
    units = np.concatenate([detector.scorer.units_of(raw) for raw in batch[: 2 * size]])
    placed = parallel.shard((units[:size], np.ones(size, np.float32)), detector.scorer.mesh)

    def bare():
        import jax

        jax.block_until_ready(detector.scorer._score(detector.scorer.state, *placed))

    pair = [(median(bare, 5)[0] / size, median(lambda: detector.score(batch), 1)[0] / len(batch)) for _ in range(7)]
    per_unit, per_picture = (statistics.median(values) for values in zip(*pair, strict=True))
    per_picture /= len(units) / (2 * size)
    print(f"{json.dumps({'batch': size, 'pictures': len(batch)})}")
    print("\n| many | units per second | / bare |\n|---|---|---|")
    print(f"| bare compiled network | {1 / per_unit:.1f} | 1.00 |")
    print(f"| detector.score(array) | {1 / per_picture:.1f} | {per_unit / per_picture:.2f} |", flush=True)


def torch_score(detector, cores: int) -> Callable[[], object] | None:
    """PyTorch's answer to one picture on the same network, random weights; None for other networks."""
    if detector.config.encoder != "resnet" or detector.config.head != "selector" or not detector.config.layers:
        return None
    import torch

    from experiments.bench import torch_resnet

    torch.set_num_threads(cores)
    side, layers = detector.inputs.shape[0], tuple(detector.config.layers)
    encoder = torch_resnet.AutoEncoder(side, detector.config.code_size, layers).encoder.eval()
    image, centroids = torch.rand(1, 3, side, side), [torch.rand(128) for _ in layers]

    @torch.inference_mode()
    def score():
        _, features = encoder(image)
        return float(sum((f - c).square().sum(1) for f, c in zip(features, centroids, strict=True)) / len(layers))

    return score


def median(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Seconds: the median and the 95th percentile, after one call that is not counted."""
    call()
    times = interleaved.timed(call, rounds)
    return statistics.median(times), sorted(times)[int(0.95 * len(times))]


if __name__ == "__main__":
    main()
