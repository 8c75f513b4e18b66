"""Promises about frames: a film's frames are alike, so blocks of them are counted.

Conformal prediction takes samples that could have come in any order. Neighbouring frames could not, but blocks of
consecutive frames that are long beside the time over which a score keeps its value nearly could: exchanging blocks
instead of samples is Chernozhukov, Wuthrich and Zhu's way ("Exact and Robust Conformal Inference Methods for Predictive
Machine Learning With Dependent Data", COLT 2018); Oliveira, Orenstein, Ramos and Romano ("Split Conformal Prediction
and Non-Exchangeable Data", JMLR 25, 2024) bound what dependence costs. So a threshold comes from the largest score of
each block of normal frames, and what is promised is in how many blocks of good film anything is flagged.
"""

import numpy as np

FRAMES = 25  # of a block
FILMS = 4  # with fewer, blocks say what these films do, and promise nothing about others


def maxima(scores: np.ndarray, pieces: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """The largest score of each block.

    Args:
        scores: `[S]`.
        pieces: lengths of what was filmed in one go: no block reaches across.
        frames: of a block, at least; what is left over goes to a piece's blocks evenly, a shorter piece is a block.

    Example:
        >>> maxima(np.arange(7.0), np.array([5, 2]), frames=2).tolist()
        [2.0, 4.0, 6.0]
    """
    found = []
    for piece in np.split(scores, np.cumsum(pieces)[:-1]):
        found += [block.max() for block in np.array_split(piece, max(1, len(piece) // frames))]
    return np.array(found)
