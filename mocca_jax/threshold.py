"""Threshold and p-values from held-out normal samples (split conformal prediction). Larger score = more anomalous."""

import numpy as np


def p_values(scores: np.ndarray, heldout: np.ndarray) -> np.ndarray:
    """The share of normal samples at least as anomalous: `(1 + #{heldout >= score}) / (n + 1)`.

    Args:
        scores: `[S]`.
        heldout: `[n]`, scores of normal samples that nothing was trained on.

    Returns:
        `[S]` in (0, 1]; small = anomalous. Among new normal samples at most a share alpha has p <= alpha.

    Example:
        >>> p_values(np.array([0.0, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
        [1.0, 0.25]
    """
    ordered = np.sort(heldout)
    return (1 + len(ordered) - np.searchsorted(ordered, scores, side="left")) / (len(ordered) + 1)


def conformal_threshold(heldout: np.ndarray, alpha: float) -> tuple[float, float]:
    """The score above which a sample is called anomalous, and the share of good samples that may be, at most.

    With n held-out scores the share cannot be promised below 1/(n+1): the threshold is then the largest of
    them, and the share that comes back is larger than `alpha`.

    Example:
        >>> conformal_threshold(np.arange(1.0, 20.0), 0.1)
        (18.0, 0.1)
        >>> conformal_threshold(np.array([1.0, 2.0, 3.0]), 0.1)
        (3.0, 0.25)
    """
    count = len(heldout)
    if count == 0 or not 0 < alpha < 1:
        raise ValueError(f"a threshold needs held-out scores and alpha in (0, 1), got {count} and {alpha}")
    rank = int(np.ceil((count + 1) * (1 - alpha) - 1e-9))
    rank = min(max(rank, 1), count)
    return float(np.sort(heldout)[rank - 1]), (count + 1 - rank) / (count + 1)
