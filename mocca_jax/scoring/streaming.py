"""Scores of a running video, with the memory of one clip or of a few frames."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mocca_jax.method import motion, over_time
from mocca_jax.scoring import evaluate

Scored = list[tuple[int, float]]


class FrameScorer:
    """Gives the frame scores that `frames.mean_over_clips` gives for the whole video.

    A frame's score is known when the last clip that contains it is: `lag` frames later.

    Args:
        score_clip: `[T, H, W, C]` -> the clip's score, larger = more anomalous.
        clip_length: T.

    Example:
        >>> scorer = FrameScorer(lambda clip: float(clip.max()), clip_length=2)
        >>> [scorer.push(np.full((1, 1, 1), value)) for value in (1, 3, 2)]
        [[], [(0, 3.0)], [(1, 3.0)]]
        >>> scorer.end()
        [(2, 3.0)]
    """

    def __init__(self, score_clip: Callable[[np.ndarray], float], clip_length: int):
        self.score_clip, self.clip_length = score_clip, clip_length
        self.seen = 0
        self._frames: deque[np.ndarray] = deque(maxlen=clip_length)
        self._clips: deque[float] = deque(maxlen=clip_length)  # scores of the clips that hold the oldest open frame

    @property
    def lag(self) -> int:
        """Frames between seeing a frame and knowing its score."""
        return self.clip_length - 1

    def push(self, frame: np.ndarray) -> Scored:
        """Takes the next frame `[H, W, C]`; returns the frame whose score is now known and its score, if any.

        Raises:
            ValueError: the frame's shape is not that of the ones before.
        """
        if self._frames and frame.shape != self._frames[-1].shape:
            raise ValueError(f"frames must be of one shape: got {frame.shape} after {self._frames[-1].shape}")
        self._frames.append(frame)
        self.seen += 1
        if self.seen < self.clip_length:
            return []
        self._clips.append(self.score_clip(np.stack(self._frames)))
        return [(self.seen - self.clip_length, float(np.mean(self._clips)))]

    def end(self) -> Scored:
        """The scores of the last `lag` frames. Afterwards a new video may begin.

        Raises:
            ValueError: the video was shorter than a clip.
        """
        if self.seen < self.clip_length:
            raise ValueError(f"the video ended after {self.seen} frames; a clip has {self.clip_length}")
        clips, scored = list(self._clips), []
        for frame in range(self.seen - self.lag, self.seen):
            first = max(0, frame - self.lag)  # of the clips that hold this frame
            scored.append((frame, float(np.mean(clips[len(clips) - (self.seen - self.lag - first) :]))))
        self.seen = 0
        self._frames.clear()
        self._clips.clear()
        return scored


class Known(NamedTuple):
    """Scores of some frames, and their cells `[n, rows, columns, 3]`, averaged over frames."""

    scores: evaluate.Scores
    cells: np.ndarray


class MovementScorer:
    """Gives the scores of frames by their movement that a run gives for the whole video, bit by bit.

    A frame's score is known `lag` frames later.

    Args:
        score_units: cells, averaged over frames, `[n, rows, columns, 3]` -> what `evaluate.unit_scores` says of them.
        scale: of the parts of the score.
    """

    lag = motion.LAG

    def __init__(self, score_units: Callable[[np.ndarray], dict[str, np.ndarray]], scale: evaluate.Scale):
        self._score_units, self._scale = score_units, scale
        self._averaged, self._parts = over_time.Running(motion.AVERAGED), motion.Running()
        self._cells: list[np.ndarray] = []  # of frames whose scores are not known yet

    def push(self, cells: np.ndarray) -> Known | None:
        """Takes the cells of the next frames `[n, rows, columns, 3]`; what is known by now of frames, in order."""
        return self._known(self._pushed(self._averaged.push(cells)))

    def end(self) -> Known | None:
        """Of the last frames. Afterwards a new video may begin."""
        last = self._pushed(self._averaged.end())
        return self._known(evaluate.joined([last, self._parts.end()]))

    def _pushed(self, averaged: np.ndarray) -> dict[str, np.ndarray]:
        if not len(averaged):
            return {}
        self._cells.append(averaged.astype(np.float32))
        return self._parts.push(self._score_units(self._cells[-1]))

    def _known(self, parts: dict[str, np.ndarray]) -> Known | None:
        if not parts or not len(parts[motion.SLOW]):
            return None
        found = evaluate.standardized(evaluate.Scores(np.zeros(0), parts), self._scale)
        held, count = np.concatenate(self._cells), len(found.combined)
        self._cells = [held[count:]]
        return Known(found, held[:count])
