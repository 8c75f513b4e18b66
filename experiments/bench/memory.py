"""Command: what runs say beforehand of the memory they will need, against what they took.

python -m experiments.bench.memory [--only=video]

Each run is a process of its own with one epoch a stage; `MOCCA_DATA_DIR` and `TFDS_DATA_DIR` say where the data is. The
figures are those of its `result.json`: the largest estimate of its stages and of scoring, and the most it ever held.
A row each of experiments/results/memory.jsonl; memory does not depend on how busy a machine is.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments import rows
from experiments.markdown import header, line
from experiments.sweep import RESULTS

RUNS = {
    "cifar10": ("configs/cifar10.py:quick", ("reconstruction", "one_class")),
    "mvtec": ("configs/mvtec.py:bottle,quick", ("reconstruction", "one_class")),
    "video": ("configs/video.py:ped2", ("joint",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--rows", type=Path, default=RESULTS / "memory.jsonl")
    options = parser.parse_args()
    for name in [options.only] if options.only else RUNS:
        rows.append(options.rows, measured(*RUNS[name]))
    print("\n".join(table(rows.read(options.rows))))


def measured(config: str, stages: tuple[str, ...]) -> dict[str, Any]:
    """Runs a config, one epoch a stage; the row."""
    with tempfile.TemporaryDirectory() as folder:
        short = [f"--config.{stage}.epochs=1" for stage in stages]
        command = [sys.executable, "-m", "mocca_jax.main", f"--config={config}", f"--workdir={folder}/run", *short]
        done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=False)
        if done.returncode:
            sys.exit(f"{config} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        print("\n".join(said for said in done.stderr.splitlines() if "memory:" in said), file=sys.stderr, flush=True)
        result = json.loads(Path(folder, "run", "result.json").read_text())
    return {
        "config_hash": f"{config} {result['config_hash']} on {result['device']['devices']}",
        "config": config,
        **result["memory"],
        "device": result["device"],
        "commit": result["commit"],
        "cpu_cores": os.cpu_count(),
    }


def table(found: list[dict[str, Any]]) -> list[str]:
    """Estimate and peak of every config."""
    lines = header(["config", "estimate, MB", "measured peak, MB", "measured / estimate"])
    for row in found:
        estimate, peak = row["estimate_bytes"], row["peak_bytes"]
        lines.append(
            line([f"`{row['config']}`", f"{estimate / 1e6:.0f}", f"{peak / 1e6:.0f}", f"{peak / estimate:.2f}"])
        )
    return lines


if __name__ == "__main__":
    main()
