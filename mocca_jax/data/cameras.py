"""Which videos are from one camera: the same shape of the picture, and the same edges where nothing moves.

Edges are compared by their direction alone, modulo half a turn, so that neither light nor contrast matters. A scene
that does not look the same in two halves of its own video says nothing: the camera moves, or there is no edge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SHAPE = 1.05  # by which the ratio of the sides may differ
ALIKE = 0.25  # likeness of scenes from which they are one; measured: one 0.43 to 0.99, several up to 0.19
KNOWN = 0.35  # likeness of two halves of a video from which its scene is known; measured: still cameras from 0.44
RASTER = 64, 96  # rows and columns on which scenes are compared
SHAKE = 4  # places of the raster by which a camera may have shifted
FAINT = 1e-3  # grey levels for a place of the raster: flatter is no edge
ENOUGH = 16  # pictures of a video that make a scene
COMPARED = 8  # videos of a camera that another one is compared with


@dataclass(frozen=True)
class Scene:
    """What a camera sees where nothing moves.

    Args:
        size: rows and columns of its pictures.
        edges: their directions `[RASTER]`, complex, of length one or less; see `edges_of`.
        is_known: it is the same in two halves of the video.
    """

    size: tuple[int, int]
    edges: np.ndarray
    is_known: bool


def groups(videos: Mapping[str, Sequence[np.ndarray]]) -> list[list[str]]:
    """The names of the videos by camera, the largest group first.

    Args:
        videos: pictures of each in order, uint8 grey `[rows, columns]`: `ENOUGH`, evenly spaced, will do; one says
            nothing.
    """
    return grouped(
        {name: scene([reduced(it) for it in pictures], pictures[0].shape) for name, pictures in videos.items()}
    )


def reduced(picture: np.ndarray | Image.Image) -> np.ndarray:
    """A picture as grey levels `[RASTER]`, float32, which is all that `scene` looks at."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.asarray(image.convert("L").resize(RASTER[::-1], Image.Resampling.BILINEAR), np.float32)


def scene(pictures: Sequence[np.ndarray], size: tuple[int, int]) -> Scene:
    """The scene of pictures that `reduced` made, at least one, of rows and columns `size`."""
    middle = len(pictures) // 2
    is_known = middle > 0 and likeness(edges_of(pictures[:middle]), edges_of(pictures[middle:])) >= KNOWN
    return Scene(size, edges_of(pictures), is_known)


def edges_of(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The edges in the median of pictures: their direction, by twice its angle, less where a place is hardly one."""
    still = np.median(np.stack(pictures), axis=0)
    slope = gaussian_filter(still, 1, (0, 1), mode="nearest") + 1j * gaussian_filter(still, 1, (1, 0), mode="nearest")
    steep = np.abs(slope) ** 2
    edges = slope**2 / (steep + np.median(steep) + FAINT**2)
    return edges - edges.mean()


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The largest correlation of edges, at most 1, over shifts of up to `SHAKE` places; 0 where there are none."""
    norm = np.linalg.norm(one) * np.linalg.norm(other)
    if not norm:
        return 0.0
    space = [side + 2 * SHAKE for side in one.shape]
    found = np.fft.ifft2(np.fft.fft2(one, space) * np.conj(np.fft.fft2(other, space))).real
    near = np.roll(found, (SHAKE, SHAKE), (0, 1))[: 2 * SHAKE + 1, : 2 * SHAKE + 1]
    return float(near.max() / norm)


def grouped(scenes: Mapping[str, Scene]) -> list[list[str]]:
    """As `groups`. A scene that says nothing goes with the largest group of its size."""
    made: list[list[str]] = []
    for name in (name for name, of in scenes.items() if of.is_known):
        own = [group for group in made if any(_one_camera(scenes[name], scenes[of]) for of in group[:COMPARED])]
        made = [*(group for group in made if group not in own), [*chain.from_iterable(own), name]]
    for name in (name for name, of in scenes.items() if not of.is_known):
        made.sort(key=len, reverse=True)
        fitting = (group for group in made if any(scenes[of].size == scenes[name].size for of in group))
        group = next(fitting, None)
        if group is None:
            made.append([name])
        else:
            group.append(name)
    order = list(scenes)
    return sorted(
        (sorted(group, key=order.index) for group in made), key=lambda group: (-len(group), order.index(group[0]))
    )


def _one_camera(one: Scene, other: Scene) -> bool:
    ratio = (one.size[1] * other.size[0]) / (one.size[0] * other.size[1])
    return max(ratio, 1 / ratio) <= SHAPE and likeness(one.edges, other.edges) >= ALIKE
