"""A test video of a finished run as a film, with the score curve under the picture.

The output is a .gif, or a .mp4 or .avi (with OpenCV). The curve is the run's score of every frame, drawn up to the
frame that is shown; the dashed line is the threshold from held-out normal videos; a grey ground marks the frames
labelled anomalous, where labels are known. The picture has a red frame where the score exceeds the threshold.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mocca_jax import config as configs
from mocca_jax import console, data
from mocca_jax.data import films
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import results
from mocca_jax.report import figures

WIDTH, CURVE, MARGIN, LINE = 480, 110, 8, 3  # pixels
WHITE, INK, GREY, RED, LABELLED = (255, 255, 255), (30, 60, 140), (120, 120, 120), (210, 40, 30), (222, 222, 222)


def make(run: Path, video: str, output: Path, frames_per_second: float) -> int:
    """Writes the film; returns its number of frames.

    Raises:
        UserError: no finished run, no such video, or the output cannot be written.
    """
    if not (run / results.RESULT).is_file():
        raise UserError(f"{run} holds no finished run")
    result = whole.read_json(run / results.RESULT)
    dataset = data.load(configs.from_dict(whole.read_json(run / results.CONFIG)))
    if dataset.test is None or dataset.test.timeline is None:
        raise UserError(f"{run} is no run on videos with a test set")
    timeline = dataset.test.timeline
    if video not in timeline.videos:
        raise UserError(f"no test video {video!r} in {run}; there are {', '.join(timeline.videos)}")
    index = timeline.videos.index(video)
    first, length = int(timeline.first[index]), int(timeline.lengths[index])
    start = int(dataset.test.images.starts[np.flatnonzero(timeline.video == index)[0]])
    pictures = dataset.test.images.frames[start : start + length]
    scores = figures.read_scores(run / results.SCORES["test"])["score"][first : first + length]
    labels = dataset.test.labels[first : first + length]
    threshold = result["threshold"]["score"] if result["threshold"] else None
    drawn = console.steps(draw(pictures, scores, labels, threshold, video), "drawing", length, "frames")
    return films.write(output, drawn, frames_per_second)


def draw(
    pictures: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float | None, title: str
) -> Iterator[np.ndarray]:
    """The film's pictures, `[rows, columns, 3]` uint8.

    Args:
        pictures: `[T, H, W, 1 or 3]` uint8.
        scores: `[T]`.
        labels: `[T]`, 1 = anomalous, 0 = normal, -1 = not known.
        threshold: of the scores, or None.
        title: stands in the picture.
    """
    _, rows, columns, _ = pictures.shape
    height = round(WIDTH * rows / columns)
    across = np.linspace(MARGIN, WIDTH - MARGIN, len(scores))
    shown = [*scores, *([threshold] if threshold is not None else [])]
    low, high = min(shown), max(shown)
    spread = high - low or 1.0

    def up(value: float) -> float:
        return height + CURVE - MARGIN - (CURVE - 2 * MARGIN) * (value - low) / spread

    ground = Image.new("RGB", (WIDTH, height + CURVE), WHITE)
    pen = ImageDraw.Draw(ground)
    half = (across[1] - across[0]) / 2 if len(across) > 1 else 1
    for x, label in zip(across, labels, strict=True):
        if label == 1:
            pen.rectangle((x - half, height, x + half, height + CURVE), LABELLED)
    if (labels == 1).any():
        pen.text((MARGIN, height + 2), "grey: labelled anomalous", GREY)
    if threshold is not None:
        for x in range(MARGIN, WIDTH - MARGIN, 12):
            pen.line((x, up(threshold), x + 6, up(threshold)), RED)
        below = up(threshold) + 2 if up(threshold) < height + CURVE / 2 else up(threshold) - 14
        pen.text((MARGIN, below), "threshold", RED)
    for frame, picture in enumerate(pictures):
        image = ground.copy()
        scene = Image.fromarray(picture if picture.shape[-1] == 3 else picture[..., 0]).convert("RGB")
        image.paste(scene.resize((WIDTH, height), Image.Resampling.BICUBIC))
        pen = ImageDraw.Draw(image)
        flagged = threshold is not None and scores[frame] > threshold
        if flagged:
            pen.rectangle((0, 0, WIDTH - 1, height - 1), outline=RED, width=2 * LINE)
        points = [(x, up(s)) for x, s in zip(across[: frame + 1], scores, strict=False)]
        if len(points) > 1:
            pen.line(points, INK, LINE - 1)
        x, y = points[-1]
        pen.line((x, height, x, height + CURVE), GREY)
        pen.ellipse((x - LINE, y - LINE, x + LINE, y + LINE), RED if flagged else INK)
        text = f"{title}  frame {frame}  score {scores[frame]:.3g}" + ("  ANOMALY" if flagged else "")
        pen.rectangle((0, 0, pen.textlength(text) + 2 * MARGIN, 16), WHITE)
        pen.text((MARGIN, 2), text, RED if flagged else INK)
        yield np.asarray(image)
