"""Command: the page of benchmarks, experiments/bench/README.md.

python -m experiments.bench [--only=startup,limits] [--check]

Runs each section's own command and keeps what it prints as a row of experiments/results/bench.jsonl; a section that has
a row of this commit is not run again, one that lacks a package says so and keeps its older row. The page shows the
newest row of each. On two cores all sections take about fifty minutes; nothing else should run meanwhile. `--check`
measures nothing and fails where the page is stale.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments import rows
from experiments.bench import interleaved
from experiments.markdown import between_markers
from experiments.sweep import RESULTS

PAGE = Path(__file__).parent / "README.md"
ROWS = RESULTS / "bench.jsonl"
SECTIONS = {  # arguments of `python -m experiments.bench.`
    "ceilings": "ceilings",
    "startup": "startup",
    "cifar10": "cifar10_step --rounds=5",
    "convolutions": "convolutions --pipelines=cifar10,mvtec64,video",
    "mvtec": "mvtec_step --rounds=4 --tasks=one_class,reconstruction,scoring",
    "video": "video_step --rounds=15 --clip=8,64,96,1 --batch=4 --code=64",
    "video-scoring": "video_step --rounds=15 --clip=8,64,96,1 --batch=4 --code=64 --task=scoring",
    "video-full": "video_step --rounds=5",
    "pretrained": "pretrained_features --rounds=5",
    "fitting": "fitting",
    "detector": "detector --rounds=100",
    "anomalib": "anomalib_models --rounds=3",
    "movement": "movement",
    "modes": "modes",
    "limits": "limits",
    "growth": "growth",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        for name in options.only.split(","):
            if name not in SECTIONS:
                sys.exit(f"error: no section {name!r}; known: {', '.join(SECTIONS)}")
            measure(name)
    text = page(PAGE.read_text(), rows.read(ROWS))
    if options.check:
        sys.exit(
            "experiments/bench/README.md is stale: run python -m experiments.bench" if text != PAGE.read_text() else 0
        )
    PAGE.write_text(text)


def measure(name: str) -> None:
    """Runs a section's command, unless it has a row of this commit."""
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    hashed = f"{SECTIONS[name]} at {commit}"
    if hashed in {row["config_hash"] for row in rows.read(ROWS)}:
        return
    began = time.monotonic()
    command = [sys.executable, "-m", *f"experiments.bench.{SECTIONS[name]}".split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    if not done.stdout:  # it needs something that is not here, and says so
        print(f"{name}: {done.stderr.strip()}", flush=True)
        return
    memory = [said for said in done.stderr.splitlines() if "peak memory" in said]
    row = {"config_hash": hashed, "section": name, "printed": done.stdout.splitlines() + memory}
    row |= {"seconds": round(time.monotonic() - began), "commit": commit, "machine": interleaved.circumstances()}
    rows.append(ROWS, row)
    print(f"{name}: {row['seconds']} s", flush=True)


def page(text: str, found: list[dict[str, Any]]) -> str:
    """The page with the newest row of every section."""
    newest = {row["section"]: row for row in found}
    for name in SECTIONS:
        text = between_markers(text, name, shown(newest[name]) if name in newest else ["Not measured yet."])
    return text


def shown(row: dict[str, Any]) -> list[str]:
    """Command and circumstances, then what was printed: its tables as they are, other lines as a list."""
    command = SECTIONS[row["section"]]
    lines = [f"`python -m experiments.bench.{command}`, {row['seconds']} s, commit {row['commit']}.", ""]
    for printed in row["printed"]:
        if printed.startswith("|"):
            lines.append(printed)
        elif printed and not printed.startswith("{"):
            lines += ["", printed, ""] if printed.endswith("per step") else [f"- {printed}"]
        elif not printed:
            lines.append("")
    return lines


if __name__ == "__main__":
    main()
