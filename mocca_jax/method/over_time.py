"""Weighted means over neighbouring frames, of a whole video or while it is running: the same numbers, bit by bit.

At both ends of what was filmed in one go, the first and the last frame are repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kernel:
    """Weights of the frames from `before` ahead of one to `ahead` behind it; they add up to one."""

    weights: tuple[float, ...]
    ahead: int

    @property
    def before(self) -> int:
        """Frames before."""
        return len(self.weights) - 1 - self.ahead


def mean(size: int) -> Kernel:
    """The mean of `size` frames, an odd number, half of them before.

    Example:
        >>> mean(3)
        Kernel(weights=(0.3333333333333333, 0.3333333333333333, 0.3333333333333333), ahead=1)
    """
    return Kernel((1 / size,) * size, size // 2)


def gaussian(deviation: float, ahead: int) -> Kernel:
    """A Gaussian over the frames up to four deviations before and `ahead` behind."""
    at = np.arange(-int(4 * deviation + 0.5), ahead + 1)
    weights = np.exp(-0.5 * (at / deviation) ** 2)
    return Kernel(tuple((weights / weights.sum()).tolist()), ahead)


def whole(values: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Of all frames `[T, ...]` that were filmed in one go: `[T, ...]` float64."""
    running = Running(kernel)
    return np.concatenate([running.push(values), running.end()])


def of_pieces(values: np.ndarray, pieces: Sequence[int], kernel: Kernel) -> np.ndarray:
    """As `whole`, of pieces of these lengths, one after the other."""
    cuts = np.cumsum(pieces)[:-1]
    return np.concatenate([whole(part, kernel) for part in np.split(values, cuts)])


class Running:
    """The means of a running video; that of a frame is known `kernel.ahead` frames later."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self._held: np.ndarray | None = None

    def push(self, values: np.ndarray) -> np.ndarray:
        """Takes the next frames `[n, ...]`; returns the means that are known by now, in order, `[m, ...]` float64."""
        values = np.asarray(values, np.float64)
        if not len(values):
            return values
        if self._held is None:
            self._held = np.repeat(values[:1], self.kernel.before, 0)
        held, size = np.concatenate([self._held, values]), len(self.kernel.weights)
        known = max(len(held) - size + 1, 0)
        self._held = held[known:]
        found = np.zeros((known, *held.shape[1:]))
        for offset, weight in enumerate(self.kernel.weights):
            found += weight * held[offset : offset + known]
        return found

    def end(self) -> np.ndarray:
        """The means of the last frames. Afterwards another video may begin."""
        if self._held is None:
            raise ValueError("no frame was pushed")
        found = self.push(np.repeat(self._held[-1:], self.kernel.ahead, 0))
        self._held = None
        return found
