"""Command: the paper's tables from recorded rows, as Markdown between markers in experiments/README.md.

python -m experiments.tables [--check]

A cell is the mean over the seeds recorded, +- their standard deviation where there are several; n says how many. Rows
that are missing are counted beside every average. Writes experiments/figures/table<n>.png too. `--check` writes nothing
and fails where the page is stale.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments import (
    accelerator,
    fuzz,
    hosts,
    layer_cdf,
    pretexts_table,
    pretrained,
    rows,
    scratch,
    soak,
    sweep,
    table1,
    table3,
)
from experiments.bench import memory
from experiments.markdown import between_markers, circumstances, header, line

SCALINGS = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")
PAGE = Path(__file__).parent / "README.md"
PICTURES = Path(__file__).parent / "figures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = old = PAGE.read_text()
    for name, make in TABLES.items():
        text = between_markers(text, name, make(rows.read(sweep.RESULTS / f"{name}.jsonl")))
    if options.check:
        sys.exit("experiments/README.md is stale: run python -m experiments.tables" if text != old else 0)
    PAGE.write_text(text)
    for name, draw in FIGURES.items():
        figure = draw(rows.read(sweep.RESULTS / f"{name}.jsonl"))
        figure.savefig(PICTURES / f"{name}.png", dpi=110, metadata={"Software": None})


def table6(found: list[dict[str, Any]]) -> list[str]:
    """Video: frame AUC under four scalings, and the layers by themselves."""
    head = ["run", "seed", "score", *(name.replace("_", ", ") for name in SCALINGS), "layers from 0, micro, unscaled"]
    lines = header(head)
    for row in found:
        layers = " ".join(
            f"{row['frames'][name]['micro_unscaled']:.2f}" for name in sorted(row["frames"]) if name.startswith("layer")
        )
        scores = [name for name in ("one_class", "reconstruction", "combined") if name in row["frames"]]
        for score in scores:
            figures = [f"{row['frames'][score][scaling]:.3f}" for scaling in SCALINGS]
            lines.append(
                line([row["variant"], str(row["seed"]), score, *figures, layers if score == scores[0] else ""])
            )
    return [*lines, *circumstances(found)]


TABLES: dict[str, Callable[[list[dict[str, Any]]], list[str]]] = {
    "table1": table1.table1,
    "table1-double": table1.table1_double,
    "table1-again": table1.table1_again,
    "figure5": layer_cdf.table,
    "table3": table3.table3,
    "table3-long": table3.table3_long,
    "pretrained": pretrained.table,
    "pretexts": pretexts_table.table,
    "scratch": scratch.table,
    "table6": table6,
    "table7": table3.table7,
    "hosts": hosts.table,
    "accelerator": accelerator.recorded,
    "soak": soak.table,
    "fuzz": fuzz.table,
    "memory": memory.table,
}
FIGURES: dict[str, Callable[[list[dict[str, Any]]], Figure]] = {
    "table1": table1.figure1,
    "table3": table3.figure3,
    "table7": table3.figure7,
}


if __name__ == "__main__":
    main()
