"""Made-up images whose anomalies are certain: soft horizontal stripes, against the same with a bright block.

For tests and smoke runs; nothing that is measured on them says anything about real data.
"""

import numpy as np

from mocca_jax.data import Dataset, Split
from mocca_jax.data.inputs import Inputs

SIDE = 16


def load(config) -> Dataset:
    """The data set; `config.normal_class` is the seed that it is made from."""
    rng = np.random.default_rng(config.normal_class)
    return Dataset(
        train=_split(rng, normal=200, anomalous=0),
        test=_split(rng, normal=60, anomalous=60),
        inputs=Inputs((SIDE, SIDE, 3), "unit"),
        description="synthetic stripes",
    )


def _split(rng: np.random.Generator, normal: int, anomalous: int) -> Split:
    count = normal + anomalous
    rows = np.arange(SIDE)[None, :, None, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1, 1))
    images = 100 + 40 * np.sin(rows + phase) + rng.normal(0, 5, (count, SIDE, SIDE, 3))
    for image, (top, left) in zip(images[normal:], rng.integers(0, SIDE - 6, (anomalous, 2)), strict=True):
        image[top : top + 6, left : left + 6] = 240
    labels = np.repeat([0, 1], [normal, anomalous]).astype(np.int32)
    return Split(images.clip(0, 255).astype(np.uint8), labels, [f"{i:04d}" for i in range(count)])
