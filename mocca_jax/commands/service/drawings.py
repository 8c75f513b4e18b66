"""Where a picture is anomalous, for an answer: its regions, the picture under its map, the map alone."""

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mocca_jax.data.incoming import Seen
from mocca_jax.data.inputs import fitted_size, placement
from mocca_jax.detector import Detector, Findings
from mocca_jax.report import overlays
from mocca_jax.scoring import explain


@dataclass(frozen=True)
class Wanted:
    """What an answer holds beside the usual: the picture under its `map`, the map alone as `overlay`, and `explain`."""

    map: bool = False
    overlay: bool = False
    explain: bool = False


def of(detector: Detector, picture: Seen, findings: Findings, index: int, wanted: Wanted) -> dict[str, Any]:
    """The fields of an `Answer` that tell where a picture is anomalous and why: `regions`, and those that are wanted.

    The picture is that at `index` of those that the `findings` are of.
    """
    found = _of_map(detector, picture, findings, index, wanted)
    if wanted.explain:
        told = explain.of_pictures(detector, [picture], detector.of_seen([picture]), (0,))[0]
        found["explanation"] = told.as_dict(files=False)
    return found


def is_quick(findings: Findings, index: int, wanted: Wanted) -> bool:
    """Whether `of` has nothing to compute."""
    flagged = findings.anomalous is not None and bool(findings.anomalous[index])
    return wanted == Wanted() and not flagged


def _of_map(detector: Detector, picture: Seen, findings: Findings, index: int, wanted: Wanted) -> dict[str, Any]:
    anomalous = findings.anomalous is not None and bool(findings.anomalous[index])
    if detector.map_scale is None:
        return {"regions": None}
    if not (anomalous or wanted.map or wanted.overlay):
        return {"regions": []}
    (values,) = detector.maps_of([picture.pixels], findings.coarse(index))
    scale = overlays.Scale(detector.map_scale.ordinary, detector.map_scale.threshold)
    found: dict[str, Any] = {
        "regions": [region.as_dict() for region in detector.regions_of(values, picture, True)] if anomalous else []
    }
    if wanted.map:
        found["map_png"] = _png(overlays.paint(picture.pixels, values, scale))
    if wanted.overlay:
        rows, columns = picture.sides
        found |= {"overlay_png": _png(overlays.alone(values, scale)), "overlay_box": _box(detector, picture)}
        found["sides"] = [columns, rows]
    return found


def _box(detector: Detector, picture: Seen) -> list[int]:
    """Left, top, width and height of what the network sees, in pixels of the picture as it came."""
    inputs, sides = detector.inputs, picture.sides
    whole, kept = placement(sides, fitted_size(sides, inputs.size, inputs.fit), inputs.fit)
    edges = [
        (round(of.start * side / size), round(of.stop * side / size))
        for of, side, size in zip(kept, sides, whole, strict=True)
    ]
    (top, bottom), (left, right) = edges
    return [left, top, right - left, bottom - top]


def _png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
