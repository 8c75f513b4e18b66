"""Weights in a file, whatever its format -> arrays by name. No PyTorch, nothing unpickled."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.files import archives
from mocca_jax.weights import pth, safe

READERS: dict[str, Callable[[bytes], dict[str, np.ndarray]]] = {
    ".npz": lambda content: archives.arrays(io.BytesIO(content)),
    ".safetensors": safe.read,
    ".pth": pth.read,
    ".pt": pth.read,
}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """A state dict from `.npz`, `.safetensors`, `.pth` or `.pt`: arrays by name.

    Raises:
        UserError: absent, unreadable, of another format, or a `.pth` with more in it than a state dict needs.
    """
    return read_with_digest(path)[0]


def read_with_digest(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """As `read`, and the SHA-256 of what was read."""
    path = Path(path)
    if path.suffix not in READERS:
        raise UserError(f"{path}: weights are read from {', '.join(READERS)}, not from {path.suffix!r} files")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if path.stat().st_size > archives.MOST_BYTES:
            raise ValueError(f"larger than {archives.MOST_BYTES:,} bytes")
        content = path.read_bytes()
        return READERS[path.suffix](content), hashlib.sha256(content).hexdigest()
    except Exception as error:  # each format's reader has its own exceptions for damaged files
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise UserError(f"{path} cannot be read ({kind}{error})") from error
