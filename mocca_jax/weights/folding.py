"""Published arrays -> kernels and biases of a network without batch-norms; every array is accounted for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.traverse_util
import numpy as np

from mocca_jax.errors import UserError

StateDict = Mapping[str, np.ndarray]
NORM = ("weight", "bias", "running_mean", "running_var")


class Folding:
    """Collects `{"params": {"encoder": ...}}` from a state dict, and what is wrong with it.

    Args:
        state_dict: arrays by their published names.
        what: the network's name, for errors.
        eps: of its batch-norms.
    """

    def __init__(self, state_dict: StateDict, what: str, eps: float):
        self.arrays = {n: np.asarray(a) for n, a in state_dict.items() if not n.endswith("num_batches_tracked")}
        self.what, self.eps = what, eps
        self.made: dict[str, np.ndarray] = {}
        self.used: set[str] = set()
        self.faults: list[str] = []

    def conv(self, ours: str, conv: str, norm: str, shape: tuple[int, ...], convert: Callable) -> None:
        """A convolution's weight of this published shape with the batch-norm behind it -> kernel and bias."""
        weight = self.take(f"{conv}.weight", shape)
        scale, offset, mean, variance = (self.take(f"{norm}.{part}", shape[:1]) for part in NORM)
        if any(array is None for array in (weight, scale, offset, mean, variance)):
            return
        factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + self.eps)
        kernel = convert(weight * factor.reshape(-1, *(1,) * (len(shape) - 1)))
        self.put(f"{ours}/kernel", kernel, weight.dtype)
        self.put(f"{ours}/bias", offset - mean * factor, weight.dtype)

    def put(self, ours: str, array: np.ndarray, dtype: Any = None) -> None:
        """One of our arrays, of float32 unless the published one is of float64."""
        kept = np.float64 if dtype == np.float64 else np.float32
        self.made[f"params/encoder/{ours}"] = np.ascontiguousarray(array, kept)

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """A published array; None, and a fault noted, where it is missing or of another kind."""
        self.used.add(name)
        array = self.arrays.get(name)
        if array is None:
            self.faults.append(f"{name}: missing")
        elif array.shape != shape:
            self.faults.append(f"{name}: {array.shape}, wanted {shape}")
        elif array.dtype.kind != "f":
            self.faults.append(f"{name} {array.dtype}: not numbers of a network")
        elif not np.isfinite(array).all():
            self.faults.append(f"{name}: holds values that are not finite")
        elif name.endswith("running_var") and (array < 0).any():
            self.faults.append(f"{name}: negative variances")
        else:
            return array
        return None

    def variables(self, unused: Iterable[str] = ()) -> tuple[dict[str, Any], int]:
        """Our variables, and how many published arrays they were made of.

        Args:
            unused: beginnings of the names of arrays that the network needs no more (its classifier).

        Raises:
            UserError: arrays are missing, unknown, or of another kind; all are listed.
        """
        strangers = [n for n in self.arrays if n not in self.used and not n.startswith(tuple(unused))]
        faults = self.faults + [f"{name[:100]} {self.arrays[name].shape}: unknown" for name in strangers]
        if faults:
            listed = "\n  ".join(faults[:20] + ([f"and {len(faults) - 20} more"] if len(faults) > 20 else []))
            raise UserError(f"these are not the weights of {self.what}:\n  {listed}")
        return flax.traverse_util.unflatten_dict(self.made, sep="/"), len(self.used)

    @staticmethod
    def up_to(variables: dict[str, Any], prefix: str, deepest: int | None) -> dict[str, Any]:
        """The variables without those of blocks beyond `deepest` (None: all), with no statistics: there are none."""
        params = variables["params"]["encoder"]
        beyond = [n for n in params if n.startswith(prefix) and deepest is not None and int(n[len(prefix) :]) > deepest]
        return {"params": {"encoder": {n: params[n] for n in params if n not in beyond}}, "batch_stats": {}}
