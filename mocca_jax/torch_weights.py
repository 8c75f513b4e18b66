"""The published PyTorch program's weights -> our variables.

The published names are `encoder.*`, `decoder.*` and `bn1d.*` for the auto-encoder, and the encoder's without
the prefix for a stage-two checkpoint. PyTorch keeps convolutions as `[out, in, kH, kW]`, transposed ones as
`[in, out, kH, kW]` with the kernel flipped, and flattens images channels-first.

    variables, count = lenet_variables(read_state_dict("ae_ckp.npz"), image_side=32)
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.models import lenet

StateDict = Mapping[str, np.ndarray]
Convert = Callable[[np.ndarray], np.ndarray]


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
    arrays = {n: np.asarray(a) for n, a in state_dict.items() if not n.endswith("num_batches_tracked")}
    if not any(name.startswith("encoder.") for name in arrays):
        arrays = {f"encoder.{name}": array for name, array in arrays.items()}
    whole = any(name.startswith("decoder.") for name in arrays)
    names = _encoder_names(image_side // 8) | (_decoder_names() if whole else {})
    faults = [f"{name}: missing" for name in names if name not in arrays]
    faults += [f"{name} {arrays[name].shape}: unknown" for name in arrays if name not in names]
    if not faults:
        moved = {ours: convert(arrays[name]) for name, (ours, convert) in names.items()}
        faults = _shape_faults(moved, names, image_side)
    if faults:
        raise UserError("these are not the weights of the published CIFAR-10 network:\n  " + "\n  ".join(faults))
    return flax.traverse_util.unflatten_dict(moved, sep="/"), len(moved)


def _encoder_names(side: int) -> dict[str, tuple[str, Convert]]:
    names = {}
    for i in range(1, len(lenet.WIDTHS) + 1):
        names[f"encoder.conv{i}.weight"] = (f"params/encoder/conv{i}/kernel", _conv)
        names |= _norm(f"encoder.bnd{i}", f"encoder/norm{i}")
    names["encoder.fc1.weight"] = ("params/encoder/linear/kernel", lambda w: _linear_on_image(w, side))
    return names


def _decoder_names() -> dict[str, tuple[str, Convert]]:
    names = _norm("bn1d", "decoder/code_norm1") | _norm("decoder.bn1d", "decoder/code_norm2")
    for i in range(1, len(lenet.WIDTHS) + 2):
        names[f"decoder.deconv{i}.weight"] = (f"params/decoder/conv{i}/kernel", _transposed_conv)
    for i in range(1, len(lenet.WIDTHS) + 1):
        names |= _norm(f"decoder.bnd{i + 3}", f"decoder/norm{i}")
    return names


def _norm(theirs: str, ours: str) -> dict[str, tuple[str, Convert]]:
    return {
        f"{theirs}.running_mean": (f"batch_stats/{ours}/mean", np.asarray),
        f"{theirs}.running_var": (f"batch_stats/{ours}/var", np.asarray),
    }


def _conv(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 3, 1, 0)


def _transposed_conv(weight: np.ndarray) -> np.ndarray:
    return weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1).copy()


def _linear_on_image(weight: np.ndarray, side: int) -> np.ndarray:
    """`[out, C*H*W]` -> `[H*W*C, out]`."""
    out, size = weight.shape
    if size % (side * side):
        return weight.T  # the shape check names it
    return weight.reshape(out, -1, side, side).transpose(2, 3, 1, 0).reshape(size, out)


def _shape_faults(moved: dict[str, np.ndarray], names: dict, image_side: int) -> list[str]:
    """Compares with the shapes our own network has for the code size and channels the weights imply."""
    code_size = moved["params/encoder/linear/kernel"].shape[-1]
    channels = moved["params/encoder/conv1/kernel"].shape[2]
    wanted = _our_shapes(image_side, channels, code_size)
    theirs = {ours: name for name, (ours, _) in names.items()}
    return [
        f"{theirs[name]}: converts to {array.shape}, wanted {wanted[name]}"
        for name, array in moved.items()
        if array.shape != wanted[name]
    ]


def _our_shapes(side: int, channels: int, code_size: int) -> dict[str, tuple[int, ...]]:
    import jax
    from ml_collections import ConfigDict

    from mocca_jax import models

    config = ConfigDict({"encoder": "lenet", "head": "mean", "code_size": code_size, "formulation": "plain"})
    try:
        model = models.build(config, (side, side, channels), ())
    except ValueError as error:
        raise UserError(f"the weights imply a network that cannot be: {error}") from error
    image, mask = np.zeros((2, side, side, channels), np.float32), np.ones(2, np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, mask, False))
    return {n: s.shape for n, s in flax.traverse_util.flatten_dict(dict(shapes), sep="/").items()}
