"""The 1,797 handwritten digits inside scikit-learn (8x8, grey): real data that needs no download.

One digit is normal. A third of all images, stratified by digit and the same for every seed, is the test set;
of the rest only the normal digit's images are trained on.
"""

import numpy as np

from mocca_jax.data import Dataset, Split
from mocca_jax.data.inputs import Inputs

SIDE = 8
LARGEST = 16


def load(config) -> Dataset:
    """The data set in which the digit `config.normal_class` is normal."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images * (255 / LARGEST)).round().astype(np.uint8)[..., None]
    indices = np.arange(len(images))
    train, test = train_test_split(indices, test_size=1 / 3, stratify=digits.target, random_state=0)
    train = train[digits.target[train] == config.normal_class]

    def split(chosen):
        labels = (digits.target[chosen] != config.normal_class).astype(np.int32)
        return Split(images[chosen], labels, [f"{i:04d}-digit{digits.target[i]}" for i in chosen])

    return Dataset(
        train=split(np.sort(train)),
        test=split(np.sort(test)),
        inputs=Inputs((SIDE, SIDE, 1), "unit"),
        description=f"handwritten digits, normal digit {config.normal_class}",
    )
