"""The programs that `experiments.accelerator` runs: their configs and sizes, and PyTorch's beside them.

Sizes are those of experiments/bench; `small` ones let a CPU try everything in moments and say nothing of speed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mocca_jax.configs import cifar10, mvtec, video
from mocca_jax.training import parallel


@dataclass(frozen=True)
class Pipeline:
    """A program that is timed: ours, and PyTorch's in `experiments.bench.<torch[0]>.torch_step(*torch[1:], layout)`.

    PyTorch's is in float32: beside a `dtype` of another kind it is left out.
    """

    config: Callable[[], Any]
    stage: str
    shape: tuple[int, ...]
    batch: int
    torch: tuple[Any, ...]
    scores: bool = False
    dtype: str = "float32"


CLIP, FULL = (8, 64, 96, 1), (16, 256, 512, 3)
_bottle, _video = partial(mvtec.get_config, "bottle"), partial(video.get_config, "paper")
PIPELINES = {
    "cifar10-autoencoder": Pipeline(
        cifar10.get_config, "reconstruction", (32, 32, 3), 256, ("cifar10_step", "reconstruction")
    ),
    "cifar10-encoder": Pipeline(cifar10.get_config, "one_class", (32, 32, 3), 256, ("cifar10_step", "one_class")),
    "mvtec128-autoencoder": Pipeline(
        _bottle, "reconstruction", (128, 128, 3), 32, ("mvtec_step", "reconstruction", 128)
    ),
    "mvtec128-encoder": Pipeline(_bottle, "one_class", (128, 128, 3), 32, ("mvtec_step", "one_class", 128)),
    "mvtec128-scoring": Pipeline(_bottle, "one_class", (128, 128, 3), 32, ("mvtec_step", "scoring", 128), True),
    "mvtec64-encoder": Pipeline(_bottle, "one_class", (64, 64, 3), 32, ("mvtec_step", "one_class", 64)),
    "video": Pipeline(_video, "joint", CLIP, 4, ("video_step", "training", CLIP, 4, 64)),
    "video-scoring": Pipeline(_video, "joint", CLIP, 4, ("video_step", "scoring", CLIP, 4, 64), True),
    "video-full": Pipeline(_video, "joint", FULL, 2, ("video_step", "training", FULL, 2, 1024)),
}
PIPELINES |= {
    f"{name}-bfloat16": replace(PIPELINES[name], dtype="bfloat16") for name in ("mvtec128-encoder", "video-full")
}
NETWORKS = {"lenet": "cifar10-encoder", "resnet": "mvtec128-encoder", "video": "video"}
SMALL_SHAPES = {"cifar10_step": (16, 16, 3), "mvtec_step": (16, 16, 3), "video_step": (4, 32, 32, 1)}


def sized(pipeline: Pipeline, small: bool) -> tuple[Any, str, tuple[int, ...], int]:
    """The pipeline's config, stage, shape and batch."""
    config, name = pipeline.config(), pipeline.torch[0]
    config.update(radius_warmup_epochs=0, compute_dtype=pipeline.dtype)
    if name == "video_step":
        config.code_size = 8 if small else pipeline.torch[-1]
    if name == "mvtec_step":
        config.layers = (4, 5, 6)
    if not small:
        return config, pipeline.stage, pipeline.shape, pipeline.batch
    config.layers = tuple(config.layers)[:2]
    return config, pipeline.stage, SMALL_SHAPES[name], parallel.padded(4, parallel.make_mesh())
