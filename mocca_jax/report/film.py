"""A video as a film with the score curve under the picture, and what is unusual in it framed in red.

The curve is the score of every frame, drawn up to the frame that is shown; the dashed line is the threshold; red bars
on the time axis are events; a grey ground marks the frames labelled anomalous, where labels are known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from mocca_jax.data.footage import Frame
from mocca_jax.outputs.events import Event, moment_of
from mocca_jax.report.stills import fitted, framed
from mocca_jax.scoring.moments import Box

NARROW, WIDE = 320, 960  # columns: smaller pictures are enlarged, larger ones reduced
CURVE, MARGIN, LINE, BAR = 110, 8, 3, 5  # pixels
WHITE, INK, GREY, RED, LABELLED = (255, 255, 255), (30, 60, 140), (120, 120, 120), (210, 40, 30), (222, 222, 222)


@dataclass(frozen=True)
class Judged:
    """What is known of a video's frames.

    `scores [T]`, larger = more anomalous; `anomalous`: frames that are called so; `boxes` of some of these; `events`;
    `threshold` of the scores, or None; `labels [T]`, 1 = anomalous, 0 = normal, -1 = not known.
    """

    scores: np.ndarray
    anomalous: np.ndarray
    threshold: float | None
    labels: np.ndarray
    boxes: Mapping[int, Box] = field(default_factory=dict)
    events: Sequence[Event] = ()


def draw(frames: Iterable[Frame], judged: Judged, title: str) -> Iterator[np.ndarray]:
    """The film's pictures, `[rows, columns, 3]` uint8, one for each frame that is given; none is kept.

    Args:
        frames: of the video, in order; all are shown in the size of the first.
        judged: of them.
        title: stands in the picture.
    """
    page = None
    for number, frame in enumerate(frames):
        page = page or _Page(judged, fitted(frame.picture.size, NARROW, WIDE))
        at = moment_of(number, frame.seconds)
        yield page.of(number, frame.picture, f"{title}  {at}  score {judged.scores[number]:.3g}")


class _Page:
    """Picture and curve; the curve grows from frame to frame."""

    def __init__(self, judged: Judged, size: tuple[int, int]):
        self.judged, self.size = judged, size
        columns, self.rows = size
        self.across = np.linspace(MARGIN, columns - MARGIN, len(judged.scores))
        shown = [*judged.scores, *([] if judged.threshold is None else [judged.threshold])]
        self.low, self.high = min(shown), max(shown)
        self.ground = Image.new("RGB", (columns, self.rows + CURVE), WHITE)
        self.pen = ImageDraw.Draw(self.ground)
        self._axis()

    def of(self, frame: int, picture: Image.Image, text: str) -> np.ndarray:
        """The page when a frame is shown, under a text; to be asked for one after the other."""
        judged, rows = self.judged, self.rows
        flagged = bool(judged.anomalous[frame])
        x, y = self.across[frame], self._up(judged.scores[frame])
        if frame:
            self.pen.line((self.across[frame - 1], self._up(judged.scores[frame - 1]), x, y), INK, LINE - 1)
        image = self.ground.copy()
        image.paste(framed(picture, judged.boxes.get(frame), self.size))
        pen = ImageDraw.Draw(image)
        if flagged:
            pen.rectangle((0, 0, self.size[0] - 1, rows - 1), outline=RED, width=2 * LINE)
        pen.line((x, rows, x, rows + CURVE), GREY)
        pen.ellipse((x - LINE, y - LINE, x + LINE, y + LINE), RED if flagged else INK)
        text += "  ANOMALY" if flagged else ""
        pen.rectangle((0, 0, pen.textlength(text) + 2 * MARGIN, 16), WHITE)
        pen.text((MARGIN, 2), text, RED if flagged else INK)
        return np.asarray(image)

    def _up(self, value: float) -> float:
        spread = self.high - self.low or 1.0
        return self.rows + CURVE - MARGIN - BAR - (CURVE - 2 * MARGIN - BAR) * (value - self.low) / spread

    def _axis(self) -> None:
        """What stands there from the beginning: labels, events, threshold."""
        judged, rows, across = self.judged, self.rows, self.across
        half = (across[1] - across[0]) / 2 if len(across) > 1 else 1
        for frame in np.flatnonzero(judged.labels == 1):
            self.pen.rectangle((across[frame] - half, rows, across[frame] + half, rows + CURVE), LABELLED)
        if (judged.labels == 1).any():
            self.pen.text((MARGIN, rows + 2), "grey: labelled anomalous", GREY)
        for event in judged.events:
            ends = across[event.start] - half, across[event.end] + half
            self.pen.rectangle((ends[0], rows + CURVE - BAR, max(ends[1], ends[0] + 1), rows + CURVE), RED)
        if judged.threshold is not None:
            height = self._up(judged.threshold)
            for x in range(MARGIN, self.size[0] - MARGIN, 12):
                self.pen.line((x, height, x + 6, height), RED)
            below = height + 2 if height < rows + CURVE / 2 else height - 14
            self.pen.text((MARGIN, below), "threshold", RED)
