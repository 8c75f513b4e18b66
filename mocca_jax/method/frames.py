"""From clips to frames, and scores of frames on one scale per video (paper, Eq. 8). Pure numpy.

Frames of all videos are numbered one after another (`timeline.Timeline`); larger = more anomalous.
"""

from collections.abc import Callable, Iterator

import numpy as np

from mocca_jax.method import metrics
from mocca_jax.method.timeline import Timeline


def mean_over_clips(clip_scores: np.ndarray, timeline: Timeline) -> np.ndarray:
    """A frame's score is the mean over all clips that contain it.

    Args:
        clip_scores: `[U]`.
        timeline: which clip holds which frames; every frame is in at least one.

    Returns:
        `[S]`.

    Raises:
        ValueError: as many scores as clips are wanted.
    """
    if len(clip_scores) != len(timeline.start):
        raise ValueError(f"{len(clip_scores)} scores for {len(timeline.start)} clips")
    # One slot more than frames per video: a video's sums end there and nothing runs into the next one.
    begin = timeline.first[timeline.video] + timeline.start + timeline.video
    total, count = np.zeros((2, timeline.frames + len(timeline.lengths)))
    for sums, values in ((total, clip_scores.astype(np.float64)), (count, np.ones(len(begin)))):
        np.add.at(sums, begin, values)
        np.add.at(sums, begin + timeline.clip_length, -values)
    # Cumulated video by video, so that no rounding is carried over.
    return np.concatenate(
        [np.cumsum(total[at])[:-1] / np.cumsum(count[at])[:-1] for at in spans(np.asarray(timeline.lengths) + 1)]
    )


def spans(lengths: np.ndarray) -> Iterator[slice]:
    """The slice of each video's frames."""
    start = 0
    for length in lengths.tolist():
        yield slice(start, start + length)
        start += length


def per_video(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each video's scores brought to [0, 1] by its own extremes; 0 throughout where they are all equal.

    Differs from the paper: Eq. 8 as printed gives [-1, 0]; the published program does this. It looks at the whole
    video before it scores the first frame.
    """
    found = np.zeros_like(values, np.float64)
    for at in spans(lengths):
        low, high = values[at].min(), values[at].max()
        if high > low:
            found[at] = (values[at] - low) / (high - low)
    return found


def causal(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """As `per_video`, with the extremes of the frames so far: what can be known when a frame is seen.

    0 at a video's start and as long as its scores do not differ.
    """
    found = np.zeros_like(values, np.float64)
    for at in spans(lengths):
        low, high = np.minimum.accumulate(values[at]), np.maximum.accumulate(values[at])
        spread = high - low
        found[at] = np.where(spread > 0, (values[at] - low) / np.where(spread > 0, spread, 1), 0)
    return found


SCALINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "unscaled": lambda values, lengths: values,
    "per_video": per_video,
    "causal": causal,
}


def scaled_sum(terms: list[np.ndarray], lengths: np.ndarray, scaling: str) -> np.ndarray:
    """The sum of several scores `[S]`, each scaled first."""
    return sum(SCALINGS[scaling](values, lengths) for values in terms)


def table(terms: dict[str, list[np.ndarray]], labels: np.ndarray, lengths: np.ndarray) -> dict[str, dict[str, float]]:
    """Frame AUC of scores that are sums of terms.

    `micro`: all frames with known labels, concatenated. `macro`: mean over the videos that have both kinds.

    Args:
        terms: `{name: scores [S] to be summed}`.
        labels: `[S]`, 1 = anomalous, 0 = normal, -1 = not known.
        lengths: frames of each video.

    Returns:
        `{name: {"micro_unscaled", "micro_per_video", "micro_causal", "macro"}}`; macro only where a video has both.
    """
    known = labels >= 0
    rows = {}
    for name, parts in terms.items():
        row = {}
        for scaling in SCALINGS:
            found = scaled_sum(parts, lengths, scaling)
            row[f"micro_{scaling}"] = metrics.evaluate(labels[known], found[known])["auc"]
        whole = scaled_sum(parts, lengths, "unscaled")
        each = [
            metrics.evaluate(labels[at][known[at]], whole[at][known[at]])["auc"]
            for at in spans(lengths)
            if set(np.unique(labels[at][known[at]])) == {0, 1}
        ]
        if each:
            row["macro"] = float(np.mean(each))
        rows[name] = row
    return rows
