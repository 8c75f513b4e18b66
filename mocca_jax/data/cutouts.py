"""Things that move in a normal video, cut out, to be pasted into it as anomalies: larger, or faster than they were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mocca_jax.data import flow
from mocca_jax.data.films import opencv

DIFFERENT = 18  # grey levels from the background
EVERY = 12  # frames that are looked through
SMALLEST, LARGEST = 0.04, 0.5  # of the picture's height
FILLED = 0.4  # of its box, at least
MARGIN = 2  # pixels from the border
LEAST_SPEED = 0.2  # pixels per frame
FASTEST = 0.95  # quantile of speeds: beyond, they are mistakes


@dataclass(frozen=True)
class Cutout:
    """`pixels [h, w, C]` float32, `opacity [h, w]` in 0..1, the row of its `foot`, its `speed` in pixels per frame."""

    pixels: np.ndarray
    opacity: np.ndarray
    foot: int
    speed: float


def find(pictures: np.ndarray) -> list[Cutout]:
    """What moves in `[T, H, W, C]` uint8, whole and by itself."""
    cv2 = opencv()
    grey = np.ascontiguousarray(pictures.mean(-1).astype(np.uint8))
    background = np.median(grey[:: max(1, len(grey) // 40)], axis=0).astype(np.uint8)
    height, width = grey.shape[1:]
    found = []
    for frame in range(0, len(grey) - 1, EVERY):
        away = cv2.GaussianBlur(cv2.absdiff(grey[frame], background), (3, 3), 0)
        mask = cv2.morphologyEx((away > DIFFERENT).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
        count, numbers, boxes, _ = cv2.connectedComponentsWithStats(mask)
        moved = flow.dense(grey[frame], grey[frame + 1]) if count > 1 else None
        for number in range(1, count):
            x, y, w, h, area = boxes[number]
            inside = x > MARGIN and y > MARGIN and x + w < width - MARGIN and y + h < height - MARGIN
            if not inside or not SMALLEST * height <= h <= LARGEST * height or area < FILLED * w * h:
                continue
            at = np.s_[y - 1 : y + h + 1, x - 1 : x + w + 1]
            own = numbers[at] == number
            speed = float(np.quantile(np.hypot(*moved[at][own].T), 0.75))  # its edges move with the ground
            if speed >= LEAST_SPEED:
                opacity = cv2.GaussianBlur(own.astype(np.float32), (3, 3), 0)
                found.append(Cutout(pictures[frame][at].astype(np.float32), opacity, int(y + h), speed))
    return found


def crossing(
    pictures: np.ndarray, cutouts: Sequence[Cutout], rng: np.random.Generator, faster: float = 1.0, larger: float = 1.0
) -> np.ndarray:
    """The video with one of the cutouts after another crossing it.

    Args:
        pictures: `[T, H, W, C]` uint8.
        cutouts: of it.
        rng: draws them, sides and beginnings.
        faster: their speed, in those of the fastest of them.
        larger: their sides, in their own.
    """
    cv2 = opencv()
    speed = faster * float(np.quantile([thing.speed for thing in cutouts], FASTEST))
    height, width = pictures.shape[1:3]
    out, at, thing = [], None, None
    for picture in pictures:
        if at is None or not 0 <= at <= width - thing.pixels.shape[1]:
            drawn = cutouts[rng.integers(len(cutouts))]
            sides = [max(2, round(larger * side)) for side in drawn.opacity.shape[::-1]]
            pixels, opacity = (cv2.resize(of, sides) for of in (drawn.pixels, drawn.opacity))
            thing = Cutout(pixels.reshape(*opacity.shape, -1), opacity, drawn.foot, speed)
            way, room = rng.choice([-1, 1]), max(width - sides[0], 1)
            at = rng.uniform(0.1, 0.6) * room if not out else (0.0 if way > 0 else float(room))
        top = float(np.clip(thing.foot - thing.pixels.shape[0], 0, max(height - thing.pixels.shape[0], 0)))
        to = np.array([[1, 0, at], [0, 1, top]], np.float32)
        over = cv2.warpAffine(thing.opacity, to, (width, height))[..., None]
        drawn = cv2.warpAffine(thing.pixels * thing.opacity[..., None], to, (width, height)).reshape(picture.shape)
        out.append(np.clip(np.rint(picture * (1 - over) + drawn), 0, 255).astype(np.uint8))
        at += thing.speed * way
    return np.stack(out)
