"""Command: the same job on one host and on several, and how far their numbers are apart.

python -m experiments.hosts [--only=cifar10]

Hosts are processes on this machine with two CPU devices each, joined over loopback: 2 x 2 devices are compared with 1 x
4, and 4 x 2 with 1 x 8; both last batches are short. One epoch a stage. The jobs run at the config's own batch
size, at a rate of 1e-6 so that rounding, which differs between any two orders of adding, cannot grow. A row of
experiments/results/hosts.jsonl holds the largest difference of every kind of number, in units of its largest value.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments import rows, soak
from experiments.markdown import header, line
from experiments.sweep import RESULTS
from mocca_jax.outputs import bundle

SHORT = (
    "--config.reconstruction.epochs=1",
    "--config.one_class.epochs=1",
    "--config.radius_warmup_epochs=0",
    "--config.reconstruction.learning_rate=1e-6",
    "--config.one_class.learning_rate=1e-6",
)
JOBS = {
    "cifar10": ("--config=configs/cifar10.py:quick", *SHORT),
    "mvtec bottle": ("--config=configs/mvtec.py:bottle,quick", "--config.maps=()", *SHORT),
    "mvtec grid": ("--config=configs/mvtec.py:grid,quick", "--config.maps=()", *SHORT),
}
KINDS = ("losses", "params", "batch_stats", "centroids", "radii", "scores")
LAYOUTS = ((2, 2), (4, 2))  # hosts, devices of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=JOBS)
    parser.add_argument("--rows", type=Path, default=RESULTS / "hosts.jsonl")
    options = parser.parse_args()
    for job in [options.only] if options.only else JOBS:
        for hosts, devices in LAYOUTS:
            name = f"{job}, {hosts} hosts x {devices} devices"
            if name in {row["config_hash"] for row in rows.read(options.rows)}:
                continue
            row = {"config_hash": name, "job": job, "hosts": hosts, "devices": devices, **compared(job, hosts, devices)}
            rows.append(options.rows, row)
            print(json.dumps(row), flush=True)


def table(found: list[dict[str, Any]]) -> list[str]:
    """Differences of every job and layout."""
    lines = header(["job", "hosts x devices", "last batch", *KINDS, "AUC, one host and several"])
    for row in found:
        apart = [f"{row['differences'][kind]:.0e}" if kind in row["differences"] else "" for kind in KINDS]
        last = f"{row['units'] % row['batch_size']} of {row['batch_size']}"
        aucs = ", ".join(f"{auc:.6f}" for auc in row["auc"])
        lines.append(line([row["job"], f"{row['hosts']} x {row['devices']}", last, *apart, aucs]))
    return lines


def compared(job: str, hosts: int, devices: int) -> dict[str, Any]:
    """Runs a job both ways; differences and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        one, several = Path(folder) / "one", Path(folder) / "several"
        seconds = []
        for workdir, layout in ((one, (1, hosts * devices)), (several, (hosts, devices))):
            began = time.monotonic()
            soak.wait(soak.start(workdir, layout[0], JOBS[job], devices=layout[1]))
            seconds.append(round(time.monotonic() - began))
        result = json.loads((several / "result.json").read_text())
        if (result["device"]["hosts"], result["device"]["devices"]) != (hosts, hosts * devices):
            sys.exit(f"{job}: ran on {result['device']}")
        return {
            "differences": differences(numbers(one), numbers(several)),
            "units": result["samples"]["train"],
            "batch_size": result["config"]["batch_size"],
            "auc": [r["metrics"]["combined"]["auc"] for r in (json.loads((one / "result.json").read_text()), result)],
            "seconds_one_host": seconds[0],
            "seconds": seconds[1],
            "cpu_cores": os.cpu_count(),
        }


def numbers(workdir: Path) -> dict[str, dict[str, np.ndarray]]:
    """All that a run computed, by kind: losses by epoch, arrays of the final state, scores of the test set."""
    found: dict[str, dict[str, np.ndarray]] = {"losses": {}, "scores": {}}
    for written in (workdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(written)
        found["losses"][f"{row['stage']} {row['epoch']}"] = np.asarray(row["loss"])
    for name, array in bundle.read(workdir / bundle.FILE)[1].items():
        if array.dtype.kind == "f":
            found.setdefault(name.split("/")[0], {})[name] = array
    with open(workdir / "scores.csv", newline="") as file:
        names, *lines = csv.reader(file)
    for column, name in enumerate(names[2:], 2):
        kind = "p_values" if name == "p_value" else "scores"  # p-values are ranks: they move by whole steps
        found.setdefault(kind, {})[name] = np.array([float(line[column]) for line in lines])
    return found


def differences(ours: dict[str, dict[str, np.ndarray]], theirs: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """Of each kind: the largest difference of any array, in units of the array's largest absolute value.

    Example:
        >>> differences({"radii": {"layer0": np.array([2.0, 4.0])}}, {"radii": {"layer0": np.array([2.0, 3.0])}})
        {'radii': 0.25}
    """
    if {kind: sorted(arrays) for kind, arrays in ours.items()} != {kind: sorted(a) for kind, a in theirs.items()}:
        raise ValueError(f"different arrays: {sorted(ours)} and {sorted(theirs)}")
    found = {}
    for kind, arrays in ours.items():
        gaps = [np.abs(a - theirs[kind][n]).max() / max(np.abs(a).max(), 1e-30) for n, a in arrays.items() if a.size]
        if gaps:
            found[kind] = float(max(gaps))
    return found


if __name__ == "__main__":
    main()
