"""Which plots a finished run gets, from the files that it left."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mocca_jax.method import metrics
from mocca_jax.outputs import decision, verdict
from mocca_jax.report import plots
from mocca_jax.scoring import moving, placed
from mocca_jax.training.parts import STRICT, Parts

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
    if not result.get("statistics") or moving.is_used(result["config"]):
        return layers_of(table)
    return [name for name in layers_of(table) if name in placed.CANDIDATES[result["statistics"]["chosen"]]]


def name_of(column: str, result: dict) -> str:
    """How a column of scores is called in plots and tables."""
    if column == MAP_LARGEST:
        return "largest value of the map" + (", smoothed" if result.get("statistics") else "")
    return moving.called(column) if moving.is_used(result["config"]) else column


def measured(result: dict, test: Table) -> dict[str, dict[str, float]]:
    """AUC, AP and maxBA of every column of scores, what decides first; nothing where a kind of label is missing."""
    known = test["label"] >= 0
    if not {0, 1} <= set(test["label"].tolist()):
        return {}
    first = deciding(result)
    others = [name for name in ("score", MAP_LARGEST) if name in test and name != first]
    order = [first, *others, *layers_of(test)]
    return {name: metrics.evaluate(test["label"][known], test[name][known]) for name in order}


def draw(
    folder: Path, result: dict, tables: dict[str, Table], epochs: list[dict], parts: Parts = STRICT
) -> list[tuple[Path, str]]:
    """Writes the plots into `folder`; returns them with what they show.

    Args:
        folder: exists.
        result: of the run.
        tables: `read_scores` of the splits `test` and `heldout`, where there are such.
        epochs: `read_epochs`.
        parts: makes the plots, of which each may fail.
    """
    given, found = _Given(result, tables.get("test"), tables.get("heldout"), epochs), []
    for name, plan in PLANS.items():

        def make(path: Path = folder / f"{name}.png", plan: Callable[[_Given], _Plan | None] = plan) -> None:
            if planned := plan(given):
                plots.save(path, planned.draw, **planned.size)
                found.append((path, planned.caption))

        parts.make(f"report: plot {name}", make, None)
    return found


@dataclass(frozen=True)
class _Given:
    """What plots are made of; see `draw`."""

    result: dict
    test: Table | None
    heldout: Table | None
    epochs: list[dict]

    @property
    def threshold(self) -> float | None:
        return self.result["decision"]["threshold"]


@dataclass(frozen=True)
class _Plan:
    """A plot: what it shows, what draws it on axes, `plots.save`'s rows, columns and height."""

    caption: str
    draw: Callable[[Any], None]
    size: dict[str, float] = field(default_factory=dict)


def _scores(given: _Given) -> _Plan | None:
    column, test, heldout = deciding(given.result), given.test, given.heldout
    groups = {}
    if test:
        known = {"normal": test["label"] == 0, "anomalous": test["label"] == 1}
        groups = {name: test[column][which] for name, which in known.items() if which.any()}
    if heldout and column in heldout:
        groups[f"{verdict.unseen(given.result)} normal"] = heldout[column]
    if not groups:
        return None
    said = f"{name_of(column, given.result).capitalize()} of each group."
    said += " The further apart the two colors, the better." if {"normal", "anomalous"} <= groups.keys() else ""
    if given.threshold is not None:
        said += " What lies right of the dashed threshold is flagged."
    label = f"{name_of(column, given.result)} (larger = more anomalous)"
    return _Plan(said, lambda axes: plots.histogram(axes, groups, given.threshold, label))


def _roc(given: _Given) -> _Plan | None:
    test = given.test
    figures = measured(given.result, test) if test else {}
    if not figures:
        return None
    from sklearn.metrics import roc_curve  # slow to import, needed only here

    known = test["label"] >= 0
    curves = {}
    for name, row in figures.items():
        false, true, _ = roc_curve(test["label"][known], test[name][known])
        curves[name_of(name, given.result)] = false, true, row["auc"]
    said = "Share of anomalies found against share of good samples flagged, over all thresholds. Bold: what decides."
    return _Plan(said, lambda axes: plots.roc(axes, curves))


def _layers(given: _Given) -> _Plan | None:
    test = given.test
    if not test or not {0, 1} <= set(test["label"].tolist()):
        return None
    of_labels = {n: tuple(test[n][test["label"] == label] for label in (0, 1)) for n in layers_of(test)}
    layers = {name_of(n, given.result): of for n, of in of_labels.items()}
    columns = min(2, len(layers))
    rows = math.ceil(len(layers) / columns)
    said = "part of the statistics" if given.result.get("statistics") else "layer (the paper's Figure 5)"
    said = (
        f"For each {said}, the share of samples below a score. It tells the two apart where the dashed curve lies "
        "right of the solid one."
    )
    size = {"rows": rows, "columns": columns, "height": 0.6 + 2.2 * rows}
    return _Plan(said, lambda axes: plots.cdfs(axes, layers), size)


def _curves(given: _Given) -> _Plan | None:
    series = _training(given.epochs)
    if not series:
        return None

    def all_curves(axes: Any) -> None:
        for one, (title, values) in zip(np.ravel(axes), series.items(), strict=True):
            plots.curves(one, title, values)

    said = (
        "Training. A mean distance that falls towards zero while the AUC does not rise means that the network "
        "learns to give the same answer to everything."
    )
    return _Plan(said, all_curves, {"rows": len(series), "height": 2.4 * len(series)})


def _over_time(given: _Given) -> _Plan | None:
    if not given.test or "frame_size" not in given.result["config"]:
        return None
    videos = _videos(given.test)
    said = "The score of each frame of the test videos; shaded: labelled anomalous, dashed: the threshold."
    size = {"rows": len(videos), "height": 0.4 + 1.1 * len(videos)}
    return _Plan(said, lambda axes: plots.over_time(axes, videos, given.threshold), size)


PLANS: dict[str, Callable[[_Given], _Plan | None]] = {
    "scores": _scores,
    "roc": _roc,
    "layers": _layers,
    "training": _curves,
    "videos": _over_time,
}


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
