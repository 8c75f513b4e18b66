"""`.safetensors`: a JSON header that names types, shapes and places, then the values. Read without the package."""

import json
import math

import ml_dtypes
import numpy as np

KINDS = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}
MOST_HEADER = 100_000_000  # bytes, the format's own limit


def read(content: bytes) -> dict[str, np.ndarray]:
    """The arrays by name; of bfloat16 as float32.

    Raises:
        ValueError: damaged, or of a type that weights do not have.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    if not 8 < start <= min(len(content), MOST_HEADER):
        raise ValueError("no header")
    try:
        header = json.loads(content[8:start])
    except RecursionError as error:
        raise ValueError("a header too deep to read") from error
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    header.pop("__metadata__", None)
    values = memoryview(content)[start:]
    found, used = {}, 0
    for name, entry in header.items():
        found[name] = _array(name, entry, values)
        used += found[name].nbytes
        if used > 2 * len(values):  # of bfloat16 become twice as many bytes
            raise ValueError("arrays that overlap")
    return found


def _array(name: str, entry: object, values: memoryview) -> np.ndarray:
    wanted = ("dtype", "shape", "data_offsets")
    kind, shape, span = (entry.get(field) for field in wanted) if isinstance(entry, dict) else (None, None, None)
    whole = isinstance(kind, str) and all(isinstance(v, list) and all(map(_count, v)) for v in (shape, span))
    if not whole or len(span) != 2:
        raise ValueError(f"{name[:100]} is described by no dtype, shape and data_offsets")
    if kind not in KINDS:
        raise ValueError(f"{name[:100]} is of the type {kind[:20]!r}; known: {', '.join(KINDS)}")
    dtype, (begin, end) = KINDS[kind], span
    if not begin <= end <= len(values) or math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"{name[:100]} does not lie where the header says")
    seen = np.frombuffer(values[begin:end], dtype).reshape(shape)
    return seen.astype(np.float32) if kind == "BF16" else seen.copy()


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**48
