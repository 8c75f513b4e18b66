"""Whether the frames of a video, in the order of their names, are in the order of time."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mocca_jax.data import decoder
from mocca_jax.data.spread import evenly

LOOK = 24, 32  # rows and columns on which frames are compared
FEWEST = 8  # frames whose order says something
BETTER = 0.85  # of the difference of neighbours, in an order that is clearly better; noise alone: 0.98
TRIES, SPREADS = 20, 6  # random orders, and how many standard deviations below them is no chance
CUTS = 0.1  # of the neighbours, the most different ones, which do not count
MIXED = 0.85  # of the difference of any two frames; sound films, every frame: 0.10 to 0.27
CHAIN = (0.2, 0.45)  # the second nearest frame's difference to the eighth's, in any order of a film: 0.29 to 0.40
LINKS = 0.8  # the second's to the fourth's, and the fourth's to the eighth's
NEAREST = 8
SAMPLED = 500  # frames that are compared with all others
TAKEN, TAKEN_PART, EXIF = 0x9003, 0x9291, 0x8769  # Exif: when a picture was taken, parts of the second, where both are


def looked_at(picture: Image.Image) -> np.ndarray:
    """What is compared of a frame, whatever its light: `[LOOK]` float32, mean 0, spread 1."""
    small = np.asarray(picture.convert("L").resize(LOOK[::-1], Image.Resampling.BOX), np.float32)
    return (small - small.mean()) / max(float(small.std()), 1.0)


def fault(paths: Sequence[Path], looks: Sequence[np.ndarray]) -> str:
    """Why frames in this order are not in the order of time; "" where they are, or nothing tells.

    Args:
        paths: of the frames.
        looks: see `looked_at`.
    """
    if len(paths) < FEWEST:
        return ""
    frames = np.stack(looks).reshape(len(looks), -1)
    here = _step(frames)
    for name, order in _others(paths):
        there = _step(frames[order])
        if there < BETTER * here and there < _by_chance(frames):
            return f"by {name}, neighbours differ by {there / here:.0%} of what they do by name"
    return (
        "neighbours differ as much as any two frames, and others are alike: it jumps back and forth"
        if (_is_mixed(frames))
        else ""
    )


def _step(frames: np.ndarray) -> float:
    """How much neighbours differ, without cuts."""
    steps = np.sort(np.abs(np.diff(frames, axis=0)).mean(1))
    return float(steps[: len(steps) - max(int(CUTS * len(steps)), 2)].mean())


def _by_chance(frames: np.ndarray) -> float:
    """How little neighbours may differ where the order is a matter of chance."""
    rng = np.random.default_rng(0)
    steps = [_step(rng.permutation(frames)) for _ in range(TRIES)]
    return float(np.mean(steps) - SPREADS * np.std(steps))


def _others(paths: Sequence[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Other orders that files suggest, each with what it goes by; those that are the present one are left out."""
    numbers = [re.findall(r"[0-9]+", path.stem) for path in paths]
    keys = {
        "the times in the pictures (Exif)": _taken(paths),
        "the times of the files": [os.stat(path).st_mtime_ns for path in paths],
        "the last number in the name": [int(found[-1]) for found in numbers] if all(numbers) else [],
        "the letters of the name": [path.name for path in paths],
    }
    for name, values in keys.items():
        order = np.array(sorted(range(len(values)), key=values.__getitem__), int)
        if not np.array_equal(order, np.arange(len(values))):
            yield name, order


def _taken(paths: Sequence[Path]) -> list[str]:
    """When each picture was taken; none where one does not say."""
    found = []
    for path in paths:
        try:
            with decoder.opened(path) as image:
                exif = image.getexif().get_ifd(EXIF)
        except Exception:  # damaged metadata raise many kinds
            exif = {}
        if not exif.get(TAKEN):
            return []
        found.append(f"{exif[TAKEN]}.{exif.get(TAKEN_PART, '')}")
    return found


def _is_mixed(frames: np.ndarray) -> bool:
    """Whether frames are those of a film, each with a few that are nearly it, which are not its neighbours.

    What repeats itself, such as a machine, has many frames that are nearly the same: it is none such.
    """
    count = len(frames)
    if count <= 2 * NEAREST:
        return False
    chosen = evenly(count, SAMPLED)
    squares = (frames**2).sum(1)
    apart = np.sqrt(np.maximum(squares[chosen, None] + squares - 2 * frames[chosen] @ frames.T, 0))
    usual = np.median(apart)
    if np.linalg.norm(np.diff(frames, axis=0), axis=1).mean() < MIXED * usual:
        return False
    nearest = np.sort(apart, axis=1)[:, [2, NEAREST // 2, NEAREST]]
    second, fourth, last = (np.maximum(of, 1e-6) for of in nearest.T)
    low, high = CHAIN
    links = max(np.median(second / fourth), np.median(fourth / last))
    return bool(low < np.median(second / last) < high and links < LINKS)
