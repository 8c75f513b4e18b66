"""Findings about pictures that are to join those of a run: not as these, or there already."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mocca_jax.data import decoder, layout, threads, twins
from mocca_jax.data.findings import Finding, pictures
from mocca_jax.data.listing import printable

SAMPLE = 24  # of the run's files, that say how the pictures usually are
NEAREST = 3  # of the known pictures that each new one is compared with


class _Newcomers(layout.Layout):
    """Files from anywhere, by their whole names."""

    def name(self, path: Path) -> str:
        return printable(path)


def unlike(files: Sequence[Path], known: Sequence[Path], size: int, depth: int, tile: int = 0) -> list[Finding]:
    """What `mocca check` says of new files beside those of the run.

    Args:
        files: the new ones.
        known: of the run; those that can be read no more are passed over.
        size: the side of the network's view, pixels.
        depth: see `decoder.picture`.
        tile: as for `pictures.find`; large pictures are decoded one by one.
    """
    sample = [path.absolute() for path in known[:: max(1, -(-len(known) // SAMPLE))] if path.is_file()]
    new = [path.absolute() for path in files]
    each = [*sample, *new]
    looks = dict(
        zip(each, threads.each(lambda path: pictures.look(path, depth), each, 1 if tile else None), strict=True)
    )
    found = _Newcomers(Path("/"), sample, new, [0] * len(new), [None] * len(new))
    names = tuple(found.name(path) for path in new)
    return [
        replace(finding, names=own)
        for finding in pictures.unlike(pictures.Pictures(found, looks), size, depth, tile)
        if (own := [name for name in finding.names if name.startswith(names)])
    ]


def twins_of(
    files: Sequence[Path | None],
    small: np.ndarray,
    known: Sequence[Path | None],
    known_small: np.ndarray,
    depth: int = 0,
) -> dict[int, str]:
    """New pictures that are others saved anew, turned or mirrored: by their places, the file that each is one with.

    Args:
        files: the new ones; None where a picture has no file, which is then not compared.
        small: their small copies `[n, S, S]`, see `twins.small`.
        known: the run's files, as `files`.
        known_small: their small copies.
        depth: see `decoder.picture`.
    """
    new = [place for place, path in enumerate(files) if path]
    old = [place for place in _near(small[new], known_small) if known[place] and known[place].is_file()]
    paths = [*(known[place] for place in old), *(files[place] for place in new)]
    copies = np.concatenate([known_small[old], small[new]])
    sides = list(threads.each(_sides, paths))
    found: dict[int, str] = {}
    if len(paths) > 1:
        for first, second in twins.pairs(paths, copies, sides, depth):
            if second >= len(old):
                found.setdefault(new[second - len(old)], printable(paths[first]))
    return found


def _near(small: np.ndarray, known: np.ndarray) -> list[int]:
    """Places of the known pictures that are compared: the nearest to each new one, and some others beside them."""
    if not len(small) or not len(known):
        return []
    cells = twins.SIDE // twins.COARSE

    def coarse(copies: np.ndarray) -> np.ndarray:
        whole = copies.reshape(len(copies), cells, twins.COARSE, cells, twins.COARSE)
        return whole.mean(2, dtype=np.float32).mean(3) / 255

    theirs = coarse(known).reshape(len(known), -1)
    nearest = np.full((len(small), len(known)), np.inf, np.float32)
    for turn in range(8):
        ours = np.array([twins.turned(copy, turn) for copy in coarse(small)]).reshape(len(small), -1)
        distance = np.square(ours).sum(1)[:, None] + np.square(theirs).sum(1)[None] - 2 * ours @ theirs.T
        nearest = np.minimum(nearest, distance)
    chosen = np.argsort(nearest, 1)[:, :NEAREST]
    others = np.linspace(0, len(known) - 1, min(len(known), twins.SAMPLE)).astype(int)
    return np.union1d(chosen, others).tolist()


def _sides(path: Path) -> tuple[int, int]:
    with decoder.opened(path) as image:
        columns, rows = image.size
        if columns == rows:  # the tag is not asked for: it may stand behind the pixels
            return rows, columns
        turned = image.getexif().get(twins.ORIENTATION, 1) >= 5
    return (columns, rows) if turned else (rows, columns)
