"""Threshold and p-values from held-out normal samples (split conformal prediction). Larger score = more anomalous.

The score of the same pixels differs in its last digits with the size of the batch that they are in, with their place
there and with the number of devices. So a model has a `rounding`, measured on it when its training ends
(`scoring/rounding.py`), well above these differences: scores that are no further apart count as the same, and the same
score counts as at least as anomalous. All that decides goes through `reach`, so that `score > threshold` and
`p_value <= alpha` are one and the same.
"""

from typing import Any

import numpy as np


def reach(heldout: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """Sorted `[n]` float64: the largest score than which each held-out sample counts as at least as anomalous.

    With rounding these are numbers that float32 holds as well, so it makes no difference which of the two types scores
    are compared in.

    Args:
        heldout: `[n]`, scores of normal samples that nothing was trained on.
        rounding: at least 0; see above.

    Example:
        >>> reach(np.array([2.0, 1.0]), 0.25).tolist()
        [1.25, 2.25]
    """
    ordered = np.sort(np.asarray(heldout, np.float64))
    return (ordered + rounding).astype(np.float32).astype(np.float64) if rounding else ordered


def p_values(scores: np.ndarray, heldout: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """The share of normal samples at least as anomalous: `(1 + #{heldout + rounding >= score}) / (n + 1)`.

    Args:
        scores: `[S]`.
        heldout, rounding: see `reach`.

    Returns:
        `[S]` in (0, 1]; small = anomalous. Among new normal samples at most a share alpha has p <= alpha.

    Example:
        >>> p_values(np.array([0.0, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
        [1.0, 0.25]
        >>> p_values(np.array([3.001]), np.array([1.0, 2.0, 3.0]), rounding=0.01).tolist()
        [0.5]
    """
    ordered = reach(heldout, rounding)
    return (1 + len(ordered) - np.searchsorted(ordered, scores, side="left")) / (len(ordered) + 1)


def conformal_threshold(heldout: np.ndarray, alpha: float, rounding: float = 0.0) -> tuple[float, float]:
    """The score above which a sample is called anomalous, and the share of good samples that may be, at most.

    A score is above it exactly where its p-value is at most alpha. With n held-out scores the share cannot be promised
    below 1/(n+1): the threshold is then the largest of them, and the share that comes back is larger than `alpha`.

    Example:
        >>> conformal_threshold(np.arange(1.0, 20.0), 0.1)
        (18.0, 0.1)
        >>> conformal_threshold(np.array([1.0, 2.0, 3.0]), 0.1)
        (3.0, 0.25)
        >>> conformal_threshold(np.array([1.0, 2.0, 3.0]), 0.1, rounding=0.5)
        (3.5, 0.25)
    """
    count = len(heldout)
    if count == 0 or not is_share(alpha):
        raise ValueError(f"a threshold needs held-out scores and alpha in (0, 1), got {count} and {alpha}")
    rank = int(np.ceil((count + 1) * (1 - alpha) - 1e-9))
    rank = min(max(rank, 1), count)
    return float(reach(heldout, rounding)[rank - 1]), (count + 1 - rank) / (count + 1)


def is_share(alpha: Any) -> bool:
    """Whether it is a number between 0 and 1, ends excluded.

    Example:
        >>> [is_share(alpha) for alpha in (0.05, 0, 1.0, float("nan"), True, "0.05", None)]
        [True, False, False, False, False, False, False]
    """
    return isinstance(alpha, float | np.floating) and bool(0 < alpha < 1)


def needed(alpha: float) -> int:
    """Held-out samples below which no score at all could reach a p-value of `alpha`.

    Example:
        >>> needed(0.05), needed(0.01)
        (19, 99)
    """
    return int(np.ceil(1 / alpha - 1e-9)) - 1


class Calibration:
    """Decisions from the scores of held-out normal samples.

    Args:
        heldout: `[n]`, n at least 1.
        alpha: at most this share of good samples may be flagged. Where n is too small for it, `self.alpha` is the
            smallest share that n allows, 1 / (n + 1).
        rounding: scores that are no further apart count as the same; `self.reach`: see `reach`.
    """

    def __init__(self, heldout: np.ndarray, alpha: float, rounding: float = 0.0):
        self.heldout, self.rounding = np.sort(np.asarray(heldout, np.float64)), rounding
        self.reach = reach(heldout, rounding)
        self.threshold, self.promised = conformal_threshold(self.heldout, alpha, rounding)
        self.alpha = max(alpha, 1 / (len(self.heldout) + 1))

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """See `p_values`."""
        return p_values(scores, self.heldout, self.rounding)

    def is_anomalous(self, scores: np.ndarray, alpha: float | None = None) -> np.ndarray:
        """p-value at most alpha, `[S]` of bool; by default the run's own alpha.

        Raises:
            ValueError: alpha is not in (0, 1), or too small for the number of held-out samples.
        """
        alpha = self.alpha if alpha is None else alpha
        if not is_share(alpha):
            raise ValueError(f"alpha = {alpha!r}: it is a share of good samples, a number above 0 and below 1")
        count = len(self.heldout)
        if count < needed(alpha):
            raise ValueError(
                f"alpha = {alpha} takes {needed(alpha)} held-out normal samples; this model has {count}, with which "
                f"the smallest alpha is {1 / (count + 1):.4g}. Train with more normal samples or a larger "
                "heldout_fraction, or take a larger alpha."
            )
        return self.p_values(scores) <= alpha + 1e-12

    def relative(self, scores: np.ndarray) -> np.ndarray:
        """Scores on a scale to read: 0 = the median held-out sample, 1 = the threshold. Increasing, never cut off.

        Example:
            >>> Calibration(np.arange(1.0, 20.0), 0.1).relative(np.array([10.0, 18.0, 34.0])).tolist()
            [0.0, 1.0, 3.0]
        """
        middle = float(np.median(self.heldout))
        return (np.asarray(scores, np.float64) - middle) / ((self.threshold - middle) or 1.0)
