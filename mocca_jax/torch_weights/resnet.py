"""The published MVTec AD network's weights."""

import math
from typing import Any

import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.models import resnet
from mocca_jax.torch_weights import convert
from mocca_jax.torch_weights.convert import Names, StateDict


def resnet_variables(state_dict: StateDict) -> tuple[dict[str, Any], int]:
    """The MVTec AD auto-encoder's or encoder's variables, selectors included where the state dict has them.

    The input's side and the code size follow from the shapes. Selector j becomes `head{j}`: build the model with
    `head="selector"` and (some of) these layers. Otherwise as `lenet_variables`.
    """
    arrays, whole = convert.prefixed(state_dict)
    cells = arrays.get("encoder.fc1.weight", np.zeros((0, 0))).shape[-1] // resnet.WIDTHS[-1]
    side = math.isqrt(cells)
    if not side or side * side != cells:
        raise UserError(
            "these are not the weights of the published MVTec AD network: encoder.fc1.weight is missing or not "
            f"[{resnet.HIDDEN}, {resnet.WIDTHS[-1]} * (side/8)^2]"
        )
    layers = tuple(j for j in resnet.LAYERS if any(name.startswith(f"encoder.selectors.{j}.") for name in arrays))
    names = _resnet_encoder(side, layers) | (_resnet_decoder(side) if whole else {})

    def network(moved):
        code_size = moved["params/encoder/linear2/kernel"].shape[-1]
        return {"encoder": "resnet", "head": "selector", "code_size": code_size}, (8 * side, 8 * side, 3), layers

    return convert.variables(arrays, names, network, "MVTec AD")


def _resnet_encoder(side: int, layers: tuple[int, ...]) -> Names:
    names = {"encoder.conv.weight": ("params/encoder/conv/kernel", convert.conv)}
    names |= convert.block("encoder.res", "encoder/res", ("1", "2"))
    for i in range(1, len(resnet.WIDTHS) + 1):
        names |= convert.block(f"encoder.dwn{i}", f"encoder/down{i}", ("1a", "1b", "2a"))
    names |= convert.dense("encoder.fc1", "encoder/linear1", lambda w: convert.linear_on_image(w, side, side))
    names |= convert.norm("encoder.bn", "encoder/norm") | convert.dense("encoder.fc2", "encoder/linear2")
    for j in layers:
        theirs, ours = f"encoder.selectors.{j}.fc", f"encoder/head{j}"
        first = 3 if j <= 4 else 1  # after the pooling, the convolution and the flattening
        if j <= 4:
            names |= convert.dense(f"{theirs}.1", f"{ours}/conv", lambda w: w[:, :, 0, 0].T)
        names |= convert.dense(f"{theirs}.{first}", f"{ours}/linear1") | convert.norm(
            f"{theirs}.{first + 1}", f"{ours}/norm"
        )
        names |= convert.dense(f"{theirs}.{first + 3}", f"{ours}/linear2")
    return names


def _resnet_decoder(side: int) -> Names:
    def to_image(array: np.ndarray) -> np.ndarray:
        """`[C*H*W, ...]` -> `[H*W*C, ...]`."""
        if array.shape[0] % (side * side):
            return array  # the shape check names it
        return array.reshape(-1, side * side, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)

    names = convert.dense("decoder.fc.0", "decoder/linear1") | convert.norm("decoder.fc.1", "decoder/norm1")
    names |= {
        "decoder.fc.3.weight": ("params/decoder/linear2/kernel", lambda w: to_image(w).T),
        "decoder.fc.3.bias": ("params/decoder/linear2/bias", to_image),
    }
    names |= {theirs: (ours, to_image) for theirs, (ours, _) in convert.norm("decoder.fc.4", "decoder/norm2").items()}
    ups = len(resnet.WIDTHS)
    for i in range(ups):
        names |= convert.block(f"decoder.conv.{i}", f"decoder/up{i + 1}", ("1a", "1b", "2a"), transposed=("1a", "2a"))
    names |= convert.block(f"decoder.conv.{ups}", "decoder/res", ("1", "2"))
    return names | {f"decoder.conv.{ups + 1}.weight": ("params/decoder/conv/kernel", convert.conv)}
