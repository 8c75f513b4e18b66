"""Table I, CIFAR-10: ours beside the paper's and the baselines', as Markdown and as a picture."""

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import rows, sweep
from experiments.markdown import circumstances, header, line, mean_and_deviation
from mocca_jax.data.sets.cifar10 import CLASSES, PAPER_HARD, PAPER_SOFT

PAPER = {  # Table I; of the baselines on the same auto-encoder the paper gives means only
    ("mocca", "soft"): PAPER_SOFT,
    ("mocca", "hard"): PAPER_HARD,
}
METHODS = (("mocca", "soft"), ("mocca", "hard"), ("deep_svdd", "soft"), ("deep_svdd", "hard"), ("dcae", "-"))
Aucs = dict[tuple[str, int], float]  # by class and seed


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


def table1_double(found: list[dict[str, Any]]) -> list[str]:
    """CIFAR-10 with twice the epochs beside `quick`, the same classes, methods and seeds."""
    lines = header(["normal class", "what", "seed", "25 + 25 epochs", "50 + 50 epochs", "paper", "minutes"])
    for before, row in beside_table1(found):
        normal, method, boundary, _ = key(row)
        paper = PAPER.get((method, boundary))
        said = f"{paper[CLASSES.index(normal)]:.3f}" if paper else ""
        aucs = [f"{auc_of(of):.3f}" if of else "" for of in (before, row)]
        lines.append(line([*_labels(row), *aucs, said, f"{row['wall_seconds'] / 60:.0f}"]))
    return [*lines, *circumstances(found)]


def table1_again(found: list[dict[str, Any]]) -> list[str]:
    """The same configurations with later commits' steps, which round otherwise, beside the rows of Table I."""
    lines, differences = header(["normal class", "what", "seed", "in Table I", "again", "difference"]), []
    for before, row in beside_table1(found):
        cells = ["", f"{auc_of(row):.3f}", ""]
        if before:
            differences.append(auc_of(row) - auc_of(before))
            cells = [f"{auc_of(before):.3f}", f"{auc_of(row):.3f}", f"{differences[-1]:+.3f}"]
        lines.append(line([*_labels(row), *cells]))
    if len(differences) > 1:
        low, high = bootstrap(differences)
        said = f"Mean difference {statistics.mean(differences):+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        lines += ["", f"{said} (paired bootstrap, {len(differences)} pairs)."]
    return [*lines, *circumstances(found)]


def beside_table1(found: list[dict[str, Any]]) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """Rows in order, each with that of Table I of the same class, method, boundary and seed, if there is one."""
    quick = {key(row): row for row in rows.read(sweep.RESULTS / "table1.jsonl")}
    ordered = sorted(found, key=lambda row: (row["seed"], CLASSES.index(row["class"]), METHODS.index(key(row)[1:3])))
    return [(quick.get(key(row)), row) for row in ordered]


def _labels(row: dict[str, Any]) -> list[str]:
    normal, method, boundary, seed = key(row)
    return [normal, f"{method}, {boundary}".removesuffix(", -"), str(seed)]


def figure1(found: list[dict[str, Any]]) -> Figure:
    """A mark per class and method."""
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
    return figure


def key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["class"], row["method"], row["boundary"], row["seed"]


def auc_of(row: dict[str, Any]) -> float:
    return row["metrics"]["combined"]["auc"]


def gap_to_paper(aucs: "Aucs", paper: Sequence[float]) -> list[float]:
    """Ours less the paper's, of the classes that have a row."""
    pairs = [(of(aucs, name), figure) for name, figure in zip(CLASSES, paper, strict=True)]
    return [statistics.mean(values) - figure for values, figure in pairs if values]


def aucs_of(found: list[dict[str, Any]]) -> "dict[tuple[str, str], Aucs]":
    """Table I's figures, by method and boundary."""
    aucs: dict[tuple[str, str], Aucs] = {key: {} for key in METHODS}
    for row in found:
        aucs[row["method"], row["boundary"]][row["class"], row["seed"]] = auc_of(row)
    return aucs


def of(aucs: Aucs, name: str) -> list[float]:
    """The AUCs of one class, by seed."""
    return [auc for (normal, _), auc in sorted(aucs.items()) if normal == name]


def average(values: list[float]) -> float | None:
    return statistics.mean(values) if values else None


def together(aucs: dict[tuple[str, str], Aucs]) -> list[str]:
    """MOCCA less each baseline, classes' means over the seeds that both have, with a paired bootstrap interval."""
    lines = []
    for boundary, other in itertools.product(("soft", "hard"), ("deep_svdd", "dcae")):
        ours, theirs = aucs["mocca", boundary], aucs[other, boundary if other != "dcae" else "-"]
        pairs = {pair: ours[pair] - theirs[pair] for pair in ours.keys() & theirs.keys()}
        differences = [statistics.mean(values) for name in CLASSES if (values := of(pairs, name))]
        if len(differences) > 1:
            low, high = bootstrap(differences)
            lines.append(
                f"- mocca, {boundary}, less {other}: {statistics.mean(differences):+.3f}, 95 % interval {low:+.3f} to "
                f"{high:+.3f} (paired bootstrap, {len(differences)} classes)"
            )
    return lines


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
