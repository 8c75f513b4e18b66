"""Where the anomalies are: chooses a method on made-up defects, sets the scale on held-out normals, measures.

A map shows and decides, so the method is chosen that does both best: by the mean of AUPRO, which looks at pixels, and
the AUC of images by their largest value. Both tell images with made-up defects from good ones of a next day: a method
that takes another lamp for an anomaly loses.

The test set has no say in either: its masks are looked at once, for the figures in the result.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from absl import logging

from mocca_jax import console
from mocca_jax.data import Dataset, Split, masks
from mocca_jax.data.pictures import Pictures
from mocca_jax.method import metrics
from mocca_jax.method import threshold as thresholds
from mocca_jax.scoring import maps, rounding, tiled
from mocca_jax.training.parts import STRICT, Parts

MOST_PIXELS = 4e7  # of a test set; beyond, figures are taken from every k-th pixel of every k-th row
ENOUGH_PIXELS = 2e6  # of made-up defects, to choose by
EXAMPLES = 16  # made-up defects whose maps are kept where there is no test set


@dataclass(frozen=True)
class Ready:
    """Maps by split that are known already, and the `rounding` of their largest values."""

    maps: dict[str, list[np.ndarray]]
    rounding: float


@dataclass(frozen=True)
class Localized:
    """The maps of a run.

    `result`: `method`; `candidates`: each method's figures on made-up defects and next-day good images, of which its
    threshold flags the share `changed_flagged`; `threshold`: the value that the largest of a map reaches in a share
    alpha of good images; `rounding`: of these largest values; `ordinary`: the median value of good pixels; `test`:
    figures on the masks of the test set, or None. `largest {split: [S]}`: the largest value of each map. `statistics`:
    what the chosen method knows of the fit images. `kept {index: [rows, columns]}`: the maps that were asked for, of
    samples of `of`, the test set or, without one, the made-up defects. Without maps, `result` is None and the others
    are empty.
    """

    result: dict[str, Any] | None = None
    largest: dict[str, np.ndarray] = field(default_factory=dict)
    statistics: maps.Statistics = field(default_factory=dict)
    of: Split | None = None
    kept: dict[int, np.ndarray] = field(default_factory=dict)


def run(
    context: maps.Context,
    dataset: Dataset,
    wanted: np.ndarray,
    ready: Ready | None = None,
    parts: Parts = STRICT,
) -> Localized:
    """Anomaly maps of a trained run; nothing where no maps are wanted, nothing is held out, or no method works.

    Args:
        context: the trained model.
        dataset: that it was trained on.
        wanted: the test samples whose maps are kept.
        ready: what is known already.
        parts: makes each method, and what is known of the test set, of which each may fail.
    """
    config = context.config
    if not config.get("maps", ()) or dataset.heldout is None or dataset.heldout.pictures is None:
        return Localized()
    logging.info("anomaly maps: comparing %s on made-up defects", ", ".join(config.maps))
    splits = {"heldout": dataset.heldout, "changed": dataset.changed, "defects": dataset.defects}
    pictures = {split: of.pictures for split, of in splits.items() if of and of.pictures}
    methods = {
        name: found
        for name in config.maps
        if (found := parts.make(f"map: {name}", partial(_method, name, context, dataset, pictures, ready), None))
    }
    if not methods:
        return Localized()
    merits = {name: merit(of.figures) for name, of in methods.items() if of.figures}
    name = metrics.best(merits) if merits else next(iter(methods))
    chosen = methods[name]
    largest = {split: _largest(of) for split, of in chosen.drawn.items()}
    usual = ordinary(chosen.drawn["heldout"])
    size = float(np.abs(largest["heldout"]).max())
    tied = ready.rounding if ready else rounding.of_maps(context, chosen.draw, pictures["heldout"], size)
    threshold, _ = thresholds.conformal_threshold(largest["heldout"], config.alpha, tied)
    candidates = {
        other: of.figures
        | ({} if tiled.is_used(config) else _next_day_flagged(of.drawn, config.alpha, tied if other == name else 0.0))
        for other, of in methods.items()
    }
    result = {"method": name, "candidates": candidates, "threshold": threshold, "rounding": tied}
    result |= {"ordinary": usual, "test": None}
    if dataset.test is None:
        shown = chosen.drawn.get("defects", [])[: min(config.overlays, EXAMPLES)]
        return Localized(result, largest, chosen.statistics, dataset.defects, dict(enumerate(shown)))
    found = chosen.drawn.get("test")
    if found is None:
        steps = _with_progress(chosen.draw, dataset.test.pictures, "maps")
        found = parts.make("maps of the test set", lambda: list(steps), None)
    if found is None:
        return Localized(result, largest, chosen.statistics)
    largest["test"] = _largest(found)
    figures = partial(_test_figures, found, dataset.test, threshold)
    result["test"] = parts.make("figures: maps of the test set", figures, None)
    kept = {index: found[index] for index in wanted.tolist()}
    return Localized(result, largest, chosen.statistics, dataset.test, kept)


@dataclass(frozen=True)
class _Method:
    """A method at work: its maps by split, and its figures on made-up defects."""

    draw: maps.Maps
    statistics: maps.Statistics
    drawn: dict[str, list[np.ndarray]]
    figures: dict[str, float]


def _method(
    name: str, context: maps.Context, dataset: Dataset, pictures: dict[str, Pictures], ready: Ready | None
) -> _Method:
    statistics = maps.fit(name, context, dataset.train.pictures)
    draw = maps.make(name, context, statistics)
    if ready:
        drawn = ready.maps
    else:
        drawn = {split: list(_with_progress(draw, of, f"maps: {name}, {split}")) for split, of in pictures.items()}
    return _Method(draw, statistics, drawn, _figures(drawn, pictures))


def _test_figures(found: list[np.ndarray], test: Split, threshold: float) -> dict[str, float] | None:
    truth = _masks(test.pictures, found)
    figures = measure(found, truth)
    if not figures:
        return None
    figures |= image_auc(found, test.labels) | region_recall(found, truth)
    for kind, label in (("normal", 0), ("anomalous", 1)):
        of_kind = _largest(found)[test.labels == label]
        figures |= {f"{kind}_flagged": float((of_kind > threshold).mean())} if len(of_kind) else {}
    return figures


def merit(candidate: dict[str, float]) -> float:
    """How well a method shows made-up defects and decides by them; larger is better."""
    return (candidate["aupro"] + candidate["image_auc"]) / 2


def _figures(drawn: dict[str, list[np.ndarray]], pictures: dict[str, Pictures]) -> dict[str, float]:
    """A method's figures on made-up defects, from its maps by split; none where there are no such defects."""
    if "defects" not in drawn:
        return {}
    good = "changed" if "changed" in drawn else "heldout"
    found = drawn[good] + drawn["defects"]
    labels = np.repeat([0, 1], [len(drawn[good]), len(drawn["defects"])])
    truth = _masks(pictures[good], drawn[good]) + _masks(pictures["defects"], drawn["defects"])
    return measure(found, truth, ENOUGH_PIXELS) | image_auc(found, labels)


def _next_day_flagged(drawn: dict[str, list[np.ndarray]], alpha: float, rounding: float) -> dict[str, float]:
    """The share of next-day good images that a method's threshold flags, where there are such images."""
    if "changed" not in drawn:
        return {}
    threshold, _ = thresholds.conformal_threshold(_largest(drawn["heldout"]), alpha, rounding)
    return {"changed_flagged": float((_largest(drawn["changed"]) > threshold).mean())}


def _masks(pictures: Pictures, found: list[np.ndarray]) -> list[np.ndarray | None]:
    """At the size of the maps `found`."""
    truth = []
    for index, values in enumerate(found):
        mask = pictures.mask(index)
        same = mask is None or mask.shape == values.shape
        truth.append(mask if same else masks.reduced(mask, values.shape, "stretch"))
    return truth


def _with_progress(method: maps.Maps, pictures: Pictures, what: str) -> Iterator[np.ndarray]:
    return console.steps(method(pictures), what, len(pictures), "images")


def ordinary(drawn: Iterable[np.ndarray]) -> float:
    """The median value of the pixels of maps of any sizes."""
    values = np.concatenate([of.ravel() for of in drawn])
    return float(np.median(values, overwrite_input=True))  # without one more copy


def _largest(found: list[np.ndarray]) -> np.ndarray:
    return np.array([values.max() for values in found])


def image_auc(found: list[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """AUC of images scored by the largest value of their maps; nothing where all images are of one kind."""
    both = set(np.unique(labels)) == {0, 1}
    return {"image_auc": metrics.evaluate(labels, _largest(found))["auc"]} if both else {}


def region_recall(found: list[np.ndarray], masks: list[np.ndarray | None]) -> dict[str, float]:
    """See `metrics.region_recall`, of maps whose masks are known."""
    known = [index for index, mask in enumerate(masks) if mask is not None]
    return {"region_recall": metrics.region_recall([found[n] for n in known], [masks[n] for n in known])}


def measure(
    found: list[np.ndarray], truth: list[np.ndarray | None], most: float = MOST_PIXELS
) -> dict[str, float] | None:
    """Pixel AUROC and AUPRO of maps whose masks, `truth`, are known (not None); None where nothing is marked."""
    known = [index for index, mask in enumerate(truth) if mask is not None]
    chosen_maps, chosen_masks = [found[i] for i in known], [truth[i] for i in known]
    if not any(mask.any() for mask in chosen_masks) or all(mask.all() for mask in chosen_masks):
        return None
    step = math.ceil(math.sqrt(sum(mask.size for mask in chosen_masks) / most))
    chosen_maps, chosen_masks = ([x[::step, ::step] for x in of] for of in (chosen_maps, chosen_masks))
    return {
        "pixel_auroc": metrics.pixel_auroc(chosen_maps, chosen_masks),
        "aupro": metrics.aupro(chosen_maps, chosen_masks),
        "images": len(known),
        "every_kth_pixel": step,
    }
