"""How well scores separate anomalous from normal samples. Label 1 = anomalous; larger score = more anomalous."""

import numpy as np

METRICS = ("auc", "ap", "max_ba")


def evaluate(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUC, AP and maxBA of one set of scores.

    Args:
        labels: `[S]`, 1 = anomalous, 0 = normal, both present.
        scores: `[S]`, finite.

    Returns:
        `auc`: area under the ROC curve. `ap`: average precision with anomalies as positives. `max_ba`: the
        largest balanced accuracy (Eq. 5) over all thresholds; as its threshold is chosen with the labels, it
        is an oracle's figure. All in [0, 1], larger is better.

    Raises:
        ValueError: shapes differ, a class is missing, or a score is not finite.

    Example:
        >>> evaluate(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))["auc"]
        0.75
    """
    from sklearn import metrics  # slow to import, needed only here

    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"expected labels and scores [S], got {labels.shape} and {scores.shape}")
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(f"metrics need normal (0) and anomalous (1) samples, got labels {np.unique(labels).tolist()}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite")
    false_positive, true_positive, _ = metrics.roc_curve(labels, scores)
    return {
        "auc": float(metrics.roc_auc_score(labels, scores)),
        "ap": float(metrics.average_precision_score(labels, scores)),
        "max_ba": float(((true_positive + 1 - false_positive) / 2).max()),
    }
