"""Command: what an accelerator does with everything here, in ten minutes: a GPU, a TPU, or (`--small`) a CPU.

python -m experiments.accelerator [--seconds=600] [--small] [--only=equality,speed] [--output=rows.jsonl]

In this order, each part in a process of its own under a limit of time: features, losses, gradients and scores beside
the CPU's, in double, full and the device's own precision; steps per second of every pipeline and the memory they take,
beside PyTorch's where it is installed and sees the same device; the detector of pictures; Table I (`quick`) with the
models of all ten classes stacked by `vmap`, where CIFAR-10 is prepared; the widest batch that fits. What the time does
not allow is left out, and named. Rows go to experiments/results/accelerator.jsonl as they are known, with device and
versions; a table is printed.

The sizes of `--small` show that the command works and say nothing of speed.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import rows
from experiments.markdown import header, line

ROWS = Path(__file__).parent / "results" / "accelerator.jsonl"
LEAST = 20  # seconds: with fewer left no part is begun


@dataclass(frozen=True)
class Part:
    """`name` as `accelerator_parts.measure` takes it, after how many seconds it is stopped, and whether it is timed.

    Neighbours that are not timed are started together.
    """

    name: str
    seconds: float
    timed: bool = True


PARTS = (
    *(Part(f"equality/{name}", 120, timed=False) for name in ("lenet", "resnet", "video")),
    *(Part(f"speed/cifar10-{name}", 45) for name in ("autoencoder", "encoder")),
    *(Part(f"speed/mvtec128-{name}", 60) for name in ("autoencoder", "encoder", "scoring")),
    Part("speed/mvtec64-encoder", 60),
    *(Part(f"speed/{name}", 75) for name in ("video", "video-scoring", "video-full")),
    *(Part(f"speed/{name}-bfloat16", 60) for name in ("mvtec128-encoder", "video-full")),
    Part("detector", 90),
    Part("table1", 240),
    *(Part(f"widest/{name}", 60) for name in ("mvtec128-encoder", "cifar10-autoencoder", "video")),
)


def main(arguments: list[str] | None = None) -> None:
    """Runs the parts and prints their table; as a worker, one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="", help="beginnings of parts' names")
    parser.add_argument("--output", type=Path, default=ROWS)
    parser.add_argument("--worker", nargs=2, metavar=("PART", "RUN"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(*options.worker, options.small, options.output)
        return
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    chosen = [part for part in PARTS if part.name.startswith(tuple(options.only.split(",")))]
    command = [sys.executable, "-m", "experiments.accelerator", f"--output={options.output}"]
    command += ["--small"] if options.small else []

    def start(part: Part, limit: float) -> str:
        return run([*command, "--worker", part.name, began], limit)

    for said in run_all(chosen, options.seconds, start):
        print(said, flush=True)
    print("\n".join(["", *table([row for row in rows.read(options.output) if row["run"] == began])]))


def run_all(parts: Sequence[Part], seconds: float, start: Callable[[Part, float], str]) -> Iterator[str]:
    """Starts the parts as long as time is left, those that are timed one after the other; yields a line about each.

    `start(part, limit)` runs a part, for `limit` seconds at most, and says what went wrong, or "".
    """
    end = time.monotonic() + seconds

    def done(part: Part, left: float) -> str:
        began = time.monotonic()
        wrong = start(part, min(part.seconds, left))
        return f"{part.name}: {wrong or 'done'}, {time.monotonic() - began:.0f} s"

    for _, group in itertools.groupby(parts, lambda part: part.name if part.timed else ""):
        together = list(group)
        left = end - time.monotonic()
        if left < LEAST:
            yield from (f"{of.name}: left out, {max(left, 0):.0f} s are left of {seconds:.0f}" for of in together)
            continue
        with ThreadPoolExecutor(len(together)) as pool:
            yield from pool.map(done, together, [left] * len(together))


def run(command: list[str], limit: float) -> str:
    """A worker; what it had measured when it was stopped is kept."""
    # PyTorch needs memory too, and a worker's is whole again when it ends.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    said = done.stderr.strip().splitlines()
    return f"failed: {said[-1] if said else done.returncode}" if done.returncode else ""


def work(part: str, began: str, small: bool, output: Path) -> None:
    """Measures one part in this process; rows are written as they are known."""
    from experiments import accelerator_parts
    from mocca_jax.data import cache
    from mocca_jax.training import parallel

    parallel.configure(0, str(cache.root() / "xla"))
    accelerator_parts.measure(part, small, emitter(part, began, small, output))


def emitter(part: str, began: str, small: bool, output: Path) -> Callable[..., None]:
    """A function that writes the values it is given as a row, with their circumstances."""
    from importlib import metadata

    from experiments.bench import interleaved
    from mocca_jax.outputs import results

    installed = {of.name for of in metadata.distributions()}
    about = results.circumstances()
    about["packages"] |= {name: metadata.version(name) for name in interleaved.PACKAGES if name in installed}
    count = 0

    def emit(**values: Any) -> None:
        nonlocal count
        name = f"{part} {count} of {began} on {about['device']['kind']}"
        rows.append(output, {"config_hash": name, "part": part, "run": began, "small": small, "values": values} | about)
        count += 1

    return emit


def table(found: list[dict[str, Any]]) -> list[str]:
    """The rows, each with its values."""
    if not found:
        return ["No rows."]
    device = found[0]["device"]
    small = "; small sizes, which say nothing of speed" if found[0]["small"] else ""
    about = f"{device['devices']} {device['kind']}; {_versions(found[0])}; commit {found[0]['commit']}{small}."
    return [about, "", *_as_found(found)]


def recorded(found: list[dict[str, Any]]) -> list[str]:
    """What is recorded of whole sizes: of each part the newest rows, steps beside PyTorch's, and the rest as it is."""
    newest = {row["part"]: row["run"] for row in sorted(found, key=lambda row: row["run"]) if not row["small"]}
    rest = [row for row in found if row["run"] == newest.get(row["part"])]
    timed = {row["part"].removeprefix("speed/"): row["values"] for row in rest if row["part"].startswith("speed/")}
    units = [
        "steps per second, ours",
        "PyTorch",
        "times PyTorch's",
        "megabytes, ours",
        "PyTorch",
        "first step, seconds",
    ]
    lines = header(["program", "batch", *units])
    for name, values in timed.items():
        figures = [values.get(of) for of in ("ours_steps_per_second", "torch_steps_per_second")]
        cells = [f"{of:.0f}" if of else "" for of in figures]
        cells.append(f"{values['ratio']:.2f}" if "ratio" in values else "")
        cells += [f"{values[of]:.0f}" if of in values else "" for of in ("ours_megabytes", "torch_megabytes")]
        sides = "x".join(map(str, values["shape"]))
        lines.append(line([f"{name}, {sides}", str(values["batch"]), *cells, f"{values['first_step_seconds']:.0f}"]))
    lines += ["", *_as_found([row for row in rest if not row["part"].startswith("speed/")])]
    kinds = sorted({f"{row['device']['devices']} {row['device']['kind']}" for row in rest})
    versions = sorted(set(map(_versions, rest)))
    commits = sorted({str(row["commit"]) for row in rest})
    return [*lines, "", f"{'; '.join(kinds)}; {'; '.join(versions)}; commits {', '.join(commits)}."]


def _versions(row: dict[str, Any]) -> str:
    packages = row["packages"]
    return ", ".join(f"{name} {packages[name]}" for name in ("jax", "flax", "torch") if name in packages)


def _as_found(found: list[dict[str, Any]]) -> list[str]:
    """A line for each row, with all its values."""
    shown = [line([row["part"], ", ".join(map(_shown, row["values"].items()))]) for row in found]
    return [*header(["part", "found"]), *shown]


def _shown(item: tuple[str, Any]) -> str:
    name, value = item
    if isinstance(value, dict):
        return f"{name}: " + ", ".join(map(_shown, value.items()))
    words = name.replace("_", " ")
    return f"{words} {value:.3g}" if isinstance(value, float) else f"{words} {value}"


if __name__ == "__main__":
    main()
