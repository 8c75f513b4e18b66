"""CIFAR-10, one class normal (paper, section IV-A), through TensorFlow Datasets without TensorFlow.

All 5,000 training images of the normal class are trained on; all 10,000 test images are scored. Images are
contrast-normalised and scaled to about [0, 1] with the normal class's constants, anomalies included.
"""

import os
from pathlib import Path

import jax
import numpy as np

from mocca_jax.config import setting
from mocca_jax.data import Dataset, Split, cache
from mocca_jax.data.inputs import Inputs, contrast_normalize
from mocca_jax.data.sets import cifar10_files
from mocca_jax.errors import UserError

SHAPE = (32, 32, 3)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Extremes of the contrast-normalised training images of each class (Deep SVDD's published constants).
EXTREMES = (
    (-28.94083453598571, 13.802961825439636),
    (-6.681770233365245, 9.158067708230273),
    (-34.924463588638204, 14.419298165027628),
    (-10.599172931391799, 11.093187820377565),
    (-11.945022995801637, 10.628045447867583),
    (-9.691969487694928, 8.948326776180823),
    (-9.174940012342555, 13.847014686472365),
    (-6.876682005899029, 12.282371383343161),
    (-15.603507135507172, 15.2464923804279),
    (-6.132882973622672, 8.046098172351265),
)
# Paper, Table I: AUC per class, soft and hard boundary.
PAPER_SOFT = (0.626, 0.746, 0.575, 0.578, 0.615, 0.663, 0.674, 0.721, 0.791, 0.773)
PAPER_HARD = (0.660, 0.705, 0.524, 0.601, 0.609, 0.684, 0.671, 0.685, 0.792, 0.758)


def load(config) -> Dataset:
    """Finds the data, decodes it once, and cuts out the normal class.

    Raises:
        UserError: no usable copy; the message names the remedies.
    """
    normal = config.normal_class
    all_classes = arrays(config)
    of_class = np.flatnonzero(all_classes["train_label"] == normal)
    train = np.ascontiguousarray(all_classes["train_image"][of_class])
    names = [f"train/{i:05d}" for i in of_class]
    rest, watched = _parted(train, names, setting(config, "watched"))
    test_labels = (np.asarray(all_classes["test_label"]) != normal).astype(np.int32)
    return Dataset(
        train=rest,
        watched=watched,
        test=Split(all_classes["test_image"], test_labels, [f"test/{i:05d}" for i in range(len(test_labels))]),
        inputs=inputs(config, train),
        description=f"CIFAR-10, normal class {normal} ({CLASSES[normal]})",
        paper_auc={"soft": f"{PAPER_SOFT[normal]:.3f}", "hard": f"{PAPER_HARD[normal]:.3f}"},
    )


def arrays(config) -> dict[str, np.ndarray]:
    """The images and labels of all classes: `train_image`, `train_label`, `test_image`, `test_label`.

    Raises:
        UserError: no usable copy; the message names the remedies.
    """
    source = cifar10_files.find_or_prepare(data_dir(config.data_dir))
    entry = f"cifar10-{cache.fingerprint(sorted(source.iterdir()))}"
    return cache.arrays(entry, lambda: cifar10_files.decode(source))


def inputs(config, train: np.ndarray) -> Inputs:
    """How an image becomes what the network sees, with the constants of the normal class's training images."""
    enlarged = setting(config, "enlarged")
    geometry = {"shape": (enlarged, enlarged, 3), "size": SHAPE[:2]} if enlarged else {"shape": SHAPE}
    normalize = setting(config, "normalize")
    if config.scaling == "none":
        return Inputs(**geometry, normalize=normalize)
    low, high = EXTREMES[config.normal_class] if config.scaling == "published" else measured_extremes(train)
    return Inputs(**geometry, normalize="contrast", low=low, high=high)


def _parted(images: np.ndarray, names: list[str], watched: int) -> tuple[Split, Split | None]:
    """What is trained on, and as many images as are to be watched, evenly spread.

    Raises:
        UserError: hardly anything would be left to train on.
    """
    if 2 * watched > len(images):
        raise UserError(f"watched = {watched}: of {len(images)} training images at most half can be watched")
    chosen = np.zeros(len(images), bool)
    chosen[np.linspace(0, len(images) - 1, watched).round().astype(int)] = True

    def split(which: np.ndarray) -> Split:
        kept = np.flatnonzero(which)
        return Split(images[kept], np.zeros(len(kept), np.int32), [names[i] for i in kept])

    return split(~chosen), split(chosen) if watched else None


def data_dir(configured: str) -> Path:
    """The config's folder, else `TFDS_DATA_DIR`, else TensorFlow Datasets' own default."""
    return Path(configured or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def measured_extremes(raw: np.ndarray) -> tuple[float, float]:
    """The smallest and largest value of the contrast-normalised images."""
    normalized = jax.jit(contrast_normalize)(raw)
    return float(normalized.min()), float(normalized.max())
