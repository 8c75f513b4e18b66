"""Which clip holds which frames of which video."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timeline:
    """Clips `[U]` cut from videos `[V]`.

    Frames of all videos are numbered one after another, `[S]`: frame t of video v is `first[v] + t`. Clip u holds
    the `clip_length` frames from `start[u]` on, counted within `video[u]`. `breaks`: frames, numbered as in all videos,
    before which others are missing: nothing is compared across. `seconds`: since the beginning of what was filmed, NaN
    where nothing tells.
    """

    videos: list[str]
    lengths: np.ndarray  # [V] frames
    video: np.ndarray  # [U]
    start: np.ndarray  # [U]
    clip_length: int
    breaks: tuple[int, ...] = ()
    seconds: np.ndarray | None = None  # [S]

    @property
    def first(self) -> np.ndarray:
        """`[V]`: the number of each video's first frame."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)

    @property
    def pieces(self) -> np.ndarray:
        """Lengths of what was filmed in one go, in order; they add up to S."""
        ends = np.union1d(np.cumsum(self.lengths), self.breaks)
        return np.diff(ends, prepend=0).astype(np.int64)

    @property
    def frames(self) -> int:
        """S."""
        return int(self.lengths.sum())
