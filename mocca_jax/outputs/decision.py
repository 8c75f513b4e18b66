"""What decides in a run: chosen on made-up defects, followed by every command, measured on the test set."""

from typing import Any

import numpy as np

from mocca_jax.data import Split
from mocca_jax.method import blocks, metrics, threshold
from mocca_jax.scoring import evaluate
from mocca_jax.training.parts import STRICT, Parts

SCORE, MAP = "score", "map"


def normals(found: evaluate.Scores | None, split: Split | None) -> np.ndarray | None:
    """What a threshold comes from: scores of normal samples; of frames the largest of each block (`blocks.maxima`)."""
    if found is None:
        return None
    return blocks.maxima(found.combined, split.timeline.pieces) if split.timeline else found.combined


def by(made_up: dict[str, dict[str, float]], maps: dict[str, Any] | None, own: bool) -> str:
    """`score`, or `map`: the largest value of the anomaly map, where that finds made-up defects better.

    Args:
        made_up: figures of the score on made-up defects, `evaluate.contrast`; may be empty.
        maps: the result of the maps, or None.
        own: the score is the largest value of the map already.
    """
    figures = aucs(made_up, maps)
    return metrics.best(figures) if not own and SCORE in figures else SCORE


def aucs(made_up: dict[str, dict[str, float]], maps: dict[str, Any] | None) -> dict[str, float]:
    """On made-up defects, of score and map, where they are known."""
    found = {SCORE: made_up["combined"]["auc"]} if made_up else {}
    chosen = maps["candidates"][maps["method"]] if maps else {}
    return found | ({MAP: chosen["image_auc"]} if "image_auc" in chosen else {})


def describe(
    by: str,
    heldout: np.ndarray | None,
    test: np.ndarray | None,
    labels: np.ndarray,
    alpha: float | None,
    rounding: float = 0.0,
    parts: Parts = STRICT,
) -> dict[str, Any]:
    """For `result.json`: `by`, `threshold`, `alpha` and, of the test set, `auc`, `ap`, `max_ba` and the shares flagged.

    Args:
        by: what decides.
        heldout: its values `[n]` of normal samples that nothing was fitted on, or None.
        test: of the test samples, or None.
        labels: of these, 1 anomalous, 0 normal, -1 not known.
        alpha: share of good samples that may be flagged; None where the data has no such field.
        rounding: of these values, see `method/threshold.py`.
        parts: makes the figures, which may fail.
    """
    row: dict[str, Any] = {"by": by, "alpha": alpha, "threshold": None}
    if heldout is not None and alpha is not None:
        row["threshold"], row["promised_share"] = threshold.conformal_threshold(heldout, alpha, rounding)
        row |= {"heldout": len(heldout), "rounding": rounding}
    if test is None:
        return row
    if {0, 1} <= set(np.unique(labels)):
        known = labels >= 0
        row |= parts.make("figures: decision", lambda: metrics.evaluate(labels[known], test[known]), {})
    for name, label in (("normal", 0), ("anomalous", 1)):
        if row["threshold"] is not None and (labels == label).any():
            row[f"{name}_flagged"] = float((test[labels == label] > row["threshold"]).mean())
    return row
