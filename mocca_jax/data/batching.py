"""The order of training units, and batches of one fixed size.

The order of an epoch depends on the seed and the epoch alone, not on devices or workers, so any step's batch
can be found again after an interruption. The last, short batch is padded; its mask says which units are real.
"""

from collections.abc import Iterator

import numpy as np

from mocca_jax.data import Split

Batch = dict[str, np.ndarray]


def steps_per_epoch(size: int, batch_size: int) -> int:
    return -(-size // batch_size)


def epoch_order(size: int, seed: int, stage: int, epoch: int, draws: int = 0) -> np.ndarray:
    """A permutation of `range(size)`, or `draws` of these, each drawn anew."""
    generator = np.random.Generator(np.random.Philox(key=[seed, stage * 2**32 + epoch]))
    return generator.integers(0, size, draws) if draws else generator.permutation(size)


def batches(split: Split, order: np.ndarray, batch_size: int, padded: int, first: int = 0) -> Iterator[Batch]:
    """Batches `first, first+1, ...` of one pass in the given order.

    Yields:
        `image [padded, ...]` as stored, zeros where padding; `mask [padded]` float32, 1 = real.
    """
    for start in range(first * batch_size, len(order), batch_size):
        chosen = order[start : start + batch_size]
        image = np.zeros((padded, *split.images.shape[1:]), split.images.dtype)
        image[: len(chosen)] = split.images[chosen]
        mask = np.zeros(padded, np.float32)
        mask[: len(chosen)] = 1
        yield {"image": image, "mask": mask}


def in_order(split: Split, batch_size: int, padded: int) -> Iterator[Batch]:
    """One pass in storage order."""
    return batches(split, np.arange(len(split)), batch_size, padded)
