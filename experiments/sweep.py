"""Command: the runs of one of the paper's tables; run it again to go on.

python -m experiments.sweep --table=1 --seeds=0 [--only=class=dog|cat,boundary=soft] [--workers=2] [--dry_run]

Tables: 1 (and 2): CIFAR-10, ten classes, soft and hard boundary, with the baselines on the same auto-encoders: Deep
SVDD (the last layer only) and DCAE (reconstruction error). 3 (4, 5): MVTec AD. 6: videos. 7: MVTec AD by layers. The
command `python -m experiments.tables` makes the tables from the rows.

A row of experiments/results/table<n>.jsonl is a finished run; it is whole or absent, and a configuration that has one
is not run again: a row that another table has of it is taken over. Runs that train the same auto-encoder form a group:
it is trained once and its checkpoint copied. Several workers, also ones started by hand on the same folder, take a
group each; each gets its share of the cores.
"""

import argparse
import fcntl
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import logging

from experiments import rows
from experiments.grids import FILES, TABLES, Job
from mocca_jax import config as configs
from mocca_jax import pipeline
from mocca_jax.console import pages
from mocca_jax.data import cache
from mocca_jax.files import whole
from mocca_jax.outputs import results
from mocca_jax.training import interrupts, log, parallel

RESULTS = Path(__file__).parent / "results"
KEPT = (
    "boundary",
    "layers",
    "seed",
    "metrics",
    "frames",
    "made_up_defects",
    "planted",
    "threshold",
    "maps",
    "seconds",
    "samples",
    "device",
    "commit",
    "sha256",
    "config_hash",
)
STARTED_BY = "MOCCA_SWEEP_WORKERS"  # set in the workers that a sweep started: how many
STAGE_ONE = Path("checkpoints/reconstruction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--preset", default="", help="of the config; default: the one for a laptop")
    parser.add_argument("--only", default="", help="such as class=automobile,boundary=soft; values with | between")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes; 0: one for each core, one where there is a GPU"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--rows", type=Path, help="default: experiments/results/table<n>[-<preset>].jsonl")
    parser.add_argument("--dry_run", action="store_true", help="say what would be done")
    options = parser.parse_args()
    names = filter(None, (FILES[options.table], options.preset.replace(",", "-")))
    options.rows = options.rows or RESULTS / f"{'-'.join(names)}.jsonl"
    jobs = [job for seed in options.seeds.split(",") for job in TABLES[options.table](int(seed), options.preset)]
    groups = grouped(chosen(jobs, options.only))
    if STARTED_BY not in os.environ:
        workers = min(options.workers or best_number(), len(groups))
        print(outlook(groups, rows.read(options.rows), workers), flush=True)
        if options.dry_run:
            return
        if workers > 1:
            sys.exit(start_workers(workers))
    logging.set_verbosity(logging.WARNING)
    parallel.configure(0, str(cache.root() / "xla"))
    for group, members in groups.items():
        with claimed(options.runs / f"{group}.lock") as free:
            if free:
                try:
                    work(members, options.runs, options.rows, groups)
                except interrupts.Interrupted as error:
                    print(f"{error}; the same command goes on from there.", file=sys.stderr)
                    sys.exit(error.exit_code)


def best_number() -> int:
    """Workers that train small models fastest: a process on each CPU core; one where an accelerator does the work."""
    question = "import jax; print(jax.default_backend())"  # in a process of its own: it would keep the accelerator
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    return len(os.sched_getaffinity(0)) if answer.stdout.split()[-1] == "cpu" else 1


def chosen(jobs: list[Job], only: str) -> list[Job]:
    """Jobs whose labels have the wanted values."""
    for condition in filter(None, re.split(r",(?=\w+=)", only)):  # values may hold commas
        name, _, values = condition.partition("=")
        known = {str(job.labels[name]) for job in jobs if name in job.labels}
        if not known & set(values.split("|")):
            sys.exit(
                f"error: --only={condition}: nothing has that; known: {', '.join(sorted(known)) or 'no such label'}"
            )
        jobs = [job for job in jobs if str(job.labels.get(name)) in values.split("|")]
    return jobs


def grouped(jobs: list[Job]) -> dict[str, list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.group, []).append(job)
    return groups


def outlook(groups: dict[str, list[Job]], found: list[dict[str, Any]], workers: int) -> str:
    """How many models, how many are done, about how long the rest takes."""
    walls = {row["config_hash"]: row["wall_seconds"] for row in found}
    jobs = [job for members in groups.values() for job in members]
    left = [job for job in jobs if job.hash not in walls]
    text = f"{len(jobs)} models in {len(groups)} groups, {len(jobs) - len(left)} done"
    if left and walls:
        minutes = len(left) * statistics.mean(walls.values()) / 60 / workers
        text += f"; about {minutes:.0f} min for the rest with {workers} at a time"
    elif left:
        text += "; no time known yet: CIFAR-10 `quick` takes 5 to 8 min a model on a core, MVTec AD 10 to 20"
    return text


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process has the group to itself; the claim ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def work(members: list[Job], runs: Path, path: Path, groups: dict[str, list[Job]]) -> None:
    """Runs a group's jobs that have no row yet."""
    for job in members:
        if job.hash in {row["config_hash"] for row in rows.read(path)}:
            continue
        if elsewhere := recorded(job, path):
            rows.append(path, elsewhere | job.labels)
            continue
        began = time.monotonic()
        workdir, shared = runs / job.hash, runs / f"{job.group}-stage-one"
        if shared.exists() and not workdir.exists():
            with draft_of(workdir) as draft:
                shutil.copytree(shared, draft / STAGE_ONE)
                whole.write_json(draft / results.CONFIG, configs.as_dict(job.config))
        result = pipeline.run(job.config, workdir, keep_checkpoints=not shared.exists())
        if (workdir / STAGE_ONE).exists() and not shared.exists():
            with draft_of(shared) as draft:
                shutil.copytree(workdir / STAGE_ONE, draft, dirs_exist_ok=True)
        wall = time.monotonic() - began
        kept = {name: result[name] for name in KEPT if name in result}
        rows.append(path, {**kept, **job.labels, "distances": distances(workdir), "wall_seconds": wall})
        auc = result["metrics"].get("combined", {}).get("auc")
        print(json.dumps({**job.labels, "auc": auc, "minutes": round(wall / 60, 1)}), flush=True)
        print(outlook(groups, rows.read(path), int(os.environ.get(STARTED_BY, 1))), flush=True)


def recorded(job: Job, path: Path) -> dict[str, Any] | None:
    """The row that another table beside `path` has of the same configuration."""
    found = (row for other in sorted(path.parent.glob("table*.jsonl")) if other != path for row in rows.read(other))
    return next((row for row in found if row["config_hash"] == job.hash), None)


def distances(workdir: Path) -> dict[str, list[float]]:
    """Mean squared distance of each layer in the first and in the last epoch of training."""
    path = workdir / log.METRICS
    epochs = [json.loads(line).get("layers") for line in path.read_text().splitlines()] if path.exists() else []
    trained = [layers for layers in epochs if layers]
    return {name: [layers[name]["distance"] for layers in (trained[0], trained[-1])] for name in (trained or [()])[0]}


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of `folder` when all in it is written."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    os.replace(draft, folder)


def start_workers(count: int) -> int:
    """Starts as many processes with the same arguments, each on its share of the cores; returns the worst exit code."""
    cores = sorted(os.sched_getaffinity(0))
    workers = []
    for index in range(count):
        share = cores[index::count] or cores
        command = [sys.executable, "-m", "experiments.sweep", *sys.argv[1:]]
        workers.append(subprocess.Popen(command, env={**os.environ, STARTED_BY: str(count)}))
        os.sched_setaffinity(workers[-1].pid, share)
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    pages.restart()
    main()
