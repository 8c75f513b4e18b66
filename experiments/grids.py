"""Which runs make up each of the paper's tables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from mocca_jax import config as configs
from mocca_jax.configs import cifar10, mvtec, video, video_synthetic
from mocca_jax.data.sets.cifar10 import CLASSES

LATER_FIELDS = (  # what the first stage's result does not depend on
    "alpha",
    "boundary",
    "centroid_push",
    "hard_over_nu",
    "layer_reduction",
    "layers",
    "map_stride",
    "maps",
    "nu",
    "one_class",
    "overlays",
    "radius_interval",
    "radius_warmup_epochs",
    "score",
    "score_norm",
    "stages",
    "transfer",
)


@dataclass(frozen=True)
class Job:
    """One run, and the words that tell it from the others of its table."""

    labels: dict[str, Any]
    config: ConfigDict

    @property
    def hash(self) -> str:
        return configs.digest(self.config)

    @property
    def group(self) -> str:
        """Runs of one group share their first stage."""
        if self.config.stages[:1] != ("reconstruction",):
            return self.hash
        shared = {name: value for name, value in configs.as_dict(self.config).items() if name not in LATER_FIELDS}
        return configs.digest(ConfigDict(shared))


def table1(seed: int, preset: str) -> Iterator[Job]:
    """CIFAR-10: MOCCA and its two baselines."""
    for normal in range(10):
        for method, presets in (("mocca", ""), ("deep_svdd", ",deep_svdd"), ("dcae", ",dcae")):
            for boundary in ("soft", "hard") if method != "dcae" else ("soft",):
                config = cifar10.get_config((preset or "quick") + presets)
                config.update(normal_class=normal, boundary=boundary, seed=seed)
                labels = {"class": CLASSES[normal], "method": method, "boundary": boundary}
                yield Job(labels if method != "dcae" else labels | {"boundary": "-"}, config)


def table3(seed: int, preset: str) -> Iterator[Job]:
    """MVTec AD: all categories, both boundaries, two baselines."""
    for category in mvtec.CATEGORIES:
        for method in ("mocca", "untrained", "reconstruct"):
            for boundary in ("soft", "hard") if method == "mocca" else ("soft",):
                names = [preset or "laptop", *([method] if method != "mocca" else [])]
                config = mvtec.get_config(",".join((category, *names)))
                config.update(boundary=boundary, seed=seed)
                labels = {"category": category, "method": method, "boundary": boundary}
                yield Job(labels if method == "mocca" else labels | {"boundary": "-"}, config)


def table6(seed: int, preset: str) -> Iterator[Job]:
    """Videos: UCSD Ped2 by the published recipe and by our preset with each change undone, and the made-up set."""
    for variant, (file, names, changes) in VIDEOS.items():
        config = file.get_config(",".join(filter(None, (names, preset))))
        config.update(seed=seed, **changes)
        yield Job({"variant": variant}, config)


VIDEOS: dict[str, tuple[Any, str, dict[str, Any]]] = {  # config, presets, changed fields
    "ped2 movement": (video, "", {"data_dir": "ped2"}),
    **{f"ped2 movement with layer {n} alone": (video, "", {"data_dir": "ped2", "layers": (n,)}) for n in range(4)},
    "ped2 published": (video, "ped2,published", {}),
    "ped2 published, untrained": (video, "ped2,published,untrained", {}),
    "ped2 preset": (video, "ped2", {}),
    "ped2 preset, untrained": (video, "ped2,untrained", {}),
    "ped2 preset, signed differences, untrained": (video, "ped2,untrained", {"frame_differences": "signed"}),
    "ped2 preset, LSTM heads": (video, "ped2", {"head": "lstm"}),
    "ped2 preset, mean heads": (video, "ped2", {"head": "mean"}),
    "ped2 preset, frames as input": (video, "ped2", {"frame_differences": "none"}),
    "synthetic preset": (video_synthetic, "", {}),
    "synthetic preset, untrained": (video_synthetic, "untrained", {}),
}


def table7(seed: int, preset: str) -> Iterator[Job]:
    """The paper's ablation of layers, on every category of MVTec AD; the paper shows leather. It has no maps."""
    for category in mvtec.CATEGORIES:
        for first in range(6, -1, -1):
            for boundary in ("soft", "hard"):
                config = mvtec.get_config(f"{category},{preset or 'laptop'}")
                config.update(layers=tuple(range(first, 7)), boundary=boundary, seed=seed, maps=())
                words = ",".join(map(str, config.layers))
                yield Job({"category": category, "layers_used": words, "boundary": boundary}, config)


TABLES: dict[str, Callable[[int, str], Iterator[Job]]] = {
    "1": table1,
    "2": table1,
    "3": table3,
    "4": table3,
    "5": table3,
    "6": table6,
    "7": table7,
}
FILES = {number: f"table{number}" for number in TABLES} | {"2": "table1", "4": "table3", "5": "table3"}
