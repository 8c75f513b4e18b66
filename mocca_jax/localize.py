"""Where the anomalies are: chooses a method on made-up defects, sets the scale on held-out normals, draws the test set.

The test set has no say in either: its masks are looked at once, for the figures in the result.
"""

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from absl import logging

from mocca_jax import evaluate, maps, metrics, overlays
from mocca_jax import threshold as thresholds
from mocca_jax.data import Split
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError

MOST_PIXELS = 4e7  # of a test set; beyond, figures are taken from every k-th pixel of every k-th row
EXAMPLES = 16  # made-up defects drawn where there is no test set
OVERLAYS, MAPS = "overlays", "maps"


Largest = dict[str, np.ndarray]


def run(
    context: maps.Context, scores: dict[str, evaluate.Scores], workdir: Path
) -> tuple[dict[str, Any] | None, Largest]:
    """Anomaly maps of a trained run.

    Args:
        context: the run.
        scores: of the splits `heldout` and `test`, where there are such.
        workdir: gets `overlays/<sample>.png` and `maps/<sample>.npy` (float32 `[rows, columns]`).

    Returns:
        `method`; `candidates`: each method's figures on made-up defects; `threshold`: the value that the largest
        of a map reaches in a share alpha of good images; `ordinary`: the median value of good pixels; `test`:
        figures on the masks of the test set, or None. None where no maps are wanted or nothing is held out. And the
        largest value of each map, `{split: [S]}`.
    """
    dataset, config = context.dataset, context.config
    if not config.get("maps", ()) or dataset.heldout is None or dataset.heldout.pictures is None:
        return None, {}
    logging.info("anomaly maps: comparing %s on made-up defects", ", ".join(config.maps))
    made = {name: maps.METHODS[name](context) for name in config.maps}
    defects = dataset.defects.pictures
    candidates, normals, damaged = {}, {}, {}
    for name, method in made.items():
        damaged[name] = found = list(method(defects))
        normals[name] = list(method(dataset.heldout.pictures))
        labels = np.repeat([0, 1], [len(normals[name]), len(found)])
        candidates[name] = measure(found, defects) | image_auc(normals[name] + found, labels)
    chosen = max(candidates, key=lambda name: candidates[name]["aupro"])
    normal = normals[chosen]
    largest = {"heldout": _largest(normal), "defects": _largest(damaged[chosen])}
    ordinary = float(np.median(np.concatenate([found.ravel() for found in normal])))
    threshold, _ = thresholds.conformal_threshold(largest["heldout"], config.alpha)
    result = {"method": chosen, "candidates": candidates, "threshold": threshold, "ordinary": ordinary, "test": None}
    writer = _Writer(workdir, overlays.Scale(ordinary, threshold))
    if dataset.test is None:
        writer.all(made[chosen], dataset.defects, np.arange(min(len(defects), config.overlays, EXAMPLES)), None)
        return result, largest
    drawn = np.argsort(-scores["test"].combined, kind="stable")[: config.overlays]
    found = writer.all(made[chosen], dataset.test, drawn, scores["test"].combined)
    figures = measure(found, dataset.test.pictures)
    largest["test"] = _largest(found)
    if figures:
        figures |= image_auc(found, dataset.test.labels)
        for kind, label in (("normal", 0), ("anomalous", 1)):
            of_kind = largest["test"][dataset.test.labels == label]
            figures |= {f"{kind}_flagged": float((of_kind > threshold).mean())} if len(of_kind) else {}
    return result | {"test": figures}, largest


def _largest(found: list[np.ndarray]) -> np.ndarray:
    return np.array([values.max() for values in found])


def image_auc(found: list[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """AUC of images scored by the largest value of their maps; nothing where all images are of one kind."""
    both = set(np.unique(labels)) == {0, 1}
    return {"image_auc": metrics.evaluate(labels, _largest(found))["auc"]} if both else {}


def measure(found: list[np.ndarray], pictures: Pictures) -> dict[str, float] | None:
    """Pixel AUROC and AUPRO over the pictures whose masks are known; None where no pixel of these is anomalous."""
    masks = [pictures.mask(index) for index in range(len(pictures))]
    known = [index for index, mask in enumerate(masks) if mask is not None]
    chosen_maps, chosen_masks = [found[i] for i in known], [masks[i] for i in known]
    if not any(mask.any() for mask in chosen_masks) or all(mask.all() for mask in chosen_masks):
        return None
    step = math.ceil(math.sqrt(sum(mask.size for mask in chosen_masks) / MOST_PIXELS))
    chosen_maps, chosen_masks = ([x[::step, ::step] for x in of] for of in (chosen_maps, chosen_masks))
    return {
        "pixel_auroc": metrics.pixel_auroc(chosen_maps, chosen_masks),
        "aupro": metrics.aupro(chosen_maps, chosen_masks),
        "images": len(known),
        "every_kth_pixel": step,
    }


class _Writer:
    """Writes maps and overlays into a run's folder, under the samples' names."""

    def __init__(self, workdir: Path, scale: overlays.Scale):
        self.workdir, self.scale = workdir, scale

    def all(self, method: maps.Maps, split: Split, drawn: np.ndarray, scores: np.ndarray | None) -> list[np.ndarray]:
        """The maps of a split; those of the samples `drawn` are written."""
        found, wanted, names = [], set(drawn.tolist()), file_names(split.samples)
        for index, values in enumerate(method(split.pictures)):
            found.append(values)
            if index in wanted:
                score = None if scores is None else float(scores[index])
                self._one(names[index], split, index, values, score)
        return found

    def _one(self, name: str, split: Split, index: int, values: np.ndarray, score: float | None) -> None:
        rows, columns = split.pictures.sizes[index]
        picture = split.pictures.images[np.array([index])][0, :rows, :columns]
        title = split.samples[index] + ("" if score is None else f"   score {score:.4g}")
        try:
            for folder, suffix in ((OVERLAYS, ".png"), (MAPS, ".npy")):
                path = self.workdir / folder / f"{name}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if folder == MAPS:
                    np.save(path, values)
                else:
                    overlays.draw(path, picture, values, split.pictures.mask(index), self.scale, title)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error}. Scores and checkpoints are untouched.") from error


def file_names(samples: list[str]) -> list[str]:
    """The samples' names without their endings, or with them where two would fall together."""
    short = [str(PurePosixPath(sample).with_suffix("")) for sample in samples]
    return short if len(set(short)) == len(short) else samples
