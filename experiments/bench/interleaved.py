"""Timing of variants against each other: each in a process of its own that is awake only in its turn.

A benchmark is a module with `main()`, which calls `compare`, and `work(task)`, which gives the step to time; its
`main` hands `--worker=<task>` to `serve`.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata

from mocca_jax.console import pages

STEPS = 3
PACKAGES = ("jax", "jaxlib", "flax", "torch", "timm", "anomalib")


def circumstances(**more: object) -> str:
    """Device, cores and versions, one line of JSON."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    installed = {of.name for of in metadata.distributions()}
    versions = {name: metadata.version(name) for name in PACKAGES if name in installed}
    return json.dumps({"device": names[0] if names else "cpu", "cores": os.cpu_count(), **more, **versions})


def compare(module: str, task: str, variants: Sequence[str], rounds: int, units: int) -> None:
    """Prints a table of milliseconds per step, medians over rounds of the median of `STEPS` steps.

    Args:
        module: the benchmark's name, as for `python -m`.
        task: what each variant is to do; a worker is told `<task>/<variant>`.
        variants: of these, those whose names begin with "torch" are what the others are divided by.
        rounds: turns of each variant.
        units: images of a step, or clips.
    """
    workers = {name: _ready(module, f"{task}/{name}") for name in variants}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    try:
        for _ in range(rounds):
            for name, worker in workers.items():
                seconds[name].append(float(ask(worker, "go")))
    finally:
        for worker in workers.values():
            worker.stdin.close()  # it ends by itself
        for worker in workers.values():
            worker.wait()
    _report(task, seconds, units)


def serve(step: Callable[[], Callable[[], object]]) -> None:
    """The worker's side: makes the step and runs it once, then times it at every line on standard input."""
    began = time.perf_counter()
    call = step()
    call()
    print(time.perf_counter() - began, flush=True)
    for _ in sys.stdin:
        print(statistics.median(timed(call, STEPS)), flush=True)


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of some calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def start(module: str, worker: str) -> subprocess.Popen:
    """A worker. It has large pages of memory where its name says so, or "ours": our commands give themselves some."""
    command = [sys.executable, "-m", module, f"--worker={worker}"]
    large = "large pages" in worker or "ours" in worker
    environment = os.environ | (pages.environment() if large else {})
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(worker: subprocess.Popen, what: str) -> str:
    """A worker's answer, one line."""
    worker.stdin.write(f"{what}\n")
    worker.stdin.flush()
    return worker.stdout.readline()


def peak_memory() -> int:
    """The most bytes that this process ever held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ready(module: str, worker: str) -> subprocess.Popen:
    """A worker that has compiled and run once; its line says how long that took."""
    process = start(module, worker)
    print(f"{worker}: ready after {float(process.stdout.readline()):.1f} s (imports, compilation, one step)")
    return process


def _report(task: str, seconds: dict[str, list[float]], units: int) -> None:
    medians = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    bases = [name for name in seconds if name.startswith("torch")]
    heads = "".join(f" / {name} |" for name in bases)
    print(f"\n{task}: ms per step\n| variant | median | min | max | units per second |{heads}")
    print("|---" * (5 + len(bases)) + "|")
    for name, values in seconds.items():
        ratios = "".join(f" {medians[name] / medians[base]:.2f} |" for base in bases)
        span = f"{medians[name]:.0f} | {1e3 * min(values):.0f} | {1e3 * max(values):.0f}"
        print(f"| {name} | {span} | {1e3 * units / medians[name]:.1f} |{ratios}")
    print(flush=True)
