"""torchvision's and timm's ResNets (their names are the same) -> our variables, batch-norms folded away."""

from typing import Any

import numpy as np

from mocca_jax.models import imagenet_resnet
from mocca_jax.weights.folding import Folding, StateDict

EPS = 1e-5
UNUSED = ("fc.",)


def variables(state_dict: StateDict, encoder: str, deepest: int | None = None) -> tuple[dict[str, Any], int]:
    """`{"params": {"encoder": ...}, "batch_stats": {}}` for `models.build`, and how many arrays were used.

    Args:
        state_dict: under torchvision's names; the classifier is ignored where it is there.
        encoder: a name in `imagenet_resnet.SIZES`.
        deepest: the last block that is wanted, None = all.

    Raises:
        UserError: an array is missing, unknown or of the wrong shape; all are listed.
    """
    plan, found = imagenet_resnet.plan(encoder), Folding(state_dict, encoder, EPS)
    found.conv("stem", "conv1", "bn1", (imagenet_resnet.STEM, 3, 7, 7), _spatial)
    repeats = imagenet_resnet.SIZES[encoder].repeats
    places = [(stage, repeat) for stage, count in enumerate(repeats, start=1) for repeat in range(count)]
    for index, (block, (stage, repeat)) in enumerate(zip(plan, places, strict=True)):
        theirs, ours = f"layer{stage}.{repeat}", f"block{index}"
        for part, shape in _shapes(block).items():
            found.conv(f"{ours}/conv{part}", f"{theirs}.conv{part}", f"{theirs}.bn{part}", shape, _spatial)
        if block.stride > 1 or block.width_in != block.width:
            shape = (block.width, block.width_in, 1, 1)
            found.conv(f"{ours}/shortcut", f"{theirs}.downsample.0", f"{theirs}.downsample.1", shape, _spatial)
    made, count = found.variables(UNUSED)
    return found.up_to(made, "block", deepest), count


def _shapes(block: imagenet_resnet.Block) -> dict[int, tuple[int, ...]]:
    if block.narrows:
        narrow = (block.inner, block.width_in, 1, 1)
        return {1: narrow, 2: (block.inner, block.inner, 3, 3), 3: (block.width, block.inner, 1, 1)}
    return {1: (block.inner, block.width_in, 3, 3), 2: (block.width, block.inner, 3, 3)}


def _spatial(weight: np.ndarray) -> np.ndarray:
    """`[out, in, k, k]` -> `[k, k, in, out]`."""
    return weight.transpose(2, 3, 1, 0)
