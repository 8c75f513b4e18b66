"""Command: the MVTec AD rows as a Markdown table, beside the paper's figures.

python -m experiments.mvtec_table [--rows=experiments/results/mvtec.jsonl]

One line per category, variant, boundary and layers; figures are means over the seeds recorded, whose number is n.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.mvtec import ROWS

PAPER = {  # AUC, maxBA
    ("grid", "soft"): (0.87, 0.85),
    ("grid", "hard"): (0.81, 0.76),
    ("bottle", "soft"): (0.95, 0.90),
    ("bottle", "hard"): (0.93, 0.90),
    ("screw", "soft"): (0.84, 0.82),
    ("screw", "hard"): (0.80, 0.80),
}
HEAD = ("category", "what", "layers", "n", "AUC", "AP", "maxBA", "paper AUC / maxBA", "pixel AUROC", "AUPRO", "map AUC")
NAMES = {"untrained": "untrained", "reconstruct": "reconstruction error"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROWS)
    rows = [json.loads(line) for line in parser.parse_args().rows.read_text().splitlines()]
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["category"], row["preset"], row["boundary"], tuple(row["layers"])), []).append(row)
    print("| " + " | ".join(HEAD) + " |")
    print("|---" * len(HEAD) + "|")
    for key in sorted(groups, key=lambda k: (k[0], k[1] in NAMES, k[1:3], k[3])):
        print("| " + " | ".join(line(key, groups[key])) + " |")


def line(key: tuple, rows: Sequence[dict]) -> list[str]:
    category, preset, boundary, layers = key
    trained = preset not in NAMES
    image = [mean(rows, "metrics", "combined", name) for name in ("auc", "ap", "max_ba")]
    paper = "{:.2f} / {:.2f}".format(*PAPER[category, boundary]) if trained else ""
    pixels = [mean(rows, "maps", "test", name) for name in ("pixel_auroc", "aupro", "image_auc")]
    digits = "-" if preset == "reconstruct" else ",".join(map(str, layers))
    return [category, boundary if trained else NAMES[preset], digits, str(len(rows)), *image, paper, *pixels]


def mean(rows: Sequence[dict], *path: str) -> str:
    """The mean over rows of what lies at `path`, with the standard deviation where there are several."""
    values = []
    for row in rows:
        for name in path:
            row = (row or {}).get(name)
        values.append(row)
    if None in values:
        return ""
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
