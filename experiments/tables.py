"""Command: the paper's tables from recorded rows, as Markdown between markers in experiments/README.md.

python -m experiments.tables [--check]

A cell is the mean over the seeds recorded, +- their standard deviation where there are several; n says how many. Rows
that are missing are counted beside every average. Writes experiments/figures/table1.png too. `--check` writes nothing
and fails where the page is stale.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import fuzz, hosts, layer_cdf, rows, soak, sweep, table1
from experiments.bench import memory
from experiments.markdown import at, between_markers, cell, circumstances, header, line
from experiments.paper import LEATHER, MVTEC

NAMES = {"untrained": "untrained", "reconstruct": "reconstruction error"}
SCALINGS = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")
PAGE = Path(__file__).parent / "README.md"


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
    table1.figure1(rows.read(sweep.RESULTS / "table1.jsonl"))


def table3(found: list[dict[str, Any]]) -> list[str]:
    """MVTec AD: Tables III (maxBA), IV (AUC) and V (means), with what the maps reach."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["category"], row["method"], row["boundary"]), []).append(row)
    head = [
        "category",
        "what",
        "n",
        "AUC",
        "AP",
        "maxBA",
        "paper AUC / maxBA",
        "pixel AUROC",
        "AUPRO",
        "map AUC",
        "hours",
    ]
    lines = header(head)
    for (category, method, boundary), members in sorted(groups.items(), key=lambda item: order(*item[0])):
        image = [cell(members, "metrics", "combined", name) for name in ("auc", "ap", "max_ba")]
        paper = "{:.2f} / {:.2f}".format(*MVTEC[boundary][category]) if method == "mocca" else ""
        pixels = [cell(members, "maps", "test", name) for name in ("pixel_auroc", "aupro", "image_auc")]
        what = f"mocca, {boundary}" if method == "mocca" else NAMES[method]
        hours = f"{sum(row['wall_seconds'] for row in members) / 3600:.2f}"
        lines.append(line([category, what, str(len(members)), *image, paper, *pixels, hours]))
    for boundary in ("soft", "hard"):
        of_boundary = [m for (_, method, b), m in groups.items() if (method, b) == ("mocca", boundary)]
        if of_boundary:
            ours = [
                statistics.mean(statistics.mean(at(row, "metrics", "combined", k) for row in m) for m in of_boundary)
                for k in ("auc", "max_ba")
            ]
            paper = [statistics.mean(column) for column in zip(*MVTEC[boundary].values(), strict=True)]
            counted = f"mean of {len(of_boundary)} of {len(MVTEC[boundary])}"
            figures = [f"{ours[0]:.3f}", "", f"{ours[1]:.3f}", f"{paper[0]:.2f} / {paper[1]:.2f} (all)"]
            lines.append(line([counted, f"mocca, {boundary}", "", *figures, "", "", "", ""]))
    return [*lines, *circumstances(found)]


def table6(found: list[dict[str, Any]]) -> list[str]:
    """Video: frame AUC under four scalings, and the layers by themselves."""
    head = ["run", "seed", "score", *(name.replace("_", ", ") for name in SCALINGS), "layers 0 to 6, micro, unscaled"]
    lines = header(head)
    for row in found:
        layers = " ".join(
            f"{row['frames'][name]['micro_unscaled']:.2f}" for name in sorted(row["frames"]) if name.startswith("layer")
        )
        for score in ("one_class", "reconstruction", "combined"):
            figures = [f"{row['frames'][score][scaling]:.3f}" for scaling in SCALINGS]
            lines.append(
                line([row["variant"], str(row["seed"]), score, *figures, layers if score == "one_class" else ""])
            )
    return [*lines, *circumstances(found)]


def table7(found: list[dict[str, Any]]) -> list[str]:
    """The ablation of layers: maxBA and AUC for each set, beside the paper's on leather."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in found:
        groups.setdefault((row["category"], row["layers_used"]), {}).setdefault(row["boundary"], []).append(row)
    head = [
        "category",
        "layers",
        "n",
        *(f"{b}, {k}" for b in ("soft", "hard") for k in ("maxBA", "AUC")),
        "paper, leather, maxBA soft / hard",
    ]
    lines = header(head)
    for (category, layers), members in sorted(groups.items(), key=lambda item: (item[0][0], len(item[0][1]))):
        cells = [
            cell(members.get(b, []), "metrics", "combined", k) for b in ("soft", "hard") for k in ("max_ba", "auc")
        ]
        paper = "{:.3f} / {:.3f}".format(*LEATHER[layers])
        count = " to ".join(dict.fromkeys(str(len(members.get(b, []))) for b in ("soft", "hard")))
        lines.append(line([category, layers, count, *cells, paper]))
    return [*lines, *circumstances(found)]


def order(category: str, method: str, boundary: str) -> tuple:
    return category, method in NAMES, method, boundary


TABLES: dict[str, Callable[[list[dict[str, Any]]], list[str]]] = {
    "table1": table1.table1,
    "table1-double": table1.table1_double,
    "figure5": layer_cdf.table,
    "table3": table3,
    "table6": table6,
    "table7": table7,
    "hosts": hosts.table,
    "soak": soak.table,
    "fuzz": fuzz.table,
    "memory": memory.table,
}


if __name__ == "__main__":
    main()
