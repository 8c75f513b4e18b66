"""Whole images with their masks: what anomaly maps are made of and measured against."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pictures:
    """Images `[S, H, W, 3]` uint8, one per sample; `sizes [S, 2]`, the rows and columns of each that are real.

    `mask(i)` is `[rows, columns]` bool, True where anomalous, or None where it is not known.
    """

    images: Any
    sizes: np.ndarray
    mask: Callable[[int], np.ndarray | None] = lambda index: None

    def __len__(self) -> int:
        return len(self.sizes)
