"""Frames of many videos, or their optical flow, as one memory-mapped array, decoded once (see `cache.py`)."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from absl import logging
from PIL import Image

from mocca_jax import console
from mocca_jax.data import cache, cameras, decoder, films, flow, footage
from mocca_jax.data.spread import Spread
from mocca_jax.errors import UserError
from mocca_jax.files import digests
from mocca_jax.method.frames import spans

CHUNK = 64

Source = Sequence[Path] | Path  # a video: image files in order, or one film


def decoded(name: str, sources: Sequence[Source], size: tuple[int, int], gray: bool) -> tuple[np.ndarray, np.ndarray]:
    """All frames of all videos, resized to `size` (rows, columns).

    Returns:
        Frames `[N, rows, columns, 1 or 3]` uint8, memory-mapped; `lengths [V]`.

    Raises:
        UserError: files that cannot be read, all named; a film without frames; no room for the cache.
    """
    files = files_of(sources)
    entry = f"{name}-{size[0]}x{size[1]}{'-gray' if gray else ''}-{cache.fingerprint(files, size, gray, len(sources))}"
    channels = 1 if gray else 3

    def build(folder: Path) -> None:
        lengths = []
        signs = console.Phase("decoding", len(sources), "videos")
        with ThreadPoolExecutor() as pool, open(folder / "frames.npy", "wb+") as out, signs as phase:
            _write_header(out, (0, *size, channels))
            for source in sources:
                frames = films.frames(source) if isinstance(source, Path) else _images(source, pool)
                count, sides = 0, set()
                for picture in frames:
                    sides.add(picture.size)
                    out.write(_pixels(picture, size, gray))
                    count += 1
                    phase.update(0, f"{sum(lengths) + count} frames")
                if len(sides) > 1:
                    where = source if isinstance(source, Path) else source[0].parent
                    found = ", ".join(f"{height}x{width}" for width, height in sorted(sides))
                    logging.warning("%s: frames of several sizes (%s); all become %dx%d", where, found, *size)
                lengths.append(count)
                phase.update()
            _write_header(out, (sum(lengths), *size, channels))
        np.save(folder / "lengths.npy", np.array(lengths, np.int64))

    arrays = cache.built(entry, build)
    return arrays["frames"], np.asarray(arrays["lengths"])


def flow_of(frames: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The optical flow `[N, rows, columns, 2]` float16 of all frames of videos of these lengths, memory-mapped.

    Args:
        frames: `[N, rows, columns, 1 or 3]` uint8.
        lengths: of the videos, one after the other.

    Raises:
        UserError: no room for the cache.
    """
    videos = [frames[at] for at in spans(np.asarray(lengths))]
    contents = [digests.of_bytes(np.ascontiguousarray(of).tobytes()) for of in videos]
    entry = f"flow-{digests.of_values(contents)[:16]}"

    def build(folder: Path) -> None:
        shape = (len(frames), *frames.shape[1:3], 2)
        out = np.lib.format.open_memmap(folder / "flow.npy", "w+", np.float16, shape)
        row = 0
        with console.Phase("optical flow", len(lengths), "videos") as phase:
            for of in videos:
                for found in flow.of_frames(_greyed(of)):
                    out[row] = found
                    row += 1
                phase.update()
        out.flush()

    return cache.built(entry, build)["flow"]


def _greyed(frames: np.ndarray) -> Iterator[np.ndarray]:
    return (frame if frame.shape[-1] == 1 else frame.mean(-1, keepdims=True).astype(np.uint8) for frame in frames)


@dataclass(frozen=True)
class Moved:
    """Of all frames of many videos: `cells [N, rows, columns, 3]`, see `flow.py`, memory-mapped; `begins [N]`: nothing
    came directly before; `seconds [N]` since each video's first frame, NaN where nothing tells; `lengths [V]`;
    `cameras [V]`: which one each is of, 0 for that of most (`cameras.py`); `faults [V]`: what is odd about each, as
    text; `size`: rows and columns of the frames."""

    cells: np.ndarray
    begins: np.ndarray
    seconds: np.ndarray
    lengths: np.ndarray
    size: tuple[int, int]
    cameras: np.ndarray
    faults: np.ndarray


def moved(name: str, sources: Sequence[Source], size: tuple[int, int]) -> Moved:
    """The optical flow of all videos.

    Args:
        name: begins that of the cache's entry.
        sources: the videos.
        size: rows and columns that frames are brought to; (0, 0): those of the first video, see `flow.size_of`.

    Raises:
        UserError: as `decoded`.
    """
    if not all(size):
        first = next(iter(footage.of(sources[0]))).picture
        size = flow.size_of((first.height, first.width))
    entry = f"{name}-movement-{size[0]}x{size[1]}-{cache.fingerprint(files_of(sources), size, len(sources))}"

    def build(folder: Path) -> None:
        begins, seconds, lengths, faults = [], [], [], []
        cells, scenes = flow.grid(size), {}

        def grey(source: Source) -> Iterator[tuple[np.ndarray, bool]]:
            found: list[footage.Fault] = []
            some, sides = Spread(cameras.ENOUGH), (0, 0)
            for frame in footage.of(source, faults=found):
                small = flow.grey(frame.picture, size)
                some.add(small)
                sides = sides if all(sides) else frame.picture.size[::-1]
                begins.append(frame.begins)
                seconds.append(np.nan if frame.seconds is None else frame.seconds)
                yield small, frame.begins
            scenes[str(len(scenes))] = cameras.scene([cameras.reduced(picture) for picture in some.kept], sides)
            faults.append("; ".join(fault.text for fault in found))

        signs = console.Phase("optical flow", len(sources), "videos")
        with open(folder / "cells.npy", "wb+") as out, signs as phase:
            _write_header(out, (0, *cells, 3), np.float16)
            for source in sources:
                count = 0
                for found, _ in flow.cells(grey(source)):
                    out.write(found.tobytes())
                    count += 1
                    phase.update(0, f"{sum(lengths) + count} frames")
                lengths.append(count)
                phase.update()
            _write_header(out, (sum(lengths), *cells, 3), np.float16)
        of_camera = {name: number for number, group in enumerate(cameras.grouped(scenes)) for name in group}
        made = {"begins": begins, "seconds": seconds, "lengths": lengths, "faults": faults}
        made["cameras"] = [of_camera[name] for name in scenes]
        for array, values in made.items():
            np.save(folder / f"{array}.npy", np.array(values))

    arrays = cache.built(entry, build)
    rest = {name: np.asarray(array) for name, array in arrays.items() if name != "cells"}
    return Moved(arrays["cells"], size=size, **rest)


def files_of(sources: Iterable[Source]) -> list[Path]:
    """All files, in order."""
    return [path for source in sources for path in ([source] if isinstance(source, Path) else source)]


def _write_header(out: BinaryIO, shape: tuple[int, ...], dtype: type = np.uint8) -> None:
    """At the file's beginning; numpy pads headers so that the first side may grow."""
    out.seek(0)
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, described)


def _images(paths: Sequence[Path], pool: ThreadPoolExecutor) -> Iterator[Image.Image]:
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        for path, picture in zip(chunk, pool.map(_read, chunk), strict=True):
            if isinstance(picture, UserError):
                raise UserError(f"{path} cannot be read as an image ({picture}). Mend it, or remove the video.")
            yield picture


def _read(path: Path) -> Image.Image | UserError:
    try:
        return decoder.picture(path)
    except UserError as error:
        return error


def _pixels(picture: Image.Image, size: tuple[int, int], gray: bool) -> bytes:
    picture = picture.convert("L") if gray else picture
    if picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture).tobytes()
