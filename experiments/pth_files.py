"""Files as PyTorch writes them, old and new, made without it: for fuzzing and for tests of the reader."""

import io
import pickle
import zipfile

import numpy as np

from mocca_jax.weights.pth import KINDS, MAGIC, PROTOCOL

NAMES = {dtype: name for name, dtype in KINDS.items() if name != "BoolStorage"}


def legacy(arrays: dict[str, np.ndarray], state: bytes | None = None) -> bytes:
    """A row of pickles: magic, protocol, system, the state dict, the keys; then lengths and values."""
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, system)]
    keys = pickle.dumps([str(i) for i in range(len(arrays))], 2)
    values = b"".join(array.size.to_bytes(8, "little") + array.tobytes() for array in arrays.values())
    return b"".join([*heads, state or state_dict(arrays, legacy=True), keys, values])


def zipped(arrays: dict[str, np.ndarray], state: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with the state dict as a pickle and the values as members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("weights/data.pkl", state or state_dict(arrays))
        archive.writestr("weights/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            archive.writestr(f"weights/data/{i}", array.tobytes())
        archive.writestr("weights/version", "3\n")
    return content.getvalue()


def state_dict(arrays: dict[str, np.ndarray], legacy: bool = False, **changes: object) -> bytes:
    """The pickle of an OrderedDict of tensors; `changes` of every tensor's `offset`, `shape`, `strides`, `size`."""
    items = b"".join(
        _plain(name) + tensor(str(i), array, legacy, **changes) for i, (name, array) in enumerate(arrays.items())
    )
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def tensor(key: str, array: np.ndarray, legacy: bool = False, **changes: object) -> bytes:
    """A call of `_rebuild_tensor_v2`, without the pickle around it."""
    strides = tuple(step // array.itemsize for step in array.strides)
    said = {"size": array.size, "offset": 0, "shape": array.shape, "strides": strides} | changes
    kind = f"ctorch\n{NAMES[array.dtype]}\n".encode()
    view = b"N" if legacy else b""
    storage = b"(" + _plain("storage") + kind + _plain(key) + _plain("cpu") + _plain(said["size"]) + view + b"tQ"
    place = b"".join(_plain(said[name]) for name in ("offset", "shape", "strides"))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + place + b"\x89ccollections\nOrderedDict\n)RtR"


def _plain(value: object) -> bytes:
    """The opcodes that leave a number, a text or a tuple on the stack."""
    return pickle.dumps(value, 2)[2:-1]
