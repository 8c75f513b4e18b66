"""Scores of a running video, frame by frame, with the memory of one clip."""

from collections import deque
from collections.abc import Callable

import numpy as np

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
