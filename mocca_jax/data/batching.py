"""The order of training units, and batches of one fixed size.

The order of an epoch depends on the seed and the epoch alone, not on devices or workers, so any step's batch
can be found again after an interruption. The last, short batch is padded; its mask says which units are real.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mocca_jax.data import Split


@dataclass(frozen=True)
class Batch:
    """`image [rows, ...]` as stored, zeros where padding; `mask [rows]` float32, 1 = real; `units`: how many are real.

    `units` counts the whole batch, also where `image` and `mask` are some of its rows.
    """

    image: np.ndarray
    mask: np.ndarray
    units: int

    def with_copies(self) -> np.ndarray:
        """`image` with copies of a real unit in place of the zeros, where there is a real one.

        In training a copy stays in the range of the real units all through the network. Zeros may not: where all real
        units are alike, batch-norm divides by next to nothing, layer after layer, and no mask takes infinity out.
        """
        if not self.mask.any() or self.mask.all():
            return self.image
        return self.image[np.where(self.mask > 0, np.arange(len(self.mask)), 0)]


def steps_per_epoch(size: int, batch_size: int) -> int:
    """How many batches hold `size` units, a short last one included."""
    return -(-size // batch_size)


def epoch_order(size: int, seed: int, stage: int, epoch: int, draws: int = 0) -> np.ndarray:
    """A permutation of `range(size)`, or `draws` of these, each drawn anew."""
    generator = np.random.Generator(np.random.Philox(key=[seed, stage * 2**32 + epoch]))
    return generator.integers(0, size, draws) if draws else generator.permutation(size)


def batches(
    split: Split, order: np.ndarray, batch_size: int, padded: int, first: int = 0, rows: slice = slice(None)
) -> Iterator[Batch]:
    """Batches `first, first+1, ...` of one pass in the given order, padded to `padded` rows; `rows` of each."""
    for start in range(first * batch_size, len(order), batch_size):
        whole = order[start : start + batch_size]
        chosen = whole[rows]
        size = len(range(padded)[rows])
        none = np.zeros((0, *split.images.shape[1:]), split.images.dtype)
        image = filled(split.images[chosen] if len(chosen) else none, size)
        yield Batch(image, mask(len(chosen), size), len(whole))


def filled(units: np.ndarray, rows: int) -> np.ndarray:
    """`[U, ...]` -> `[rows, ...]`, zeros behind the units; the units themselves where there are as many."""
    if len(units) == rows:
        return units
    batch = np.zeros((rows, *units.shape[1:]), units.dtype)
    batch[: len(units)] = units
    return batch


def mask(real: int, rows: int) -> np.ndarray:
    """`[rows]` float32, 1 for the first `real`."""
    return (np.arange(rows) < real).astype(np.float32)


def in_order(split: Split, batch_size: int, padded: int, rows: slice = slice(None)) -> Iterator[Batch]:
    """One pass in storage order."""
    return batches(split, np.arange(len(split)), batch_size, padded, rows=rows)
