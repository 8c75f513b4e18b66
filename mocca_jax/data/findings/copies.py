"""Findings about pictures that are there more than once, also turned or saved anew; see `twins.py`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mocca_jax.data import twins
from mocca_jax.data.findings import Finding
from mocca_jax.data.findings.pictures import Pictures

SHOWN = 3  # of the copies of one picture
MOST = 0.5  # of the training pictures, which are one from there on


def find(of: Pictures, depth: int) -> list[Finding]:
    """The findings: in training, in the test set, and across; `depth` as in `decoder.picture`."""
    if not depth and (of.is_dark(of.train) or of.is_dark(of.test)):
        return [
            Finding("search was left out", "Check again with --depth.", ["copies: few levels of grey are left"], True)
        ]
    alike = _alike(of)
    groups = _groups(of, alike, depth)
    train, test = set(of.train), set(of.test)
    twice, leaked, contrary, again = [], [], [], []
    for group in groups:
        fit, tried = [path for path in group if path in train], [path for path in group if path in test]
        if len(fit) > 1 and not set(fit) <= set(alike):
            twice.append(_line(of, fit))
        leaked += [_line(of, [path, *_first_alike(of, path, fit)]) for path in tried if fit]
        if len(tried) > 1:
            (contrary if len({of.of_class(path) for path in tried}) > 1 else again).append(_line(of, tried))
    digests = {of.looks[path].facts.digest for path in alike}
    same = "the same picture" if len(digests) == 1 else "nearly the same picture"
    return [
        Finding(
            f"of {len(of.train)} training pictures are {same}",
            "Take pictures of different parts: from one, nobody learns what is usual.",
            of.names(alike),
        ),
        Finding(
            "picture(s) are more than once in training",
            "Leave one of each: scores of pictures that were left out are too low when a copy stays.",
            twice,
        ),
        Finding("test image(s) are also in train/good", "Remove one of each pair: the test would flatter.", leaked),
        Finding(
            "picture(s) are in several classes of test/",
            "Leave each where it belongs: no detector can be right about both.",
            contrary,
        ),
        Finding("picture(s) are more than once in a class of test/", "Leave one of each: it counts twice.", again),
    ]


def _alike(of: Pictures) -> list[Path]:
    """The training pictures that are one or nearly so, where these are most; else none."""
    paths = [path for path in of.train if not of.looks[path].color]
    if len(paths) < 3:
        return []
    alike = twins.nearly_one(np.stack([of.looks[path].small for path in paths]))
    return [path for path, is_alike in zip(paths, alike, strict=True) if is_alike] if alike.mean() >= MOST else []


def _groups(of: Pictures, alike: Sequence[Path], depth: int) -> list[list[Path]]:
    """All that are one picture, together; those `alike` count as one."""
    paths = [path for path in of.all if not of.looks[path].color]
    looks, place = of.looks, {path: number for number, path in enumerate(paths)}
    first: dict[str, int] = {}
    pairs = [(first.setdefault(looks[path].facts.digest, number), number) for path, number in place.items()]
    pairs += [(place[alike[0]], place[path]) for path in alike]
    joined = set(alike[1:])
    single = [number for number in first.values() if paths[number] not in joined]
    found = twins.pairs(
        [paths[number] for number in single],
        np.array([looks[paths[number]].small for number in single]).reshape(-1, twins.SIDE, twins.SIDE),
        [looks[paths[number]].facts.size for number in single],
        depth,
    )
    pairs += [(single[one], single[other]) for one, other in found]
    if not pairs:
        return []
    ones, others = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (ones, others)), shape=(len(paths),) * 2)
    count, group = connected_components(graph, directed=False)
    groups: list[list[Path]] = [[] for _ in range(count)]
    for path, number in zip(paths, group.tolist(), strict=True):
        groups[number].append(path)
    return [members for members in groups if len(members) > 1]


def _first_alike(of: Pictures, path: Path, others: Sequence[Path]) -> list[Path]:
    """One of the others, with the same pixels if there is one."""
    digest = of.looks[path].facts.digest
    return [next((other for other in others if of.looks[other].facts.digest == digest), others[0])] if others else []


def _line(of: Pictures, paths: Sequence[Path]) -> str:
    names = of.names(paths)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    exact = len({of.looks[path].facts.digest for path in paths}) == 1
    return " = ".join(names[:SHOWN]) + more + ("" if exact else ", turned or saved anew")
