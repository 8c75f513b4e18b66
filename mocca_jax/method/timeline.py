"""Where clips begin, and which clip holds which frames of which video."""

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


def starts(length: int, clip_length: int, stride: int = 1) -> np.ndarray:
    """Where the clips of a video of `length` frames begin: every `stride` frames, and the last ends with the video.

    Every frame is in at least one clip.

    Returns:
        `[U]`, ascending.

    Raises:
        ValueError: the video is shorter than a clip, or frames between two clips would be in none.

    Example:
        >>> starts(11, clip_length=4, stride=3).tolist()
        [0, 3, 6, 7]
    """
    if not 1 <= stride <= clip_length <= length:
        raise ValueError(f"no clips of {clip_length} frames, every {stride}, in a video of {length}")
    last = length - clip_length
    return np.append(np.arange(0, last, stride), last)
