"""What files hold, and what they are when they are no pictures."""

import os
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError

from mocca_jax.data.likeness import looks_like
from mocca_jax.errors import UserError

MOST_BYTES = 2**31  # of a file: more is not read
HEAD = 4096  # bytes that say what a file looks like


def read(source: Any) -> bytes:
    """What a file holds: one at a path, an open one, or bytes that were read already.

    Raises:
        UserError: it cannot be read, is empty, or no file at all.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif isinstance(source, str | Path):
        content = _of_path(Path(source))
    elif callable(getattr(source, "read", None)):
        content = source.read()
        if not isinstance(content, bytes):
            raise UserError("the file is open as text; open it with mode 'rb'")
    else:
        raise UserError(
            "a picture is a path, the bytes of a file, an open file, a Pillow image or an array, not "
            f"{'None' if source is None else f'{type(source).__name__} {source!r:.40}'}"
        )
    if not content:
        raise UserError("it is empty: 0 bytes (of a file that was read before, seek(0) goes back to the beginning)")
    return content


def _of_path(path: Path) -> bytes:
    try:
        if not os.path.isfile(path):
            what = "it is a folder" if os.path.isdir(path) else "it is not a regular file"
            raise UserError(what if os.path.exists(path) else "no such file")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"it cannot be opened ({error})") from error


def why(error: Exception, content: bytes) -> str:
    """Why a decoder did not take a file that begins with `content`, without what is only of this program."""
    if not isinstance(error, UnidentifiedImageError):
        return f"{type(error).__name__}: {error}"
    like = looks_like(content[:HEAD])
    return f"it is no picture in any format that is read{f'; it looks like {like}' if like else ''}"
