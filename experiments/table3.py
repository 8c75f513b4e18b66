"""Tables III to V and VII, MVTec AD: ours beside the paper's and the baselines', as Markdown and as pictures."""

import itertools
import statistics
from typing import Any

from matplotlib.figure import Figure

from experiments import rows, sweep
from experiments.markdown import at, cell, circumstances, header, line, mean_and_deviation
from experiments.paper import LEATHER, MVTEC

NAMES = {"untrained": "untrained", "reconstruct": "reconstruction error"}
SCORE, MAP = ("metrics", "combined", "auc"), ("maps", "test", "image_auc")
PIXELS = ("maps", "test", "pixel_auroc")
MADE_UP = ("made_up_defects", "combined", "auc")
ABLATED = {
    "maxBA": ("metrics", "combined", "max_ba"),
    "AUC": SCORE,
    "AUC on made-up defects": MADE_UP,
}
KINDS = ("score", "map")  # what a run judges an image by: Eq. 6 or the error, or the largest value of its map
TRAINED = (("mocca", "soft"), ("mocca", "hard"), ("reconstruct", "-"))
DRAWN = (  # method, boundary, what is drawn, its name
    ("mocca", "soft", SCORE, "mocca, soft"),
    ("mocca", "hard", SCORE, "mocca, hard"),
    ("untrained", "-", SCORE, "untrained"),
    ("reconstruct", "-", SCORE, "reconstruction error"),
    ("mocca", "soft", MAP, "mocca, soft: largest value of the map"),
)


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
        hours = f"{sum(row['wall_seconds'] for row in members) / 3600:.2f}"
        lines.append(line([category, what_is(method, boundary), str(len(members)), *image, paper, *pixels, hours]))
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
    known = "What a run knows before it sees a test image: AUC on made-up defects -> AUC on the test set."
    return [*lines, "", known, "", *beforehand(found), *circumstances(found)]


def table3_long(found: list[dict[str, Any]]) -> list[str]:
    """MVTec AD with ten times the epochs beside the default, the same categories, methods and seeds."""
    default = {(row["category"], *key_of(row), row["seed"]): row for row in rows.read(sweep.RESULTS / "table3.jsonl")}
    figures = {"AUC": SCORE, "AUC on made-up defects": MADE_UP, "map AUC": MAP, "pixel AUROC": PIXELS}
    head = ["category", "what", "seed", *(f"{name}, {times}" for name in figures for times in ("default", "long"))]
    lines = header([*head, "paper AUC", "hours"])
    for row in sorted(found, key=lambda row: (order(row["category"], *key_of(row)), row["seed"])):
        category, (method, boundary), seed = row["category"], key_of(row), row["seed"]
        pair = default.get((category, method, boundary, seed), {}), row
        cells = [cell([of], *path) for path in figures.values() for of in pair]
        paper = f"{MVTEC[boundary][category][0]:.2f}" if method == "mocca" else ""
        hours = f"{row['wall_seconds'] / 3600:.1f}"
        lines.append(line([category, what_is(method, boundary), str(seed), *cells, paper, hours]))
    return [*lines, *circumstances(found)]


def beforehand(found: list[dict[str, Any]]) -> list[str]:
    """AUC on made-up defects, known before any test image is seen, beside AUC on the test set, means over the seeds.

    For each category and seed the candidate is chosen that finds made-up defects best: a choice without test labels.
    """
    names = [f"{what_is(*key)}, {kind}" for key in TRAINED for kind in KINDS]
    lines = header(["category", "n", *names, "chosen on made-up defects", "best, chosen with test labels"])
    for category in sorted({row["category"] for row in found}):
        members = [row for row in found if row["category"] == category and key_of(row) in TRAINED]
        columns = []
        by_seed: dict[int, list[tuple[float, float]]] = {}
        for key, kind in itertools.product(TRAINED, KINDS):
            pairs = {row["seed"]: pair_of(row, kind) for row in members if key_of(row) == key}
            pairs = {seed: pair for seed, pair in pairs.items() if None not in pair}
            columns.append(" -> ".join(f"{statistics.mean(of):.2f}" for of in zip(*pairs.values(), strict=True)))
            for seed, pair in pairs.items():
                by_seed.setdefault(seed, []).append(pair)
        chosen = [max(pairs)[1] for pairs in by_seed.values()]
        best = [max(auc for _, auc in pairs) for pairs in by_seed.values()]
        ends = [mean_and_deviation(chosen), mean_and_deviation(best)]
        lines.append(line([category, str(len(by_seed)), *columns, *ends]))
    return lines


def pair_of(row: dict[str, Any], kind: str) -> tuple[float | None, float | None]:
    """AUC on made-up defects and on the test set; None where the row has none."""
    if kind == "score":
        return at(row, *MADE_UP), at(row, *SCORE)
    return at(row, "maps", "candidates", at(row, "maps", "method"), "image_auc"), at(row, *MAP)


def key_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["method"], row["boundary"]


def what_is(method: str, boundary: str) -> str:
    return f"mocca, {boundary}" if method == "mocca" else NAMES[method]


def table7(found: list[dict[str, Any]]) -> list[str]:
    """The ablation of layers: maxBA and AUC for each set, what made-up defects say of it, the paper's on leather."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in found:
        groups.setdefault((row["category"], row["layers_used"]), {}).setdefault(row["boundary"], []).append(row)
    head = [
        "category",
        "layers",
        "n",
        *(f"{b}, {k}" for b in ("soft", "hard") for k in ABLATED),
        "paper, leather, maxBA soft / hard",
    ]
    lines = header(head)
    for (category, layers), members in sorted(groups.items(), key=lambda item: (item[0][0], len(item[0][1]))):
        cells = [cell(members.get(b, []), *path) for b in ("soft", "hard") for path in ABLATED.values()]
        paper = "{:.3f} / {:.3f}".format(*LEATHER[layers])
        count = " to ".join(dict.fromkeys(str(len(members.get(b, []))) for b in ("soft", "hard")))
        lines.append(line([category, layers, count, *cells, paper]))
    return [*lines, *circumstances(found)]


def figure3(found: list[dict[str, Any]]) -> Figure:
    """A mark per category, method and seed."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    categories = sorted({row["category"] for row in found})
    for shift, (method, boundary, path, name) in enumerate(DRAWN):
        members = [row for row in found if (row["method"], row["boundary"]) == (method, boundary)]
        points = [(categories.index(row["category"]) + 0.15 * (shift - 2), at(row, *path)) for row in members]
        if points:
            axes.plot(*zip(*points, strict=True), "osDv^"[shift], markersize=5, label=name)
    paper = [sorted(MVTEC[boundary][category][0] for boundary in ("soft", "hard")) for category in categories]
    heights = [high - low for low, high in paper]
    places = [index - 0.225 for index in range(len(categories))]  # beside the first two methods
    axes.bar(places, heights, 0.3, [low for low, _ in paper], color="0.8", zorder=0, label="paper, hard to soft")
    axes.axhline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xticks=range(len(categories)), xticklabels=categories, ylabel="AUC (0.5 = chance)", ylim=(0, 1.02))
    axes.set_title("MVTec AD: good images against defective ones; a mark is a seed", fontsize=10)
    figure.legend(ncols=3, fontsize=8, loc="outside lower center")
    return figure


def figure7(found: list[dict[str, Any]]) -> Figure:
    """AUC by the layers used, a line per category, boundary and seed."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    curves: dict[tuple[str, str, int], dict[str, float]] = {}
    for row in found:
        curves.setdefault((row["category"], row["boundary"], row["seed"]), {})[row["layers_used"]] = at(row, *SCORE)
    sets = sorted(LEATHER, key=len)
    for number, ((category, boundary, seed), aucs) in enumerate(sorted(curves.items(), reverse=True)):
        points = [(index, aucs[layers]) for index, layers in enumerate(sets) if layers in aucs]
        axes.plot(*zip(*points, strict=True), "osDv^"[number % 5] + "-", label=f"{category}, {boundary}, seed {seed}")
    axes.axhline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xticks=range(len(sets)), xlabel="layers used", ylabel="AUC (0.5 = chance)")
    axes.set_xticklabels([f"{layers[0]} to 6" if layers != "6" else "6" for layers in sets])
    axes.legend(fontsize=8)
    return figure


def order(category: str, method: str, boundary: str) -> tuple:
    return category, method in NAMES, method, boundary
