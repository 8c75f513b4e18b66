"""Large pictures that are decoded whenever they are looked at, so that none is kept."""

from collections.abc import Iterator, Sequence

import numpy as np

from mocca_jax.data import incoming
from mocca_jax.data.inputs import Inputs


class Decoded:
    """What a network with these inputs sees of pictures: `len`, iteration, one by its number, or some by a list.

    Args:
        pictures: files, or whatever `incoming.see` takes.
        inputs: how they become the network's input.
    """

    def __init__(self, pictures: Sequence[incoming.Picture], inputs: Inputs):
        self.pictures, self.inputs = list(pictures), inputs

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, at: int | list[int]) -> "np.ndarray | Decoded":
        if isinstance(at, list):
            return Decoded([self.pictures[number] for number in at], self.inputs)
        return incoming.view(self.pictures[at], self.inputs)

    def __add__(self, other: "Decoded") -> "Decoded":
        return Decoded([*self.pictures, *other.pictures], self.inputs)
