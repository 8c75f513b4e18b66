"""What was found out about a data set, as `result.json` holds it."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mocca_jax import data
from mocca_jax.outputs import decision, results
from mocca_jax.scoring import evaluate, placed, tiled
from mocca_jax.scoring.localize import Localized
from mocca_jax.training.checkpoint import describe
from mocca_jax.training.final import Trained
from mocca_jax.training.parts import Parts


def compose(
    config,
    dataset: data.Dataset,
    trained: Trained,
    scores: dict[str, evaluate.Scores],
    localized: Localized,
    rounding: dict[str, float],
    parts: Parts,
) -> dict[str, Any]:
    """The part of the result that follows from the data, the end of training and the scores.

    Args:
        scores: by split, any may be absent: `test`, `heldout` (normals not trained on), `changed` (as these
            would be on a next day), `defects` (made up).
        localized: what was found out by anomaly maps, where there are some.
        rounding: by what may decide.
        parts: makes the figures, of which each may fail.
    """
    test, heldout, changed, defects = (scores.get(name) for name in ("test", "heldout", "changed", "defects"))
    truth = labels(dataset)
    comparable = test and {0, 1} <= set(np.unique(truth))
    normals = decision.normals(heldout, dataset.heldout)
    planted = defects and dataset.defects.timeline is not None

    def figures(of: str, wanted: Any, measure: Callable[..., dict], *arguments: Any) -> dict:
        return parts.make(f"figures: {of}", partial(measure, *arguments), {}) if wanted else {}

    made_up = figures("made-up defects", defects, evaluate.contrast, changed or heldout, defects)
    next_day = None if tiled.is_used(config) else changed  # of tiles alone: no whole pictures
    videos = comparable and dataset.test.timeline
    result = {
        "description": dataset.description,
        "boundary": config.boundary,
        "layers": list(config.layers),
        "seed": config.seed,
        "metrics": figures("test set", comparable, evaluate.measure, test, truth),
        "frames": figures("frames", videos, evaluate.measure_frames, test, dataset.test),
        "made_up_defects": made_up,
        "planted": figures("planted anomalies", planted, _planted, heldout, defects, dataset.defects),
        "threshold": results.threshold(normals, next_day, test, truth, config, rounding.get(decision.SCORE, 0.0)),
        "maps": localized.result,
        "paper_auc": dataset.paper_auc.get(config.boundary) if config.score == "distance" else None,
        "samples": {
            "train": len(dataset.train),
            "heldout": len(heldout.combined) if heldout else 0,
            "normal": int((truth == 0).sum()),
            "anomalous": int((truth == 1).sum()),
        },
        "data": {
            "fingerprint": dataset.fingerprint,
            "files": len(dataset.files),
            "unused": dataset.unused,
            "remarks": dataset.remarks,
        },
        "radii": {name: float(radius) for name, radius in trained.state.radii.items()},
        "sha256": _sha256(trained, scores),
    }
    if heldout and dataset.heldout.timeline:
        result["samples"]["heldout_videos"] = dataset.videos
        result["samples"]["heldout_blocks"] = len(normals)
    choose = partial(decision.by, made_up, localized.result, config.score == placed.SCORE)
    by = parts.make("choice between score and map", choose, decision.SCORE)
    deciding = (normals, test.combined if test else None)
    if by == decision.MAP:
        deciding = (localized.largest["heldout"], localized.largest.get("test"))
    row = decision.describe(by, *deciding, truth, config.get("alpha"), rounding.get(by, 0.0), parts)
    return result | {"decision": row}


def labels(dataset: data.Dataset) -> np.ndarray:
    """Of the test samples, 1 = anomalous; empty where there is no test set."""
    return np.asarray(dataset.test.labels) if dataset.test else np.zeros(0, np.int32)


def _planted(normal: evaluate.Scores, planted: evaluate.Scores, split: data.Split) -> dict[str, dict]:
    """Held-out videos against the same with made-up anomalies, each kind of them by itself."""
    kinds = np.array([name.split()[0] for name in split.samples])
    return {kind: evaluate.contrast(normal, planted.only(kinds == kind)) for kind in np.unique(kinds).tolist()}


def _sha256(trained: Trained, scores: dict[str, evaluate.Scores]) -> str:
    """One digest over all arrays of the final state and all scores."""
    found = {name: {"score": s.combined, "layers": s.layers} for name, s in scores.items()}
    state = {f"['state']{name}": entry for name, entry in trained.arrays.items()}
    return hashlib.sha256(json.dumps(state | describe(found), sort_keys=True).encode()).hexdigest()
