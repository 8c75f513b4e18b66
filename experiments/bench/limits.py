"""Command: how far our steps are from the machine's ceiling, and what takes the time.

python -m experiments.bench.limits [--only=...]

Operations are those of the readable formulation, so a rewrite that saves some counts as speed. The shares are of the
devices' own time in a trace of two steps, by the kind of XLA's operations: products (convolutions and matrix products,
with what is fused into them), copies (transposed or padded arrays), waiting (for the other devices, to add up), and all
else (batch-norm, activations, pooling, the optimiser).
"""

import argparse
import collections
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments.bench import interleaved

TASKS = ("cifar10 auto-encoder", "cifar10 encoder", "mvtec 64", "mvtec 128", "video 8x64x96")
KINDS = {  # beginnings of the names of XLA's operations
    "products": ("ynn_fusion", "xnn_fusion", "onednn", "convolution", "conv", "dot"),
    "copies": ("transpose", "copy", "pad", "concatenate", "slice", "dynamic"),
    "waiting": ("Rendezvous", "Wait", "all-reduce", "all-gather"),
}
NESTED = ("ThunkExecutor",)  # they contain the others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TASKS)
    parser.add_argument("--worker", choices=TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measured(options.worker)))
        return
    print("| step | GFLOP | ms | GFLOP/s | products | copies | waiting | all else |\n" + "|---" * 8 + "|")
    for task in [options.only] if options.only else TASKS:
        command = [sys.executable, "-m", "experiments.bench.limits", f"--worker={task}"]
        row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        shares = " | ".join(f"{row['shares'][kind]:.0%}" for kind in (*KINDS, "all else"))
        rate = row["operations"] / row["seconds"] / 1e9
        print(
            f"| {task} | {row['operations'] / 1e9:.1f} | {1e3 * row['seconds']:.0f} | {rate:.0f} | {shares} |",
            flush=True,
        )


def measured(task: str) -> dict:
    """Operations, median seconds and shares of time of a step."""
    from experiments.bench import ours
    from mocca_jax.training import parallel

    parallel.configure(0, None)
    config, batch, stage, layers = work(task)
    step = ours.make(config, batch, stage, layers)
    step()
    times = interleaved.timed(step, 7)
    shares = traced(step)
    operations = ours.operations(config, batch, stage, layers)
    return {"operations": operations, "seconds": statistics.median(times), "shares": shares}


def work(task: str):
    """Config, batch, stage and layers."""
    from mocca_jax.configs import cifar10, mvtec, video

    rng = np.random.default_rng(0)
    if task.startswith("cifar10"):
        config = cifar10.get_config()
        stage = "reconstruction" if "auto" in task else "one_class"
        return config, rng.random((256, 32, 32, 3), np.float32), stage, config.layers
    if task.startswith("mvtec"):
        side = int(task.split()[1])
        return mvtec.get_config("bottle"), rng.random((32, side, side, 3), np.float32), "one_class", (4, 5, 6)
    config = video.get_config("ped2")
    return config, rng.random((config.batch_size, 8, 64, 96, 1), np.float32), "joint", config.layers


def traced(step) -> dict[str, float]:
    """The share of each kind of operation in two steps."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            step()
            step()
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        ours = threads.get((event.get("pid"), event.get("tid")), "").startswith("tf_XLAEigen")
        if event.get("ph") == "X" and ours and not event["name"].startswith(NESTED):
            spent[kind(event["name"])] += event["dur"]
    return {name: spent[name] / spent.total() for name in (*KINDS, "all else")}


def kind(name: str) -> str:
    return next((kind for kind, begins in KINDS.items() if name.startswith(begins)), "all else")


if __name__ == "__main__":
    main()
