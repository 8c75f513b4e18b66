"""What a run leaves in its folder besides checkpoints: config, logs, scores, result."""

import csv
import io
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import mocca_jax
from mocca_jax.data import Split
from mocca_jax.files.whole import write_whole
from mocca_jax.method import threshold as thresholds
from mocca_jax.scoring import evaluate
from mocca_jax.training import parallel

CONFIG, RESULT = "config.json", "result.json"
SCORES = {"test": "scores.csv", "heldout": "scores_heldout.csv"}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn", "tensorflow-datasets")


def write_scores(
    path: Path,
    split: Split,
    found: evaluate.Scores,
    heldout: np.ndarray | None,
    map_largest: np.ndarray | None = None,
    rounding: float = 0.0,
) -> None:
    """One line per sample: name, label, score, each layer's part, largest map value, p-value of the score."""
    out = io.StringIO()
    writer = csv.writer(out)
    columns = {"score": found.combined, **found.layers}
    if map_largest is not None:
        columns["map_largest"] = map_largest
    if heldout is not None and found.combined is not heldout:
        columns["p_value"] = thresholds.p_values(found.combined, heldout, rounding)
    writer.writerow(["sample", "label", *columns])
    for i, sample in enumerate(split.samples):
        writer.writerow([sample, int(split.labels[i]), *(repr(float(values[i])) for values in columns.values())])
    write_whole(path, out.getvalue())


def threshold(
    heldout: np.ndarray | None,
    changed: evaluate.Scores | None,
    test: evaluate.Scores | None,
    labels: np.ndarray,
    config,
    rounding: float = 0.0,
) -> dict | None:
    """The threshold from held-out normals, and the shares it flags of others; None where none were held out.

    The others: next-day good samples (`changed`), and those of the test set by their `labels`. `rounding`: see
    `method/threshold.py`.
    """
    if heldout is None:
        return None
    value, promised = thresholds.conformal_threshold(heldout, config.alpha, rounding)
    row = {"score": value, "alpha": config.alpha, "promised_share": promised, "heldout": len(heldout)}
    row["rounding"] = rounding
    if changed is not None:
        row["changed_flagged"] = float((changed.combined > value).mean())
    for name, label in (("normal", 0), ("anomalous", 1)):
        if test is not None and (labels == label).any():
            row[f"{name}_flagged"] = float((test.combined[labels == label] > value).mean())
    return row


def circumstances() -> dict[str, Any]:
    """Versions, device and commit."""
    return {
        "version": mocca_jax.__version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": parallel.describe(),
    }


def _commit() -> str | None:
    """The commit of the checkout this package lies in, with `+` when it was changed; None outside one."""
    folder = Path(mocca_jax.__file__).resolve().parent
    git = ["git", "-C", str(folder)]
    try:
        run = {"capture_output": True, "text": True, "timeout": 5, "check": True}
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--", str(folder)], **run).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")
