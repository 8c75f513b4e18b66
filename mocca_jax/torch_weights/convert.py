"""What the published networks have in common: names, layouts of arrays, the check that nothing is left over."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import numpy as np

from mocca_jax.errors import UserError

StateDict = Mapping[str, np.ndarray]
Convert = Callable[[np.ndarray], np.ndarray]
Names = dict[str, tuple[str, Convert]]  # theirs -> ours, and how the array changes


def prefixed(state_dict: StateDict) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays under names that begin with `encoder.` or `decoder.`, and whether there is a decoder."""
    arrays = {n: np.asarray(a) for n, a in state_dict.items() if not n.endswith("num_batches_tracked")}
    if not any(name.startswith("encoder.") for name in arrays):
        arrays = {f"encoder.{name}": array for name, array in arrays.items()}
    return arrays, any(name.startswith("decoder.") for name in arrays)


def variables(arrays: dict, names: Names, network: Callable, what: str) -> tuple[dict[str, Any], int]:
    """Our variables and their number, from arrays under their names.

    Args:
        arrays: of the published program, by its names.
        names: theirs -> ours, for every array.
        network: makes our model and what it is initialised with, from the converted arrays.
        what: the network's name, for errors.

    Raises:
        UserError: arrays are missing, unknown, or of another shape; all are listed.
    """
    faults = [f"{name}: missing" for name in names if name not in arrays]
    faults += [f"{name} {arrays[name].shape}: unknown" for name in arrays if name not in names]
    faults += [f"{name} {array.dtype}: not numbers" for name, array in arrays.items() if array.dtype.kind not in "fiu"]
    if not faults:
        moved, faults = _moved(arrays, names)
    if not faults:
        try:
            wanted = _our_shapes(*network(moved))
        except (IndexError, TypeError, ZeroDivisionError) as error:
            raise UserError(f"the arrays' shapes imply no {what} network ({error})") from error
        faults = [
            f"{name}: converts to {moved[ours].shape}, wanted {wanted[ours]}"
            for name, (ours, _) in names.items()
            if moved[ours].shape != wanted[ours]
        ]
    if faults:
        raise UserError(f"these are not the weights of the published {what} network:\n  " + "\n  ".join(faults))
    return flax.traverse_util.unflatten_dict(moved, sep="/"), len(moved)


def _moved(arrays: dict, names: Names) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays under our names, and those whose number of axes cannot be theirs."""
    moved, faults = {}, []
    for name, (ours, convert) in names.items():
        try:
            moved[ours] = convert(arrays[name])
        except (ValueError, IndexError):  # numpy's errors about axes are both
            faults.append(f"{name}: cannot be of shape {arrays[name].shape}")
    return moved, faults


def block(theirs: str, ours: str, parts: tuple[str, ...], transposed: tuple[str, ...] = ()) -> Names:
    """Of a residual block: the convolutions `parts` and their batch-norms."""
    names = {}
    for part in parts:
        convert = transposed_conv if part in transposed else conv
        names[f"{theirs}.conv{part}.weight"] = (f"params/{ours}/conv{part}/kernel", convert)
        names |= norm(f"{theirs}.bn{part}", f"{ours}/norm{part}")
    return names


def dense(theirs: str, ours: str, convert: Convert = np.transpose) -> Names:
    """Of a linear layer."""
    return {
        f"{theirs}.weight": (f"params/{ours}/kernel", convert),
        f"{theirs}.bias": (f"params/{ours}/bias", np.asarray),
    }


def norm(theirs: str, ours: str) -> Names:
    """Of a batch-norm with scale and offset."""
    affine = {"weight": "scale", "bias": "bias"}
    names = {f"{theirs}.{name}": (f"params/{ours}/{our}", np.asarray) for name, our in affine.items()}
    return names | statistics(theirs, ours)


def statistics(theirs: str, ours: str) -> Names:
    """Of a batch-norm's running statistics."""
    return {
        f"{theirs}.running_mean": (f"batch_stats/{ours}/mean", np.asarray),
        f"{theirs}.running_var": (f"batch_stats/{ours}/var", np.asarray),
    }


def conv(weight: np.ndarray) -> np.ndarray:
    """`[out, in, ...]` -> `[..., in, out]`, for any number of spatial axes."""
    return np.moveaxis(weight, (0, 1), (-1, -2))


def transposed_conv(weight: np.ndarray) -> np.ndarray:
    """`[in, out, ...]` -> the correlation's `[..., in, out]`: flipped along every spatial axis."""
    return np.flip(np.moveaxis(weight, (0, 1), (-2, -1)), tuple(range(weight.ndim - 2))).copy()


def linear_on_image(weight: np.ndarray, height: int, width: int) -> np.ndarray:
    """`[out, C*H*W]` -> `[H*W*C, out]`."""
    out, size = weight.shape
    if size % (height * width):
        return weight.T  # the shape check names it
    return weight.reshape(out, -1, height, width).transpose(2, 3, 1, 0).reshape(size, out)


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
