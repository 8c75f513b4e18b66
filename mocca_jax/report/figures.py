"""Which plots a finished run gets, from the files that it left."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from mocca_jax.method import metrics
from mocca_jax.outputs import decision, verdict
from mocca_jax.report import plots
from mocca_jax.scoring import placed

MAP_LARGEST = "map_largest"
NOT_LAYERS = ("sample", "label", "score", "p_value", MAP_LARGEST)

Table = dict[str, Any]  # sample: names; label and every score: arrays


def read_scores(path: Path) -> Table:
    """A run's table of scores.

    Raises:
        ValueError: it is damaged.
    """
    with open(path, newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.DictReader(file))
        except csv.Error as error:
            raise ValueError(f"{path}: {error}") from error
    table: Table = {"sample": [row["sample"] for row in rows]}
    for name in rows[0] if rows else ():
        if name != "sample":
            table[name] = np.array([float(row[name]) for row in rows])
    return table


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """A run's metrics, one row per epoch; none where there is no such file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def layers_of(table: Table) -> list[str]:
    """The columns that hold a part of the score."""
    return [name for name in table if name not in NOT_LAYERS]


def deciding(result: dict) -> str:
    """The column that decides."""
    return MAP_LARGEST if result["decision"]["by"] == decision.MAP else "score"


def deciding_parts(result: dict, table: Table) -> list[str]:
    """Of `layers_of`, those that what decides is made of; none where that is the map."""
    if deciding(result) == MAP_LARGEST:
        return []
    if not result.get("statistics"):
        return layers_of(table)
    return [name for name in layers_of(table) if name in placed.CANDIDATES[result["statistics"]["chosen"]]]


def name_of(column: str, result: dict) -> str:
    """How a column of scores is called in plots and tables."""
    if column == MAP_LARGEST:
        return "largest value of the map" + (", smoothed" if result.get("statistics") else "")
    return column


def measured(result: dict, test: Table) -> dict[str, dict[str, float]]:
    """AUC, AP and maxBA of every column of scores, what decides first; nothing where a kind of label is missing."""
    known = test["label"] >= 0
    if not {0, 1} <= set(test["label"].tolist()):
        return {}
    first = deciding(result)
    others = [name for name in ("score", MAP_LARGEST) if name in test and name != first]
    order = [first, *others, *layers_of(test)]
    return {name: metrics.evaluate(test["label"][known], test[name][known]) for name in order}


def draw(folder: Path, result: dict, tables: dict[str, Table], epochs: list[dict]) -> list[tuple[Path, str]]:
    """Writes the plots into `folder`; returns them with what they show.

    Args:
        folder: exists.
        result: of the run.
        tables: `read_scores` of the splits `test` and `heldout`, where there are such.
        epochs: `read_epochs`.
    """
    found: list[tuple[Path, str]] = []

    def plot(name: str, caption: str, draw, **size) -> None:
        plots.save(folder / f"{name}.png", draw, **size)
        found.append((folder / f"{name}.png", caption))

    threshold, column = result["decision"]["threshold"], deciding(result)
    test, heldout = tables.get("test"), tables.get("heldout")
    groups = {}
    if test:
        known = {"normal": test["label"] == 0, "anomalous": test["label"] == 1}
        groups = {name: test[column][which] for name, which in known.items() if which.any()}
    if heldout and column in heldout:
        groups[f"{verdict.unseen(result)} normal"] = heldout[column]
    if groups:
        said = f"{name_of(column, result).capitalize()} of each group."
        said += " The further apart the two colors, the better." if {"normal", "anomalous"} <= groups.keys() else ""
        if threshold is not None:
            said += " What lies right of the dashed threshold is flagged."
        label = f"{name_of(column, result)} (larger = more anomalous)"
        plot("scores", said, lambda axes: plots.histogram(axes, groups, threshold, label))
    if figures := measured(result, test) if test else {}:
        known = test["label"] >= 0
        curves = {}
        for name, row in figures.items():
            false, true, _ = roc_curve(test["label"][known], test[name][known])
            curves[name_of(name, result)] = false, true, row["auc"]
        said = (
            "Share of anomalies found against share of good samples flagged, over all thresholds. Bold: what decides."
        )
        plot("roc", said, lambda axes: plots.roc(axes, curves))
        layers = {n: tuple(test[n][test["label"] == label] for label in (0, 1)) for n in layers_of(test)}
        columns = min(2, len(layers))
        rows = math.ceil(len(layers) / columns)
        said = "part of the statistics" if result.get("statistics") else "layer (the paper's Figure 5)"
        said = (
            f"For each {said}, the share of samples below a score. It tells the two apart where the dashed curve lies "
            "right of the solid one."
        )
        plot("layers", said, lambda a: plots.cdfs(a, layers), rows=rows, columns=columns, height=0.6 + 2.2 * rows)
    series = _training(epochs)
    if series:
        said = (
            "Training. A mean distance that falls towards zero while the AUC does not rise means that the network "
            "learns to give the same answer to everything."
        )
        size = {"rows": len(series), "height": 2.4 * len(series)}

        def all_curves(axes) -> None:
            for one, (title, values) in zip(np.ravel(axes), series.items(), strict=True):
                plots.curves(one, title, values)

        plot("training", said, all_curves, **size)
    if test and result.get("frames"):
        videos = _videos(test)
        rows = len(videos)
        plot(
            "videos",
            "The score over each test video; shaded: frames labelled anomalous, dashed: the threshold.",
            lambda axes: plots.over_time(axes, videos, threshold),
            rows=rows,
            height=0.4 + 1.1 * rows,
        )
    return found


def _training(epochs: list[dict]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Curves by title: each stage's loss, each layer's mean distance and radius."""
    series: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for row in epochs:
        points = {f"{row['stage']}: loss": {"loss": row["loss"]}} if "loss" in row else {}
        for layer, values in row.get("layers", {}).items():
            for quantity in ("distance", "radius"):
                points.setdefault(f"{row['stage']}: {quantity} of each layer", {})[layer] = values[quantity]
        for title, of in points.items():
            for name, value in of.items():
                at, values = series.setdefault(title, {}).setdefault(name, ([], []))
                at.append(row["epoch"])
                values.append(value)
    return series


def _videos(test: Table) -> list[tuple[str, np.ndarray, np.ndarray]]:
    names = np.array([sample.rsplit("/", 1)[0] for sample in test["sample"]])
    kept = list(dict.fromkeys(names.tolist()))[: plots.MOST_VIDEOS]
    return [(name, test["score"][names == name], test["label"][names == name]) for name in kept]
