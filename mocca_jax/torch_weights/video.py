"""The published ShanghaiTech network's weights."""

import re
from typing import Any

import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.models import video_resnet
from mocca_jax.torch_weights import convert
from mocca_jax.torch_weights.convert import Names, StateDict

GATES = "ifgo"  # input, forget, cell, output: the order of rows in PyTorch's arrays
CONVOLUTIONS = len(video_resnet.WIDTHS)
LSTM = re.compile(r"encoder\.(?P<name>lstm_\w+)\.(?P<part>weight_ih|weight_hh|bias_ih|bias_hh)_l(?P<at>\d+)(_reverse)?")


def video_variables(
    state_dict: StateDict, image_shape: tuple[int, int, int, int] = (16, 256, 512, 3), selectors: bool | None = None
) -> tuple[dict[str, Any], int]:
    """The ShanghaiTech auto-encoder's or encoder's variables with all seven heads, and how many arrays were moved.

    The model is `models.build` with the head `"selector_lstm"`, or `"lstm"` without selectors, and all layers.

    Args:
        state_dict: the published names; `num_batches_tracked` is ignored.
        image_shape: (T, H, W, C) of the clips the weights were trained on.
        selectors: the published program stores selectors even where it does not use them. None: take them where
            they are; False: leave them out, and do not count them.

    Raises:
        UserError: an array is missing, unknown or of the wrong shape; all are listed.
    """
    arrays, whole = convert.prefixed(state_dict)
    present = any(name.startswith("encoder.sel") for name in arrays)
    if not present and selectors:
        raise UserError("these weights hold no selectors; pass selectors=False")
    if present and selectors is False:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("encoder.sel")}
    with_selectors = present and selectors is not False
    height, width = (side // by for side, by in zip(image_shape[1:3], video_resnet.REDUCTION[1:], strict=True))
    moved_arrays, depth, both = _by_gate(arrays)
    names = _encoder(height, width) | (_decoder() if whole else {})
    for layer in range(len(video_resnet.LAYERS)):
        names |= _lstm(layer, depth, both)
        if with_selectors and layer < CONVOLUTIONS:
            names |= _selector(layer, image_shape)

    def network(moved):
        settings = {
            "encoder": "video_resnet",
            "head": "selector_lstm" if with_selectors else "lstm",
            "code_size": moved["params/encoder/linear2/kernel"].shape[-1],
            "lstm_size": moved["params/encoder/head0/lstm0/cell/hi/kernel"].shape[-1],
            "lstm_layers": depth,
            "lstm_bidirectional": both,
            "lstm_dropout": 0.0,
        }
        return settings, image_shape, video_resnet.LAYERS

    variables, _ = convert.variables(moved_arrays, names, network, "ShanghaiTech")
    return variables, len(arrays)


def _by_gate(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int, bool]:
    """LSTM arrays taken apart by gate; the number of layers; whether there are two directions.

    `<lstm>.l<layer><_reverse>.<gate>.input [C+1, H]` has PyTorch's second bias as the weight of a constant input.
    """
    found = {name: LSTM.fullmatch(name) for name in arrays}
    split = {name: array for name, array in arrays.items() if not found[name]}
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, match in found.items():
        if match:
            group = f"encoder.{match['name']}.l{match['at']}{match[4] or ''}"
            groups.setdefault(group, {})[match["part"]] = arrays[name]
    for group, parts in groups.items():
        lacking = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"} - parts.keys()
        if lacking:
            raise UserError(f"the weights of {group} are not whole: {', '.join(sorted(lacking))} missing")
        if len({len(part) for part in parts.values()}) > 1 or len(parts["bias_ih"]) % len(GATES):
            raise UserError(f"{group}: arrays of {[p.shape for p in parts.values()]} are no LSTM's")
        rows = {name: np.split(part, len(GATES)) for name, part in parts.items()}
        for index, gate in enumerate(GATES):
            split[f"{group}.{gate}.input"] = np.vstack([rows["weight_ih"][index].T, rows["bias_ih"][index][None]])
            split[f"{group}.{gate}.hidden"] = rows["weight_hh"][index].T
            split[f"{group}.{gate}.bias"] = rows["bias_hh"][index]
    depth = 1 + max((int(match["at"]) for match in found.values() if match), default=0)
    return split, depth, any(match and match[4] for match in found.values())


def _lstm(layer: int, depth: int, both: bool) -> Names:
    theirs = f"encoder.lstm_{layer + 1}" if layer < CONVOLUTIONS else f"encoder.lstm_tdl_{layer - CONVOLUTIONS + 1}"
    names = {}
    for at in range(depth):
        for suffix in ("", "_reverse") if both else ("",):
            cell = f"params/encoder/head{layer}/lstm{at}{suffix}/cell"
            for gate in GATES:
                group = f"{theirs}.l{at}{suffix}.{gate}"
                names[f"{group}.input"] = (f"{cell}/i{gate}/kernel", np.asarray)
                names[f"{group}.hidden"] = (f"{cell}/h{gate}/kernel", np.asarray)
                names[f"{group}.bias"] = (f"{cell}/h{gate}/bias", np.asarray)
    return names


def _encoder(height: int, width: int) -> Names:
    names = {}
    for i in range(1, CONVOLUTIONS + 1):
        names |= convert.block(f"encoder.conv_{i}", f"encoder/down{i}", ("1a", "1b", "2a"))
        for part in ("1a", "1b"):  # saved kernels may hold values in the tap that is never used
            theirs = f"encoder.conv_{i}.conv{part}.weight"
            names[theirs] = (names[theirs][0], _causal)
    names |= convert.dense(
        "encoder.tdl_1.linear", "encoder/linear1", lambda w: convert.linear_on_image(w, height, width)
    )
    return names | convert.dense("encoder.tdl_2.linear", "encoder/linear2")


def _selector(layer: int, image_shape: tuple[int, ...]) -> Names:
    theirs, ours = f"encoder.sel{layer + 1}", f"encoder/head{layer}/selector"
    height, width = (-(-side // 2 ** (layer + 1) // 2) for side in image_shape[1:3])
    names = {}
    for at, conv in (("0", "conv1"), ("3", "conv2"), ("6", "conv3")):
        names |= convert.dense(f"{theirs}.cv1.{at}", f"{ours}/{conv}", convert.conv)
    names |= convert.norm(f"{theirs}.cv1.1", f"{ours}/norm1") | convert.norm(f"{theirs}.cv1.4", f"{ours}/norm2")
    names |= convert.dense(
        f"{theirs}.fc.0.linear", f"{ours}/linear1", lambda w: convert.linear_on_image(w, height, width)
    )
    return (
        names
        | convert.norm(f"{theirs}.fc.1", f"{ours}/norm3")
        | convert.dense(f"{theirs}.fc.3.linear", f"{ours}/linear2")
    )


def _decoder() -> Names:
    """The second linear layer keeps its order: see `video_resnet.Decoder`."""
    names = convert.dense("decoder.tdl.0.linear", "decoder/linear1")
    names |= convert.dense("decoder.tdl.2.linear", "decoder/linear2")
    for i in range(CONVOLUTIONS):
        block = convert.block(f"decoder.conv.{i}", f"decoder/up{i + 1}", ("1a", "1b", "2a"), transposed=("1a", "2a"))
        names |= block
    return names | convert.dense(f"decoder.conv.{CONVOLUTIONS}", "decoder/conv", convert.conv)


def _causal(weight: np.ndarray) -> np.ndarray:
    kernel = convert.conv(weight).copy()
    kernel[-1] = 0
    return kernel
