"""Made-up anomalies in normal videos: for choosing settings without looking at a test set.

Every normal video is planted whole, once per kind: played two or three times as fast, half as fast, backwards, frozen,
with an object that moves through it, or with something of its own that moves much faster than all else or is twice as
large. Real anomalies differ; a figure measured on these is no promise. Where people walk both ways, `backwards` is no
anomaly: name the kinds that are.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mocca_jax.data import cutouts

LONGEST = 200  # frames taken of a video
MOST = 8  # videos
NOISE = 1.5  # grey levels: of a camera that looks at something frozen

Kind = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def plant(pictures: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A normal video with one kind of anomaly in every frame.

    Args:
        pictures: `[T, H, W, C]` uint8, left as it is.
        kind: one of `KINDS`.

    Returns:
        `[T', H, W, C]`; shorter where it is played faster, without frames where nothing moves that could be pasted.
    """
    return KINDS[kind](pictures, rng)


def _faster(times: int) -> Kind:
    return lambda pictures, rng: np.array(pictures[::times])


def _backwards(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    del rng
    return np.array(pictures[::-1])


def _object(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An ellipse of a fifth of the picture's height, filled with a turned piece of the picture, crosses it.

    A crossing takes about 40 frames; it comes in again where it goes out, from the other side, at another height.
    """
    out = np.array(pictures)
    height, width = pictures.shape[1:3]
    rows, columns = max(4, height // 5), max(2, height // 10)
    y, x = np.mgrid[:rows, :columns]
    inside = ((y + 0.5) / rows - 0.5) ** 2 + ((x + 0.5) / columns - 0.5) ** 2 < 0.25
    top, left = rng.integers(0, height - rows), rng.integers(0, width - columns)
    piece = pictures[0, top : top + rows, left : left + columns][::-1].astype(float) + rng.choice([-40, 40])
    piece = piece.clip(0, 255).astype(np.uint8)
    speed, at, way, row = width / 40, 0.0, 1, int(rng.integers(0, height - rows))
    for frame in out:
        start = round(at) if way > 0 else width - columns - round(at)
        first, last = max(0, -start), min(columns, width - start)
        if last > first:
            part = inside[:, first:last]
            frame[row : row + rows, start + first : start + last][part] = piece[:, first:last][part]
        at += speed
        if at > width - columns:
            at, way, row = 0.0, -way, int(rng.integers(0, height - rows))
    return out


def _slow(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half as fast, the frames between blended."""
    del rng
    between = (pictures[:-1].astype(np.uint16) + pictures[1:] + 1) // 2
    out = np.empty((2 * len(pictures) - 1, *pictures.shape[1:]), np.uint8)
    out[::2], out[1::2] = pictures, between
    return out[: len(pictures)]


def _still(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All stands still, but for the camera's noise."""
    noisy = pictures[len(pictures) // 2] + rng.normal(0, NOISE, pictures.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _pasted(**how: float) -> Kind:
    def plant(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        found = cutouts.find(pictures)
        return cutouts.crossing(pictures, found, rng, **how) if found else pictures[:0]

    return plant


KINDS: dict[str, Kind] = {
    "speed2": _faster(2),
    "speed3": _faster(3),
    "slow": _slow,
    "still": _still,
    "backwards": _backwards,
    "object": _object,
    "run": _pasted(faster=2.5),
    "large": _pasted(larger=2.0),
}


def videos(pictures: Sequence[np.ndarray], kinds: Sequence[str], least: int, seed: int) -> dict[str, np.ndarray]:
    """The normal videos planted with each kind, `{"<kind> <number>": frames}`; too short ones are left out.

    Args:
        least: frames that a planted video must have.
    """
    planted = {}
    for number, normal in enumerate(pictures[:MOST]):
        for kind in kinds:
            made = plant(normal[:LONGEST], kind, np.random.default_rng([seed, number]))
            if len(made) >= least:
                planted[f"{kind} {number}"] = made
    return planted
