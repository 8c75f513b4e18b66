"""Findings about masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mocca_jax.data import masks
from mocca_jax.data.findings import Finding
from mocca_jax.data.findings.pictures import Pictures
from mocca_jax.errors import UserError

SMALL = 2  # pixels of the network's view, of which a defect has fewer


@dataclass(frozen=True)
class MaskLook:
    """A mask that was looked at.

    Args:
        shape: rows and columns.
        largest: pixels of the largest region that is marked.
        wrong: why it can hardly be meant so, "" otherwise.
        form: of its file where that is lossy, else "".
        fault: why it cannot be read; "" where it can.
    """

    shape: tuple[int, int] = (0, 0)
    largest: int = 0
    wrong: str = ""
    form: str = ""
    fault: str = ""


def look(path: Path, label: int) -> MaskLook:
    """Decodes the mask of a picture; `label` 1 = anomalous."""
    try:
        mask = masks.read(path)
    except UserError as error:
        return MaskLook(fault=str(error))
    regions, _ = ndimage.label(mask.marked, masks.TOUCHING)
    largest = int(np.bincount(regions.ravel())[1:].max(initial=0))
    form = mask.form if mask.form in masks.LOSSY else ""
    return MaskLook(mask.marked.shape, largest, mask.fault(label == 1), form)


def find(of: Pictures, looks: Mapping[Path, MaskLook], size: int) -> list[Finding]:
    """The findings; `size`: the side of the network's view, pixels."""
    found = of.found
    every = [
        (mask, looks[mask], image, label)
        for mask, image, label in zip(found.masks, found.test, found.labels, strict=True)
        if mask
    ]
    missing = [
        image for image, label, mask in zip(found.test, found.labels, found.masks, strict=True) if label and not mask
    ]
    read = [row for row in every if not row[1].fault]
    unlike, small = [], []
    for mask, of_mask, image, label in read:
        sides = of.looks[image].facts.size
        if not of.looks[image].facts.fault and not masks.fits(of_mask.shape, sides):
            unlike.append(f"{found.name(mask)}: {_sides(of_mask.shape)}, its image {_sides(sides)}")
        seen = of_mask.largest * size**2 / np.prod(of_mask.shape)
        if label and 0 < seen < SMALL:
            small.append(f"{found.name(mask)}: {seen:.2g} pixels of {size}x{size}")
    return [
        Finding(
            "mask(s) cannot be read as images",
            "Restore or remove them: the image then counts for no pixel figure.",
            [f"{found.name(mask)}: {of_mask.fault}" for mask, of_mask, *_ in every if of_mask.fault],
        ),
        Finding("mask(s) have another shape than their image", "Save the mask in the image's size.", unlike),
        Finding(
            "mask(s) can hardly be meant so",
            "Draw what is anomalous in white on black, and nothing else.",
            [f"{found.name(mask)}: {of_mask.wrong}" for mask, of_mask, *_ in read if of_mask.wrong],
        ),
        Finding(
            "anomalous test image(s) have no mask",
            "Add ground_truth/<defect>/<name>_mask.png; without it the image counts for no pixel figure.",
            of.names(missing) if every else [],
        ),
        Finding(
            "mask(s) belong to no image",
            "Rename each to <image>_mask.png in the folder of its defect, or remove it.",
            of.names(found.stray_masks),
        ),
        Finding(
            "mask(s) are lossy: where the edges are is guessed",
            "Save masks as PNG.",
            [f"{found.name(mask)}: {of_mask.form}" for mask, of_mask, *_ in read if of_mask.form and not of_mask.wrong],
            note=True,
        ),
        Finding(
            "mask(s) mark defects smaller than the network sees",
            "The map and the figures count them, the score may miss them; resize=384 looks closer.",
            small,
            note=True,
        ),
    ]


def _sides(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
