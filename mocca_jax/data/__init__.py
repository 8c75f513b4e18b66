"""Data sets, all behind one contract.

A `Dataset` has a training and a test `Split` of raw units (uint8 where the source is 8-bit, channels last,
in memory or memory-mapped) and `inputs`, which say how any picture becomes such a unit and how a raw batch becomes
the network's float32 input. To add a data set, write a module here with `load(config) -> Dataset`, and name it with the
config fields of its own in `config.DATA_FIELDS`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from mocca_jax.config import DATA_FIELDS, suggestion
from mocca_jax.data.inputs import Inputs
from mocca_jax.data.pictures import Pictures
from mocca_jax.files import digests
from mocca_jax.method.timeline import Timeline


@dataclass(frozen=True)
class Origin:
    """Where the frames of a video come from: the video's `name` and `source`, as `footage.of` takes it; `first`: the
    number of the first frame, where it is a part of that video."""

    name: str
    source: Any
    first: int = 0


@dataclass(frozen=True)
class Split:
    """Units `images [U, ...]`; `labels [S]` (1 = anomalous, -1 = not known) and a name for each sample.

    `images` is an array or a view that is indexed like one (`views.py`). A unit is a sample, unless
    `sample_of_unit [U]` says which sample each unit is a part of, or `timeline` says that units are clips and
    samples frames; `origins` are then those of its videos, None where there are none. `pictures`: the samples as
    whole images, where anomaly maps make sense. `draws`: units per training epoch, drawn with replacement; 0 = each
    unit once.
    """

    images: np.ndarray
    labels: np.ndarray
    samples: list[str]
    sample_of_unit: np.ndarray | None = None
    pictures: Pictures | None = None
    timeline: Timeline | None = None
    draws: int = 0
    origins: tuple[Origin | None, ...] = ()

    def __post_init__(self):
        units = len(self.samples) if self.sample_of_unit is None else len(self.sample_of_unit)
        units = units if self.timeline is None else len(self.timeline.start)
        if not (len(self.images) == units and len(self.labels) == len(self.samples)):
            raise ValueError(
                f"{len(self.images)} images, {len(self.labels)} labels, {len(self.samples)} names: must agree"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def per_epoch(self) -> int:
        """Units in a training epoch."""
        return self.draws or len(self)


@dataclass(frozen=True)
class Dataset:
    """What training and scoring need to know of a data set.

    `inputs`: geometry and scaling; `inputs.preprocess` takes raw units `[B, ...]` to `[B, *inputs.shape]` float32 for
    scoring, `augment(raw, key)` for training, with a key that is fresh for every step (None: as for scoring).
    `heldout`: normal images that nothing is trained on, for threshold and p-values. For choosing settings, `defects`:
    the same with made-up defects; they are to be told from `changed`, the good ones as another day would show them
    (None: from `heldout`). `centred`: the units that centroids are means of (None: those of
    `train`, each once). `watched`: normal units that are not trained on, for the learning curve and for what distances
    to statistics usually are; nothing is decided by them. `test` is None where there are no test images. `aggregate`
    names the function in `scores.AGGREGATES` that turns the scores of units into those of samples.
    `paper_auc` is the paper's figure per boundary. `files`: what the data set is made of, by name the digest of each
    file's content; empty where it is made up. `unused`: files that lie there and are not used, as lines of text.
    `videos`: how many normal ones are held out, or left out in turn; parts of one are not counted.
    `remarks`: what is odd about files that are used, as lines of text.
    """

    train: Split
    test: Split | None
    inputs: Inputs
    description: str
    aggregate: str = "identity"
    paper_auc: dict[str, str] = field(default_factory=dict)
    heldout: Split | None = None
    changed: Split | None = None
    defects: Split | None = None
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    centred: Split | None = None
    watched: Split | None = None
    files: dict[str, str] = field(default_factory=dict)
    unused: str = ""
    videos: int = 0
    remarks: str = ""

    @property
    def fingerprint(self) -> str:
        """One digest of `files`, "" where there are none."""
        return digests.of_values(sorted(self.files.items()))[:16] if self.files else ""

    @property
    def training_view(self) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """What training applies to a raw batch."""
        return self.augment or self.inputs.preprocess


def files(config) -> dict[str, str]:
    """`Dataset.files` of the data set that a config names, without decoding anything; empty where it has no files.

    Raises:
        UserError: its files are not there.
    """
    found = getattr(_module(config), "files", None)
    return found(config) if found else {}


def test_videos(config) -> list[Any]:
    """The test videos of a config's data set, as `video_layout.Found`, without decoding any; empty where it has none.

    Raises:
        UserError: its files are not there.
    """
    found = getattr(_module(config), "test_videos", None)
    return found(config) if found else []


def folder(config) -> Path | None:
    """Where the files are that `Dataset.files` names; None of data sets that say nothing of it.

    Raises:
        UserError: no folder is configured, or it is not there.
    """
    found = getattr(_module(config), "where", None)
    return found(config) if found else None


def load(config) -> Dataset:
    """The data set that a config names.

    Raises:
        UserError: its files are absent or damaged.
        ValueError: unknown name.
    """
    return _module(config).load(config)


def _module(config) -> ModuleType:
    if config.data not in DATA_FIELDS:
        raise ValueError(f"unknown data set {config.data!r}{suggestion(config.data, DATA_FIELDS)}")
    return importlib.import_module(f"mocca_jax.data.sets.{config.data}")
