"""The published PyTorch program's weights -> our variables.

The published names are `encoder.*`, `decoder.*` and `bn1d.*` for the auto-encoder, and the encoder's without
the prefix for a stage-two checkpoint. PyTorch keeps convolutions as `[out, in, kH, kW]`, transposed ones as
`[in, out, kH, kW]` with the kernel flipped, and flattens images channels-first.

    variables, count = lenet_variables(read_state_dict("ae_ckp.npz"), image_side=32)
    variables, count = resnet_variables(read_state_dict("best_ae_ckp.npz"))
    variables, count = video_variables(read_state_dict("net_ckp.npz"), image_shape=(16, 256, 512, 3))
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.files import archives
from mocca_jax.torch_weights.lenet import lenet_variables
from mocca_jax.torch_weights.resnet import resnet_variables
from mocca_jax.torch_weights.video import video_variables

__all__ = ["lenet_variables", "read_state_dict", "resnet_variables", "video_variables"]


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
    return archives.arrays(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    nested = [v for k, v in content.items() if k.endswith("state_dict") and isinstance(v, Mapping)]
    tensors = nested[0] if nested else content
    return {name: tensor.numpy() for name, tensor in tensors.items()}
