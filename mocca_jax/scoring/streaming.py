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

    A frame's score is told when the last clip that contains it is known: `lag` frames later.

    Args:
        score_clip: `[T, H, W, C]` -> the clip's score, larger = more anomalous.
        clip_length: T.
        stride: frames between the beginnings of clips, the config's `score_stride`.

    Raises:
        ValueError: frames between two clips would be in none.

    Example:
        >>> scorer = FrameScorer(lambda clip: float(clip.max()), clip_length=2)
        >>> [scorer.push(np.full((1, 1, 1), value)) for value in (1, 3, 2)]
        [[], [(0, 3.0)], [(1, 3.0)]]
        >>> scorer.end()
        [(2, 3.0)]
    """

    def __init__(self, score_clip: Callable[[np.ndarray], float], clip_length: int, stride: int = 1):
        if not 1 <= stride <= clip_length:
            raise ValueError(f"stride = {stride}: it is from 1 to the length of a clip, {clip_length}")
        self.score_clip, self.clip_length, self.stride = score_clip, clip_length, stride
        self.seen = 0
        self._frames: deque[np.ndarray] = deque(maxlen=clip_length)
        self._clips: deque[tuple[int, float]] = deque()  # start and score of those that hold a frame not told yet

    @property
    def lag(self) -> int:
        """Frames between seeing a frame and knowing its score.

        With a stride one more: the last clip ends with the video, so the frame after has to be seen.
        """
        return self.clip_length - (self.stride == 1)

    def push(self, frame: np.ndarray) -> Scored:
        """Takes the next frame `[H, W, C]`; returns the frame whose score is now known and its score, if any.

        Raises:
            ValueError: the frame's shape is not that of the ones before.
        """
        if self._frames and frame.shape != self._frames[-1].shape:
            raise ValueError(f"frames must be of one shape: got {frame.shape} after {self._frames[-1].shape}")
        self._frames.append(frame)
        self.seen += 1
        start = self.seen - self.clip_length
        if start >= 0 and start % self.stride == 0:
            self._score(start)
        known = self.seen - 1 - self.lag
        return [self._of(known)] if known >= 0 else []

    def end(self) -> Scored:
        """The scores of the last `lag` frames. Afterwards a new video may begin.

        Raises:
            ValueError: the video was shorter than a clip.
        """
        last = self.seen - self.clip_length
        if last < 0:
            raise ValueError(f"the video ended after {self.seen} frames; a clip has {self.clip_length}")
        if last % self.stride:
            self._score(last)
        scored = [self._of(frame) for frame in range(self.seen - self.lag, self.seen)]
        self.seen = 0
        self._frames.clear()
        self._clips.clear()
        return scored

    def _score(self, start: int) -> None:
        self._clips.append((start, self.score_clip(np.stack(self._frames))))

    def _of(self, frame: int) -> tuple[int, float]:
        """A frame and the mean over the clips that hold it; frames are asked for in order."""
        while self._clips[0][0] <= frame - self.clip_length:
            self._clips.popleft()
        return frame, float(np.mean([score for start, score in self._clips if start <= frame]))


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
