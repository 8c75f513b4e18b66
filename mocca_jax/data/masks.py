"""Masks: what part of a picture is anomalous, drawn by a person in one of many ways.

What is marked is told by what differs in the file: opacity, where the colours are all alike; a palette's index, where
the background is not black; else the brightness. Few distinct values are class numbers: all but 0 are marked. Of many,
as soft edges and lossy files have, those from half of the largest on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image
from scipy import ndimage

from mocca_jax.data import decoder, inputs
from mocca_jax.data.listing import printable
from mocca_jax.errors import UserError

LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
LEAST_LOSSY = 16  # a lossy file's values below are noise
CLASSES, SMALL = (
    16,
    32,
)  # distinct values that may be class numbers; values below are such numbers whatever they look like
TOUCHING = np.ones((3, 3))  # pixels that touch at a corner belong together
MOSTLY = 0.5  # of a picture
ASPECT_TOLERANCE = 0.02  # of the ratio of a picture's sides to that of its mask's
SHOWN = 10


@dataclass(frozen=True)
class Mask:
    """`marked [rows, columns]` of bool, True = anomalous; `form`: of its file, in Pillow's word."""

    marked: np.ndarray
    form: str = ""

    def doubt(self, anomalous: bool = True) -> str:
        """What makes one doubt that the mask of an image, `anomalous` or good, is meant so; "" where nothing does."""
        lossy = anomalous and self.form in LOSSY
        return self.fault(anomalous) or (f"{self.form} is lossy: edges are guessed; save masks as PNG" if lossy else "")

    def fault(self, anomalous: bool = True) -> str:
        """As `doubt`, where what is marked can hardly be meant so."""
        share = float(self.marked.mean())
        if not anomalous:
            return f"{share:.1%} of a good image is marked" if share else ""
        if share == 0:
            return "nothing is marked"
        if share > MOSTLY:
            return "everything is marked" if share == 1 else f"{share:.0%} is marked: is it inverted?"
        return ""


def read(source: decoder.Source) -> Mask:
    """The mask in a file, or in whatever else `decoder.picture` takes; upright.

    Raises:
        UserError: it cannot be read.
    """
    found = decoder.load(source)
    values = _values(found)
    return Mask(_marked(values, found.form in LOSSY or np.issubdtype(values.dtype, np.floating)), found.form)


def reduced(marked: np.ndarray, fitted: tuple[int, int], fit: str) -> np.ndarray:
    """A mask in the geometry of its picture, see `inputs.fitted_size`: by coverage, so that nothing marked vanishes.

    A pixel is marked where half of it is covered. A region that covers half of no pixel marks the one that it covers
    most.

    Args:
        marked: `[rows, columns]` of bool.
        fitted: rows and columns that its picture gets.
        fit: how it gets there.

    Returns:
        `[*fitted]` of bool; only what a "crop" cuts off is gone.
    """
    whole, kept = inputs.placement(marked.shape, fitted, fit)
    covered = np.asarray(Image.fromarray(marked.astype(np.float32)).resize(whole[::-1], Image.Resampling.BOX))
    out = covered >= 0.5
    regions, count = ndimage.label(marked, TOUCHING)
    cells = [np.arange(side) * to // side for side, to in zip(marked.shape, whole, strict=True)]
    seen = np.zeros(count + 1, bool)
    seen[0] = True
    seen[regions[out[np.ix_(*cells)]]] = True
    rows, columns = np.nonzero(~seen[regions])
    region, cell = regions[rows, columns], cells[0][rows] * whole[1] + cells[1][columns]
    order = np.argsort(-covered.ravel()[cell], kind="stable")
    _, first = np.unique(region[order], return_index=True)
    out.ravel()[cell[order][first]] = True
    return out[kept]


def fits(shape: tuple[int, int], sides: tuple[int, int]) -> bool:
    """Whether a mask of this shape belongs to a picture of these sides: the ratio counts, masks are resized."""
    return abs(shape[1] * sides[0] / (shape[0] * sides[1]) - 1) <= ASPECT_TOLERANCE


def check(
    masks: Sequence[Path | None],
    files: Sequence[Path],
    labels: Sequence[int],
    sides: np.ndarray,
    fitted: np.ndarray,
    fit: str,
) -> None:
    """Warns of masks that one may doubt.

    Another size with the same ratio of the sides is fine: masks are resized as their pictures are.

    Args:
        masks: of the pictures `files`, None where there is none.
        labels: of these, 1 = anomalous.
        sides: rows and columns of the pictures' files, `[N, 2]`.
        fitted, fit: as for `reduced`.

    Raises:
        UserError: masks that cannot be read, or that have another shape than their picture; all named.
    """
    faults, doubts = [], []
    for mask, path, label, (rows, columns), size in zip(masks, files, labels, sides, fitted, strict=True):
        if mask is None:
            continue
        try:
            found = read(mask)
        except UserError as error:
            faults.append(f"{printable(mask)}: {error}")
            continue
        height, width = found.marked.shape
        if not fits(found.marked.shape, (rows, columns)):
            faults.append(f"{printable(mask)} is {width}x{height}, its image {printable(path)} {columns}x{rows}")
        elif doubt := found.doubt(label == 1) or (label == 1 and _cut_off(found.marked, size, fit)):
            doubts.append(f"{printable(mask)}: {doubt}")
    if faults:
        raise UserError(
            f"{len(faults)} mask(s) do not fit their image:\n  " + "\n  ".join(faults[:SHOWN]) + "\n"
            "Save each mask in its image's size, or remove it: the image then counts for no pixel figure."
        )
    if doubts:
        logging.warning("%d mask(s) to look at:\n  %s", len(doubts), "\n  ".join(doubts[:SHOWN]))


def _cut_off(marked: np.ndarray, fitted: np.ndarray, fit: str) -> str:
    return "" if reduced(marked, fitted, fit).any() else f"what it marks lies outside of what fit = {fit!r} keeps"


def _values(found: decoder.Loaded) -> np.ndarray:
    """`[rows, columns]`: how much each pixel is marked, in any unit, 0 = not at all."""
    if found.deep is not None:
        colours = found.colours()
        return np.maximum(colours if colours.ndim == 2 else colours.max(-1), 0)
    image = found.image
    if image.mode == "P":
        return _of_palette(image)
    if image.mode in ("LA", "PA", "RGBA"):
        colours, opacity = _brightness(image), np.asarray(image.getchannel("A"))
        visible = colours[opacity > 0]
        if opacity.min() < opacity.max() and (not visible.size or visible.min() == visible.max()):
            return opacity
        return np.where(opacity > 0, colours, 0)
    return _brightness(image)


def _brightness(image: Image.Image) -> np.ndarray:
    """The largest of the colours."""
    return np.asarray(decoder.rgb(decoder.Loaded(image))).max(-1)


def _of_palette(image: Image.Image) -> np.ndarray:
    """By colour where the background is black, otherwise by index; where both could be, as marks less."""
    index, colours = np.asarray(image), _brightness(image)
    if colours.min() == 0 == index[colours == 0].min():
        return colours
    if colours.min() > 0:
        return index
    return min(index, colours, key=lambda values: np.count_nonzero(values))


def _marked(values: np.ndarray, soft: bool) -> np.ndarray:
    """`soft`: values may lie between those that were meant."""
    largest = values.max()
    if soft:
        least = LEAST_LOSSY if np.issubdtype(values.dtype, np.integer) else 0
        return (values >= max(largest / 2, least)) & (values > 0)
    marked = (values >= largest / 2) & (values > 0)
    distinct = np.unique(values[~marked])
    if len(distinct) <= CLASSES:
        for value in distinct[distinct > 0].tolist():
            same = values == value
            if largest < SMALL or ndimage.binary_erosion(same, np.ones((2, 2))).any():  # soft edges are a pixel wide
                marked |= same
    return marked
