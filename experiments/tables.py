"""Command: the paper's tables from recorded rows, as Markdown between markers in experiments/README.md.

python -m experiments.tables [--check]

A cell is the mean over the seeds recorded, +- their standard deviation where there are several; n says how many. Rows
that are missing are counted beside every average. `--check` writes nothing and fails where the page is stale.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments import rows, sweep
from mocca_jax.data.cifar10 import CLASSES, PAPER_HARD, PAPER_SOFT

PAGE = Path(__file__).parent / "README.md"
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
    aucs: dict[tuple[str, str], Aucs] = {key: {} for key in METHODS}
    for row in found:
        aucs[row["method"], row["boundary"]][row["class"], row["seed"]] = row["metrics"]["combined"]["auc"]
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
    if any(len(values) < len(CLASSES) for values in means):
        lines += ["", "Incomplete: a mean over fewer than ten classes cannot be compared with the paper's."]
    return [*lines, "", *together(aucs), *circumstances(found)]


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
    devices = sorted({f"{row['device']['devices']} {row['device']['kind']} device(s)" for row in found})
    commits = sorted({str(row["commit"]) for row in found})
    return ["", f"{len(found)} runs, {hours:.1f} hours in all, {', '.join(devices)}; commits {', '.join(commits)}."]


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


TABLES: dict[str, Callable[[list[dict[str, Any]]], list[str]]] = {"table1": table1}


if __name__ == "__main__":
    main()
