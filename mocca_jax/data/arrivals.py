"""Frames as they come: what a source that is watched yields.

A source yields `Arrived`, and None where nothing has come for a while: the next frame then begins anew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mocca_jax.data import footage


@dataclass(frozen=True)
class Settings:
    """How a source is read.

    `patience`: seconds without a frame until that is told; `once`: the first end is the end; `every`: only each n-th
    frame is taken; `depth`: see `decoder.picture`.
    """

    patience: float = 10.0
    once: bool = False
    every: int = 1
    depth: int = 0


@dataclass(frozen=True)
class Stamp:
    """Of one frame: its number in the source, from 0, those that were dropped counted; when it was there, in
    `time.monotonic`'s seconds; `clock`: the same since 1970, None of film files; `pace`: seconds that tell how fast
    frames follow, None where nothing does; `file`: its name, "" where it is not one of its own."""

    number: int
    at: float
    clock: float | None = None
    pace: float | None = None
    file: str = ""


@dataclass(frozen=True)
class Arrived:
    """A frame, and when it came; `path`: of its file, None where it is not one of its own."""

    frame: footage.Frame
    stamp: Stamp
    path: Path | None = None


def thinned(arriving: Iterable[Arrived | None], every: int) -> Iterator[Arrived | None]:
    """The first frame of what was filmed in one go, and from there on each `every`-th."""
    since = 0
    for arrived in arriving:
        if arrived is None:
            yield None
            continue
        since = 0 if arrived.frame.begins else since + 1
        if since % every == 0:
            yield arrived
