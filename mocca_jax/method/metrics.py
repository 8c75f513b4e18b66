"""How well scores separate anomalous from normal samples. Label 1 = anomalous; larger score = more anomalous."""

from collections.abc import Sequence

import numpy as np

REACH = 0.02  # of a picture's longer side: a peak that is so close to a region points at it
LEVELS = 40  # thresholds that are tried

METRICS = ("auc", "ap", "max_ba")
ALIKE = 1e-3  # of AUC and AUPRO: what is chosen does not hang on less, which may be rounding or one pair of samples


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


def best(figures: dict[str, float]) -> str:
    """The name with the largest figure; of those that are alike, the first.

    Example:
        >>> best({"a": 0.9, "b": 0.9004, "c": 0.8}), best({"a": 0.9, "b": 0.95})
        ('a', 'b')
    """
    return next(name for name, value in figures.items() if value >= max(figures.values()) - ALIKE)


def better(figures: dict[str, float], first: str, margin: float) -> str:
    """The best name where its figure is larger than that of `first` by the margin, else `first`.

    Example:
        >>> better({"a": 0.9, "b": 0.91}, "a", 0.02), better({"a": 0.9, "b": 0.95}, "a", 0.02)
        ('a', 'b')
    """
    found = best(figures)
    return found if figures[found] >= figures[first] + margin else first


def auc_between(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """AUC of the scores of normal samples against those of anomalous ones."""
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])
    return evaluate(labels, np.concatenate([normal, anomalous]))["auc"]


def pixel_auroc(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """Area under the ROC curve of all pixels of all images together, in [0, 1].

    Args:
        maps: `[rows, columns]` each, larger = more anomalous.
        masks: bool of the same shapes, True = anomalous.
    """
    from sklearn import metrics

    labels, values = _flat(maps, masks)
    return float(metrics.roc_auc_score(labels, values))


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float = 0.3) -> float:
    """Area under the per-region-overlap curve up to a false-positive rate (Bergmann et al. 2021), in [0, 1].

    At each threshold every anomalous region (8-connected component of a mask) has a share of pixels above it;
    their mean over regions is plotted over the share of normal pixels above it, and the area up to `limit` is
    divided by `limit`. Exact: every distinct value is a threshold.

    Args:
        maps, masks: see `pixel_auroc`.
        limit: largest false-positive rate, in (0, 1].
    """
    from scipy import ndimage

    labels, values = _flat(maps, masks)
    weights = []  # of each pixel: 1 / size of its region
    regions = 0
    for mask in masks:
        components, count = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(components.ravel(), minlength=count + 1)
        weights.append(np.where(components > 0, 1 / sizes[components], 0).ravel())
        regions += count
    order = np.argsort(-values, kind="stable")
    last_of_value = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    overlap = np.append(0, np.cumsum(np.concatenate(weights)[order])[last_of_value] / regions)
    normal = labels[order] == 0
    rate = np.append(0, np.cumsum(normal)[last_of_value] / normal.sum())
    at_limit = np.interp(limit, rate, overlap)
    below = rate < limit
    x, y = np.append(rate[below], limit), np.append(overlap[below], at_limit)
    return float(np.trapezoid(y, x) / limit)


def region_recall(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], false: float = 1.0) -> float:
    """The share of anomalous regions that are pointed at, where so many false regions are allowed per picture.

    At a threshold a map has regions, 8-connected, each with a peak. A peak within an anomalous region of the mask, or
    closer to it than `REACH` of the picture's longer side, points at it; a peak that points at none is a false region.
    Of `LEVELS` thresholds, spread over the pictures' largest values and the highest fifth of the pixels', that of the
    largest recall counts among those with at most `false` false regions per picture on average. In [0, 1].

    Args:
        maps, masks: see `pixel_auroc`; at least one pixel is anomalous.
        false: per picture.
    """
    from scipy import ndimage

    true, counts = [], []
    for mask in masks:
        numbers, count = ndimage.label(mask, np.ones((3, 3)))
        away, nearest = ndimage.distance_transform_edt(numbers == 0, return_indices=True)
        near = numbers[tuple(nearest)] if count else numbers
        true.append(np.where(away <= REACH * max(mask.shape), near, 0))
        counts.append(count)
    if not sum(counts):
        raise ValueError("region metrics need anomalous pixels")
    highest = np.array([values.max() for values in maps])
    pixels = np.concatenate([values[::4, ::4].ravel() for values in maps])
    high = np.quantile(pixels, np.linspace(0.8, 1, 4 * len(maps)))
    levels = np.unique(np.quantile(np.concatenate([highest, high]), np.linspace(0, 1, LEVELS)))
    best = 0.0
    for level in levels:
        wrong = hit = 0
        for values, near in zip(maps, true, strict=True):
            numbers, count = ndimage.label(values >= level, np.ones((3, 3)))
            if count:
                peaks = ndimage.maximum_position(values, numbers, np.arange(1, count + 1))
                pointed = np.array([near[tuple(map(int, peak))] for peak in peaks])
                wrong += int((pointed == 0).sum())
                hit += len(np.unique(pointed[pointed > 0]))
        if wrong <= false * len(maps):
            best = max(best, hit / sum(counts))
    return best


def _flat(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and values of all pixels; raises ValueError where shapes differ or a class is missing."""
    for values, mask in zip(maps, masks, strict=True):
        if values.shape != mask.shape:
            raise ValueError(f"a map is {values.shape}, its mask {mask.shape}: must agree")
    labels = np.concatenate([np.asarray(mask, bool).ravel() for mask in masks])
    if labels.all() or not labels.any():
        raise ValueError("pixel metrics need normal and anomalous pixels")
    return labels, np.concatenate([values.ravel() for values in maps])
