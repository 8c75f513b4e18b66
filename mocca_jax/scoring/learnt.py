"""What the statistics of a run are made of, kept so that more normal pictures can be added to them later.

Of many pictures: sums, which add exactly; what lamps do; the features that neighbours are looked for in; the distances
of each picture from statistics that had not seen it. Of few (`normals.MANY`): the pictures themselves, on which all is
fitted anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mocca_jax.data import twins
from mocca_jax.files import digests
from mocca_jax.method import places
from mocca_jax.scoring.encoding import Features

BANK = 320  # pictures that neighbours are looked for in, at most


@dataclass
class Added:
    """Normal pictures to add, and what is known of them.

    `names`; `pictures [n, H, W, 3]` as the network sees them; `keys [n, 32]` and `small [n, S, S]`, see `key` and
    `twins.small`; by grid their `features`; by part their `distances`, once they are added.
    """

    names: list[str]
    pictures: np.ndarray
    keys: np.ndarray
    small: np.ndarray
    features: Features = field(default_factory=dict)
    distances: Features = field(default_factory=dict)


@dataclass
class Learnt:
    """Of N normal pictures, in the order in which they came.

    `names`, `keys`, `small`: as `Added`; `pictures`: the last of them as the network sees them: all of few, of many
    those alone that the run's folder of pictures does not hold. Empty of few: by grid the `sums`, the `nuisance`, see
    `places.fit`, and the features `bank` of the pictures `banked [M]`; by part the `distances [N, P]`.
    """

    names: list[str]
    keys: np.ndarray
    small: np.ndarray
    pictures: np.ndarray
    sums: dict[str, places.Sums] = field(default_factory=dict)
    nuisance: dict[str, np.ndarray] = field(default_factory=dict)
    bank: Features = field(default_factory=dict)
    banked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    distances: Features = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def add(self, added: Added) -> None:
        """Takes more pictures in: all but the distances is then as if they had been there from the beginning."""
        numbers = len(self) + np.arange(len(added.names))
        self.names = [*self.names, *added.names]
        self.keys, self.small, self.pictures = (
            np.concatenate([getattr(self, name), getattr(added, name)]) for name in ("keys", "small", "pictures")
        )
        if not self.sums:
            return
        candidates = np.concatenate([self.banked, numbers])
        kept = np.isin(candidates, in_bank(self.keys))
        self.banked = candidates[kept]
        for grid, features in added.features.items():
            self.sums[grid].add(features)
            stay, come = np.split(kept, [len(kept) - len(numbers)])
            if come.any():
                self.bank[grid] = _replaced(self.bank[grid], stay, features[come])
        if added.distances:
            self.add_distances(added.distances)

    def add_distances(self, distances: Features) -> None:
        """Of the pictures that were added last."""
        self.distances = {part: np.concatenate([of, distances[part]]) for part, of in self.distances.items()}

    def fitted(self) -> dict[str, places.Statistics]:
        """The statistics by grid, not yet standardised."""
        return {
            grid: places.fit(sums, self.nuisance[grid], self.bank[grid], self.banked)
            for grid, sums in self.sums.items()
        }


def _replaced(rows: np.ndarray, stay: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Those of the rows that stay, then more; in place where as many go as come, as large copies take long."""
    if len(more) != np.count_nonzero(~stay):
        return np.concatenate([rows[stay], more])
    for to, at in enumerate(np.flatnonzero(stay)):
        if to != at:
            rows[to] = rows[at]
    rows[len(rows) - len(more) :] = more
    return rows


def key(picture: np.ndarray) -> np.ndarray:
    """What a picture `[H, W, 3]` is known by, `[32]` uint8: the SHA-256 of its pixels as the network sees them."""
    return np.frombuffer(bytes.fromhex(digests.of_bytes(np.ascontiguousarray(picture).tobytes())), np.uint8)


def keys_of(pictures: np.ndarray) -> np.ndarray:
    """`[N, 32]`."""
    return np.array([key(picture) for picture in pictures], np.uint8).reshape(-1, 32)


def smalls_of(pictures: np.ndarray) -> np.ndarray:
    """`[N, S, S]`, see `twins.small`."""
    found = [twins.small(Image.fromarray(picture)) for picture in pictures]
    return np.array(found, np.float16).reshape(-1, twins.SIDE, twins.SIDE)


def facts_of(pictures: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`keys_of` and `smalls_of`, of pictures of any size that come one by one."""
    found = [(key(picture), smalls_of([picture])[0]) for picture in pictures]
    small = np.array([of for _, of in found], np.float16).reshape(-1, twins.SIDE, twins.SIDE)
    return np.array([of for of, _ in found], np.uint8).reshape(-1, 32), small


def in_bank(keys: np.ndarray) -> np.ndarray:
    """Numbers of the pictures that neighbours are looked for in, ascending: all of few, else `BANK` of them.

    These have the smallest keys, which is as good as chance, and the same in whatever order pictures come: of more
    pictures it takes those that it would have taken from the beginning.
    """
    if len(keys) <= BANK:
        return np.arange(len(keys))
    return np.sort(np.lexsort(keys.T[::-1])[:BANK])
