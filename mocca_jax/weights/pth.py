"""PyTorch's files, `.pth` and `.pt`, old (a row of pickles) and new (a zip), read without PyTorch and unpickling.

Only what a state dict needs is understood: dicts, numbers, texts and dense tensors. See `pickled`.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from mocca_jax.weights import pickled

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MOST_SHARING = 4  # tensors may share memory (tied weights); all together are at most so many times the stored values
MOST_AXES = 16
KINDS: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("u1"),
}


@dataclass(frozen=True)
class _Storage:
    """Where values lie: the key of a run of `size` values."""

    dtype: np.dtype
    key: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name; of bfloat16 as float32.

    The state dict may be the file's whole value, or one of its values, under a name that ends in `state_dict`.

    Raises:
        ValueError: damaged, not such a file, or with more in it than a state dict needs.
    """
    found, storages = (_zipped if content[:2] == b"PK" else _legacy)(content)
    if not isinstance(found, dict):
        raise ValueError(f"holds a {type(found).__name__}, not a state dict")
    nested = [v for k, v in found.items() if str(k).endswith("state_dict") and isinstance(v, dict)]
    tensors = nested[0] if nested else found
    strangers = [f"{str(name)[:100]} is a {type(v).__name__}" for name, v in tensors.items() if type(v) is not _Tensor]
    if strangers:
        raise ValueError(f"not a state dict of tensors: {', '.join(strangers[:5])}")
    stored = sum(len(values) for values in storages.values())
    if sum(math.prod(tensor.shape) for tensor in tensors.values()) > MOST_SHARING * stored:
        raise ValueError(f"tensors of far more values than the {stored:,} that are stored")
    return {str(name): _array(str(name), tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _array(name: str, tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """A copy of the tensor's values."""
    empty = 0 in tensor.shape
    reach = sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if values.dtype != tensor.storage.dtype or (not empty and tensor.offset + reach >= len(values)):
        raise ValueError(f"{name[:100]} reaches beyond the {len(values):,} values that are stored for it")
    if empty:
        return np.zeros(tensor.shape, values.dtype)
    steps = [step * values.itemsize for step in tensor.strides]
    seen = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps)
    return seen.astype(np.float32) if seen.dtype == KINDS["BFloat16Storage"] else seen.copy()


def _legacy(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """The value and the storages of a row of pickles: magic, protocol, system, value, keys; then the values by key."""
    file = io.BytesIO(content)

    def refused(_: tuple) -> None:
        raise ValueError("a stored object where none belongs")

    if pickled.value(file, {}, refused) != MAGIC:
        raise ValueError("no file of PyTorch's")
    if pickled.value(file, {}, refused) != PROTOCOL:
        raise ValueError(f"a protocol other than {PROTOCOL}")
    system = pickled.value(file, {}, refused)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("written on a big-endian machine")
    table = _Table()
    found = pickled.value(file, table.names, table.storage)
    keys = pickled.value(file, {}, refused)
    if not isinstance(keys, list) or set(map(str, keys)) != set(table.storages) or len(keys) != len(table.storages):
        raise ValueError("the list of what is stored does not fit what is used")
    storages = {}
    for key in map(str, keys):
        wanted = table.storages[key]
        at = file.tell() + 8
        if int.from_bytes(content[at - 8 : at], "little") != wanted.size:
            raise ValueError("a stored run of values is of another length than said")
        storages[key] = _values(content, at, wanted)
        file.seek(at + wanted.size * wanted.dtype.itemsize)
    return found, storages


def _zipped(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """The value and the storages of a zip: `NAME/data.pkl` and the values as `NAME/data/KEY`, not compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        packed = sorted(name for name in members if members[name].compress_type != zipfile.ZIP_STORED)
        if packed:
            raise ValueError(f"{packed[0][:100]} is compressed, which PyTorch never does")
        roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip, but none of PyTorch's")
        (root,) = roots
        order = root + "byteorder"
        if order in members and archive.read(order) != b"little":
            raise ValueError("written on a big-endian machine")
        table = _Table()
        found = pickled.value(io.BytesIO(archive.read(f"{root}data.pkl")), table.names, table.storage)
        if sum(wanted.size * wanted.dtype.itemsize for wanted in table.storages.values()) > len(content):
            raise ValueError("more values than the file is long")
        storages = {}
        for key, wanted in table.storages.items():
            name = f"{root}data/{key}"
            if name not in members or members[name].file_size != wanted.size * wanted.dtype.itemsize:
                raise ValueError("a stored run of values is missing or of another length than said")
            storages[key] = _values(archive.read(name), 0, wanted)
    return found, storages


def _values(content: bytes, at: int, wanted: _Storage) -> np.ndarray:
    """A view of the stored bytes."""
    if at + wanted.size * wanted.dtype.itemsize > len(content):
        raise ValueError("the file ends within its values")
    return np.frombuffer(content, wanted.dtype, wanted.size, at)


class _Table:
    """What the names in a file stand for, and the storages that it used."""

    def __init__(self):
        self.storages: dict[str, _Storage] = {}
        self.names = {f"torch.{name}": dtype for name, dtype in KINDS.items()} | {
            "collections.OrderedDict": _empty_dict,
            "torch._utils._rebuild_tensor": _tensor,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch.Size": _size,
        }

    def storage(self, identity: tuple) -> _Storage:
        """`("storage", kind, key, device, size[, view])`."""
        whole = len(identity) == 5 or (len(identity) == 6 and identity[5] is None)
        if not whole or identity[0] != "storage" or not isinstance(identity[1], np.dtype):
            raise ValueError("a stored object that is no whole run of values")
        _, dtype, key, _, size = identity[:5]
        if type(key) is not str or not _count(size):
            raise ValueError("a stored run of values without a key and a size")
        found = self.storages.setdefault(key, _Storage(dtype, key, size))
        if found != _Storage(dtype, key, size):
            raise ValueError("a stored run of values of two kinds")
        return found


def _empty_dict(*items: Any) -> dict:
    if items:
        raise ValueError("an OrderedDict with arguments")
    return {}


def _size(shape: Any) -> tuple:
    if type(shape) is not tuple:
        raise ValueError("a size that is no tuple")
    return shape


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    whole = type(shape) is tuple and type(strides) is tuple and len(shape) == len(strides) <= MOST_AXES
    if type(storage) is not _Storage or not whole or not all(map(_count, (offset, *shape, *strides))):
        raise ValueError("a tensor whose shape cannot be")
    return _Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> _Tensor:
    if type(data) is not _Tensor:
        raise ValueError("a parameter that is no tensor")
    return data


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48
