"""The published PyTorch program's weights -> our variables.

The published names are `encoder.*`, `decoder.*` and `bn1d.*` for the auto-encoder, and the encoder's without
the prefix for a stage-two checkpoint. PyTorch keeps convolutions as `[out, in, kH, kW]`, transposed ones as
`[in, out, kH, kW]` with the kernel flipped, and flattens images channels-first.

    variables, count = lenet_variables(read_state_dict("ae_ckp.npz"), image_side=32)
    variables, count = resnet_variables(read_state_dict("best_ae_ckp.npz"))
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.models import lenet, resnet

StateDict = Mapping[str, np.ndarray]
Convert = Callable[[np.ndarray], np.ndarray]
Names = dict[str, tuple[str, Convert]]  # theirs -> ours, and how the array changes


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """A state dict from `.npz`, `.safetensors`, or `.pth`/`.pt` (where PyTorch is installed).

    A `.pth` is read with `weights_only=True`: nothing in it is executed. The published checkpoints hold the
    state dict beside centroids and radii, under a name that ends in `state_dict`.

    Raises:
        UserError: absent, unreadable or of another format; a package is missing.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch}
    if path.suffix not in readers:
        raise UserError(f"{path}: weights are read from {', '.join(readers)}, not from {path.suffix!r} files")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise UserError(f"reading {path.suffix} needs a package that is not installed: {error.name}") from error
    except Exception as error:  # each format's reader has its own exceptions for damaged files
        raise UserError(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    nested = [v for k, v in content.items() if k.endswith("state_dict") and isinstance(v, Mapping)]
    tensors = nested[0] if nested else content
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def lenet_variables(state_dict: StateDict, image_side: int = 32) -> tuple[dict[str, Any], int]:
    """The CIFAR-10 auto-encoder's or encoder's `params` and `batch_stats`, and how many arrays were moved.

    Args:
        state_dict: the published names; with only the encoder's names (prefixed or not), only the encoder's
            variables come out, which is what `method="encode"` needs. `num_batches_tracked` is ignored.
        image_side: of the images the weights were trained on.

    Returns:
        `{"params": ..., "batch_stats": ...}` for `models.AutoEncoder`, and the count.

    Raises:
        UserError: an array is missing, unknown or of the wrong shape; all are listed.
    """
    arrays, whole = _prefixed(state_dict)
    names = _lenet_encoder(image_side // 8) | (_lenet_decoder() if whole else {})

    def network(moved):
        code_size = moved["params/encoder/linear/kernel"].shape[-1]
        channels = moved["params/encoder/conv1/kernel"].shape[2]
        return {"encoder": "lenet", "head": "mean", "code_size": code_size}, (image_side, image_side, channels), ()

    return _convert(arrays, names, network, "CIFAR-10")


def resnet_variables(state_dict: StateDict) -> tuple[dict[str, Any], int]:
    """The MVTec AD auto-encoder's or encoder's variables, selectors included where the state dict has them.

    The input's side and the code size follow from the shapes. Selector j becomes `head{j}`: build the model with
    `head="selector"` and (some of) these layers. Otherwise as `lenet_variables`.
    """
    arrays, whole = _prefixed(state_dict)
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

    return _convert(arrays, names, network, "MVTec AD")


def _prefixed(state_dict: StateDict) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays under names that begin with `encoder.` or `decoder.`, and whether there is a decoder."""
    arrays = {n: np.asarray(a) for n, a in state_dict.items() if not n.endswith("num_batches_tracked")}
    if not any(name.startswith("encoder.") for name in arrays):
        arrays = {f"encoder.{name}": array for name, array in arrays.items()}
    return arrays, any(name.startswith("decoder.") for name in arrays)


def _convert(arrays: dict, names: Names, network: Callable, what: str) -> tuple[dict[str, Any], int]:
    faults = [f"{name}: missing" for name in names if name not in arrays]
    faults += [f"{name} {arrays[name].shape}: unknown" for name in arrays if name not in names]
    if not faults:
        moved = {ours: convert(arrays[name]) for name, (ours, convert) in names.items()}
        wanted = _our_shapes(*network(moved))
        faults = [
            f"{name}: converts to {moved[ours].shape}, wanted {wanted[ours]}"
            for name, (ours, _) in names.items()
            if moved[ours].shape != wanted[ours]
        ]
    if faults:
        raise UserError(f"these are not the weights of the published {what} network:\n  " + "\n  ".join(faults))
    return flax.traverse_util.unflatten_dict(moved, sep="/"), len(moved)


def _lenet_encoder(side: int) -> Names:
    names = {}
    for i in range(1, len(lenet.WIDTHS) + 1):
        names[f"encoder.conv{i}.weight"] = (f"params/encoder/conv{i}/kernel", _conv)
        names |= _statistics(f"encoder.bnd{i}", f"encoder/norm{i}")
    names["encoder.fc1.weight"] = ("params/encoder/linear/kernel", lambda w: _linear_on_image(w, side))
    return names


def _lenet_decoder() -> Names:
    names = _statistics("bn1d", "decoder/code_norm1") | _statistics("decoder.bn1d", "decoder/code_norm2")
    for i in range(1, len(lenet.WIDTHS) + 2):
        names[f"decoder.deconv{i}.weight"] = (f"params/decoder/conv{i}/kernel", _transposed_conv)
    for i in range(1, len(lenet.WIDTHS) + 1):
        names |= _statistics(f"decoder.bnd{i + 3}", f"decoder/norm{i}")
    return names


def _resnet_encoder(side: int, layers: tuple[int, ...]) -> Names:
    names = {"encoder.conv.weight": ("params/encoder/conv/kernel", _conv)}
    names |= _block("encoder.res", "encoder/res", ("1", "2"))
    for i in range(1, len(resnet.WIDTHS) + 1):
        names |= _block(f"encoder.dwn{i}", f"encoder/down{i}", ("1a", "1b", "2a"))
    names |= _dense("encoder.fc1", "encoder/linear1", lambda w: _linear_on_image(w, side))
    names |= _norm("encoder.bn", "encoder/norm") | _dense("encoder.fc2", "encoder/linear2")
    for j in layers:
        theirs, ours = f"encoder.selectors.{j}.fc", f"encoder/head{j}"
        first = 3 if j <= 4 else 1  # after the pooling, the convolution and the flattening
        if j <= 4:
            names |= _dense(f"{theirs}.1", f"{ours}/conv", lambda w: w[:, :, 0, 0].T)
        names |= _dense(f"{theirs}.{first}", f"{ours}/linear1") | _norm(f"{theirs}.{first + 1}", f"{ours}/norm")
        names |= _dense(f"{theirs}.{first + 3}", f"{ours}/linear2")
    return names


def _resnet_decoder(side: int) -> Names:
    def to_image(array: np.ndarray) -> np.ndarray:
        """`[C*H*W, ...]` -> `[H*W*C, ...]`."""
        if array.shape[0] % (side * side):
            return array  # the shape check names it
        return array.reshape(-1, side * side, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)

    names = _dense("decoder.fc.0", "decoder/linear1") | _norm("decoder.fc.1", "decoder/norm1")
    names |= {
        "decoder.fc.3.weight": ("params/decoder/linear2/kernel", lambda w: to_image(w).T),
        "decoder.fc.3.bias": ("params/decoder/linear2/bias", to_image),
    }
    names |= {theirs: (ours, to_image) for theirs, (ours, _) in _norm("decoder.fc.4", "decoder/norm2").items()}
    ups = len(resnet.WIDTHS)
    for i in range(ups):
        names |= _block(f"decoder.conv.{i}", f"decoder/up{i + 1}", ("1a", "1b", "2a"), transposed=("1a", "2a"))
    names |= _block(f"decoder.conv.{ups}", "decoder/res", ("1", "2"))
    return names | {f"decoder.conv.{ups + 1}.weight": ("params/decoder/conv/kernel", _conv)}


def _block(theirs: str, ours: str, parts: tuple[str, ...], transposed: tuple[str, ...] = ()) -> Names:
    names = {}
    for part in parts:
        convert = _transposed_conv if part in transposed else _conv
        names[f"{theirs}.conv{part}.weight"] = (f"params/{ours}/conv{part}/kernel", convert)
        names |= _norm(f"{theirs}.bn{part}", f"{ours}/norm{part}")
    return names


def _dense(theirs: str, ours: str, convert: Convert = np.transpose) -> Names:
    return {
        f"{theirs}.weight": (f"params/{ours}/kernel", convert),
        f"{theirs}.bias": (f"params/{ours}/bias", np.asarray),
    }


def _norm(theirs: str, ours: str) -> Names:
    affine = {"weight": "scale", "bias": "bias"}
    names = {f"{theirs}.{name}": (f"params/{ours}/{our}", np.asarray) for name, our in affine.items()}
    return names | _statistics(theirs, ours)


def _statistics(theirs: str, ours: str) -> Names:
    return {
        f"{theirs}.running_mean": (f"batch_stats/{ours}/mean", np.asarray),
        f"{theirs}.running_var": (f"batch_stats/{ours}/var", np.asarray),
    }


def _conv(weight: np.ndarray) -> np.ndarray:
    """`[out, in, ...]` -> `[..., in, out]`, for any number of spatial axes."""
    return np.moveaxis(weight, (0, 1), (-1, -2))


def _transposed_conv(weight: np.ndarray) -> np.ndarray:
    """`[in, out, ...]` -> the correlation's `[..., in, out]`: flipped along every spatial axis."""
    return np.flip(np.moveaxis(weight, (0, 1), (-2, -1)), tuple(range(weight.ndim - 2))).copy()


def _linear_on_image(weight: np.ndarray, side: int) -> np.ndarray:
    """`[out, C*H*W]` -> `[H*W*C, out]`."""
    out, size = weight.shape
    if size % (side * side):
        return weight.T  # the shape check names it
    return weight.reshape(out, -1, side, side).transpose(2, 3, 1, 0).reshape(size, out)


def _our_shapes(names: dict, image_shape: tuple[int, ...], layers: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of our own network of the sizes that the weights imply."""
    import jax
    from ml_collections import ConfigDict

    from mocca_jax import models

    try:
        model = models.build(ConfigDict({**names, "formulation": "plain"}), image_shape, layers)
    except ValueError as error:
        raise UserError(f"the weights imply a network that cannot be: {error}") from error
    image, mask = np.zeros((2, *image_shape), np.float32), np.ones(2, np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, mask, False))
    shapes.pop("features", None)
    return {n: s.shape for n, s in flax.traverse_util.flatten_dict(dict(shapes), sep="/").items()}
