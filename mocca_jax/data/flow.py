"""Dense optical flow between neighbouring frames, in cells: what a detector of unusual movement looks at.

OpenCV's DIS (Kroeger et al. 2016) at its medium preset; the fast one loses people of 25 pixels. See `method/motion.py`.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from PIL import Image

from mocca_jax.data.films import opencv

CELL = 8  # pixels
LONGEST = 640  # pixels: larger frames are halved until no side is longer
SHAKEN = 0.25  # pixels: a median flow that is longer is the camera's
SAMPLED = 4  # every fourth pixel says what the median is
THREADS = max(1, min(4, os.cpu_count() or 1))

_own = threading.local()  # OpenCV's object keeps buffers: two threads in one end the process


def size_of(sides: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns in which the flow of frames of these sides is computed.

    Example:
        >>> size_of((1080, 1920)), size_of((240, 360))
        ((270, 480), (240, 360))
    """
    while max(sides) > LONGEST:
        sides = (sides[0] // 2, sides[1] // 2)
    return max(sides[0], CELL), max(sides[1], CELL)


def grey(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """A frame of any size -> `[rows, columns]` uint8 of this one."""
    picture = picture.convert("L")
    return np.asarray(picture if picture.size == size[::-1] else picture.resize(size[::-1], Image.Resampling.BOX))


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells; what is left over at the right and below is not looked at."""
    return size[0] // CELL, size[1] // CELL


def covered(size: tuple[int, int]) -> tuple[float, float]:
    """The share of a frame's rows and columns that its cells cover."""
    rows, columns = grid(size)
    return rows * CELL / size[0], columns * CELL / size[1]


def dense(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Flow `[rows, columns, 2]` of two grey frames `[rows, columns]` uint8: x, y in pixels per frame.

    Where the median is longer than `SHAKEN`, the camera has moved, and it is taken off.
    """
    cv2 = opencv()
    if not hasattr(_own, "dis"):
        _own.dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    moved = _own.dis.calc(before, after, None)
    camera = np.median(moved[::SAMPLED, ::SAMPLED].reshape(-1, 2), axis=0)
    return moved - camera if np.hypot(*camera) > SHAKEN else moved


def in_one_go(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Frames `[rows, columns, 1]` without a gap, as `cells` takes them."""
    return ((np.ascontiguousarray(frame[..., 0]), number == 0) for number, frame in enumerate(frames))


def of_frames(frames: Iterable[np.ndarray], threads: int = THREADS) -> Iterator[np.ndarray]:
    """The flow `[rows, columns, 2]` float16 of every frame of a video, grey `[rows, columns, 1]` uint8.

    The first has that of the second; nothing moves in a lone frame.
    """
    return (found for found, _ in _in_order(in_one_go(frames), lambda a, b: dense(a, b).astype(np.float16), threads))


def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cells `[rows, columns, 3]` float16 of two grey frames: the means of x, y and speed."""
    cv2 = opencv()
    rows, columns = grid(before.shape)
    moved = dense(before, after)[: rows * CELL, : columns * CELL]
    x, y = cv2.split(np.ascontiguousarray(moved))
    parts = [cv2.resize(p, (columns, rows), interpolation=cv2.INTER_AREA) for p in (x, y, cv2.magnitude(x, y))]
    return np.stack(parts, -1).astype(np.float16)


def unrest(found: np.ndarray) -> float:
    """Of cells `[N, rows, columns, 3]`: the speed that three quarters of a frame's cells have, in the middle frame.

    Where at least a quarter of the picture stands still, it is what noise and compression make of nothing.
    """
    return float(np.median(np.quantile(found[..., 2].reshape(len(found), -1).astype(np.float32), 0.25, axis=1)))


def cells(frames: Iterable[tuple[np.ndarray, bool]], threads: int = THREADS) -> Iterator[tuple[np.ndarray, bool]]:
    """The cells of every frame of a video, in order, of the flow from the frame before it; and whether it begins.

    The first of what was filmed in one go has those of the second; nothing moves in a lone frame.

    Args:
        frames: grey `[rows, columns]` uint8, all of one size, each with whether nothing came directly before it.
        threads: that compute; with one, nothing is read ahead but the second frame.
    """
    return _in_order(frames, between, threads)


def _in_order(
    frames: Iterable[tuple[np.ndarray, bool]], made: Callable[[np.ndarray, np.ndarray], np.ndarray], threads: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """What is made of each frame and the one before it, see `cells`."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future | None] = deque()  # None: as the one after it
        before = None
        for frame, begins in frames:
            if before is None or begins:
                yield from _done(waiting, before, made)
                waiting.append(None)
            else:
                waiting.append(pool.submit(made, before, frame))
            before = frame
            while len(waiting) > (2 * threads if threads > 1 else 0) and waiting[-1] is not None:
                yield _next(waiting)
        if before is not None:
            yield from _done(waiting, before, made)


def _next(waiting: deque) -> tuple[np.ndarray, bool]:
    """Takes the first; a piece's first frame is followed by its second."""
    first = waiting.popleft()
    return (waiting[0] if first is None else first).result(), first is None


def _done(
    waiting: deque, last: np.ndarray | None, made: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, bool]]:
    """All that wait: a piece has ended."""
    if len(waiting) == 1 and waiting[0] is None:
        waiting.clear()
        yield np.zeros_like(made(last, last)), True
    while waiting:
        yield _next(waiting)
