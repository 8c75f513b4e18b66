"""Command: the paper's tables from recorded rows, as Markdown between markers in experiments/README.md.

python -m experiments.tables [--check]

A cell is the mean over the seeds recorded, +- their standard deviation where there are several; n says how many. Rows
that are missing are counted beside every average. Writes experiments/figures/table1.png too. `--check` writes nothing
and fails where the page is stale.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import hosts, layer_cdf, rows, soak, sweep
from experiments.paper import LEATHER, MVTEC
from mocca_jax.data.cifar10 import CLASSES, PAPER_HARD, PAPER_SOFT

PAPER = {  # Table I; of the baselines on the same auto-encoder the paper gives means only
    ("mocca", "soft"): PAPER_SOFT,
    ("mocca", "hard"): PAPER_HARD,
}
NAMES = {"untrained": "untrained", "reconstruct": "reconstruction error"}
SCALINGS = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")
PAGE = Path(__file__).parent / "README.md"
FIGURES = Path(__file__).parent / "figures"
METHODS = (("mocca", "soft"), ("mocca", "hard"), ("deep_svdd", "soft"), ("deep_svdd", "hard"), ("dcae", "-"))


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
    figure1(rows.read(sweep.RESULTS / "table1.jsonl"))


def between_markers(text: str, name: str, lines: list[str]) -> str:
    """The page with the table `name` replaced.

    Raises:
        ValueError: the page has no markers for it.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"{PAGE} has no {begin} ... {end}")
    head, rest = text.split(begin, 1)
    return head + "\n".join([begin, *lines]) + "\n" + end + rest.split(end, 1)[1]


def table1(found: list[dict[str, Any]]) -> list[str]:
    """CIFAR-10, AUC of each class and method."""
    aucs = aucs_of(found)
    names = [f"{method}, {boundary}".removesuffix(", -") for method, boundary in METHODS]
    lines = ["| normal class | " + " | ".join(names) + " | paper soft | paper hard | n |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for index, name in enumerate(CLASSES):
        of_class = [of(aucs[key], name) for key in METHODS]
        counts = sorted({len(values) for values in of_class})
        cells = [*map(mean_and_deviation, of_class), f"{PAPER_SOFT[index]:.3f}", f"{PAPER_HARD[index]:.3f}"]
        lines.append("| " + " | ".join([name, *cells, " to ".join(map(str, {counts[0]: 0, counts[-1]: 0}))]) + " |")
    means = [[statistics.mean(values) for name in CLASSES if (values := of(aucs[key], name))] for key in METHODS]
    cells = [f"{statistics.mean(values):.3f} ({len(values)})" if values else "" for values in means]
    cells += [f"{statistics.mean(figures):.3f}" for figures in (PAPER_SOFT, PAPER_HARD)]
    lines.append("| mean (of how many classes) | " + " | ".join(cells) + " | |")
    gaps = [gap_to_paper(aucs[key], PAPER[key]) if key in PAPER else [] for key in METHODS]
    cells = [f"{statistics.mean(gap):+.3f}" if gap else "" for gap in gaps]
    lines.append("| less the paper's, same classes | " + " | ".join(cells) + " | | | |")
    hours = [
        [row["wall_seconds"] / 3600 for row in found if (row["method"], row["boundary"]) == key] for key in METHODS
    ]
    lines.append("| hours in all | " + " | ".join(f"{sum(values):.2f}" for values in hours) + " | | | |")
    if any(len(values) < len(CLASSES) for values in means):
        lines += ["", "Incomplete: a mean over fewer than ten classes cannot be compared with the paper's."]
    return [*lines, "", *together(aucs), *circumstances(found)]


def gap_to_paper(aucs: "Aucs", paper: Sequence[float]) -> list[float]:
    """Ours less the paper's, of the classes that have a row."""
    pairs = [(of(aucs, name), figure) for name, figure in zip(CLASSES, paper, strict=True)]
    return [statistics.mean(values) - figure for values, figure in pairs if values]


def aucs_of(found: list[dict[str, Any]]) -> "dict[tuple[str, str], Aucs]":
    """Table I's figures, by method and boundary."""
    aucs: dict[tuple[str, str], Aucs] = {key: {} for key in METHODS}
    for row in found:
        aucs[row["method"], row["boundary"]][row["class"], row["seed"]] = row["metrics"]["combined"]["auc"]
    return aucs


def figure1(found: list[dict[str, Any]]) -> None:
    """experiments/figures/table1.png: a mark per class and method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for shift, (key, values) in enumerate(aucs_of(found).items()):
        points = [(index, average(of(values, name))) for index, name in enumerate(CLASSES) if of(values, name)]
        at = [index + 0.12 * (shift - 2) for index, _ in points]
        axes.plot(
            at, [auc for _, auc in points], "osDv^"[shift], markersize=5, label=", ".join(key).removesuffix(", -")
        )
    for index, (soft, hard) in enumerate(zip(PAPER_SOFT, PAPER_HARD, strict=True)):
        label = "paper, soft to hard" if index == 0 else None
        axes.plot([index] * 2, [soft, hard], color="0.75", linewidth=8, zorder=0, label=label, solid_capstyle="butt")
    axes.axhline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xticks=range(len(CLASSES)), xticklabels=CLASSES, ylabel="AUC (0.5 = chance)")
    axes.set_title("CIFAR-10: the class that is normal, and how well the others are told from it", fontsize=10)
    axes.legend(ncols=3, fontsize=8)
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / "table1.png", dpi=110, metadata={"Software": None})


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
                statistics.mean(at(row, "metrics", "combined", k) for m in of_boundary for row in m)
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


def header(names: list[str]) -> list[str]:
    return [line(names), "|---" * len(names) + "|"]


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def at(row: dict[str, Any], *path: str) -> float | None:
    """What lies at `path`; None where there is nothing."""
    value: Any = row
    for name in path:
        value = (value or {}).get(name)
    return value


def cell(members: list[dict[str, Any]], *path: str) -> str:
    values = [at(row, *path) for row in members]
    return mean_and_deviation(values) if None not in values else ""


def average(values: list[float]) -> float | None:
    return statistics.mean(values) if values else None


Aucs = dict[tuple[str, int], float]  # by class and seed


def of(aucs: Aucs, name: str) -> list[float]:
    """The AUCs of one class, by seed."""
    return [auc for (normal, _), auc in sorted(aucs.items()) if normal == name]


def together(aucs: dict[tuple[str, str], Aucs]) -> list[str]:
    """MOCCA less each baseline over the classes and seeds that both have, with a paired bootstrap interval."""
    lines = []
    for boundary, other in itertools.product(("soft", "hard"), ("deep_svdd", "dcae")):
        ours, theirs = aucs["mocca", boundary], aucs[other, boundary if other != "dcae" else "-"]
        differences = [ours[pair] - theirs[pair] for pair in sorted(ours.keys() & theirs.keys())]
        if len(differences) > 1:
            low, high = bootstrap(differences)
            lines.append(
                f"- mocca, {boundary}, less {other}: {statistics.mean(differences):+.3f}, 95 % interval {low:+.3f} to "
                f"{high:+.3f} (paired bootstrap, {len(differences)} pairs of class and seed)"
            )
    return lines


def circumstances(found: list[dict[str, Any]]) -> list[str]:
    """Hours, device, commits and command."""
    if not found:
        return []
    hours = sum(row["wall_seconds"] for row in found) / 3600
    devices = sorted(
        {f"{row['device']['devices']} {row['device']['kind']} device(s)" for row in found if "device" in row}
    )
    commits = sorted({str(row["commit"]) for row in found})
    circumstance = [f"{len(found)} runs, {hours:.1f} hours in all", *devices]
    return ["", f"{', '.join(circumstance)}; commits {', '.join(commits)}."]


def bootstrap(differences: list[float], draws: int = 10_000) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences, by resampling the pairs.

    Example:
        >>> low, high = bootstrap([1.0, 1.0, 1.0])
        >>> (low, high)
        (1.0, 1.0)
    """
    rng = np.random.default_rng(0)
    values = np.asarray(differences)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mean_and_deviation(values: list[float]) -> str:
    """`0.721 +- 0.017`, without deviation for one value, empty for none.

    Example:
        >>> mean_and_deviation([0.7, 0.8]), mean_and_deviation([0.7])
        ('0.750 +- 0.071', '0.700')
    """
    if not values:
        return ""
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


TABLES: dict[str, Callable[[list[dict[str, Any]]], list[str]]] = {
    "table1": table1,
    "table3": table3,
    "table6": table6,
    "table7": table7,
    "figure5": layer_cdf.table,
    "hosts": hosts.table,
    "soak": soak.table,
}


if __name__ == "__main__":
    main()
