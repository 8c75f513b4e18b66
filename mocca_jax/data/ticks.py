"""Times of the frames of a film from what its container says of each, which may be nothing, or wrong. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

JUMP = 3  # typical steps that make a gap
LEAST = 0.5  # seconds that make a gap
FASTEST = 1000.0  # frames per second that a container may truly say
KEPT = 30  # steps that say what is typical


@dataclass(frozen=True)
class Tick:
    """Of one frame: seconds since the first, None where nothing tells; whether frames are missing before it, or a
    recording starts there; whether the container's times start anew there."""

    seconds: float | None
    begins: bool
    anew: bool = False


def ticks(said: Iterable[float], rate: float) -> Iterator[Tick]:
    """A tick for each frame; reads one frame ahead. Times that do not grow are replaced by the typical step.

    Args:
        said: seconds that the container says, which may stand still or go back.
        rate: frames per second by the header; not positive or too large: unknown.
    """
    step = 1 / rate if 0 < rate <= FASTEST else None
    steps: deque[float] = deque(maxlen=KEPT)
    now, offset = None, 0.0
    for time, following in pairwise(chain(said, [None])):
        if now is None:
            now, offset = 0.0, -time
            yield Tick(0.0, True)
            continue
        later = following is not None and following > time
        typical = float(np.median(steps)) if steps else following - time if later else step
        seconds = time + offset
        if later and following + offset < now and _is_gap(now - seconds, typical):
            offset = now + typical - time
            now += typical
            yield Tick(now, True, anew=True)
        elif seconds <= now or (following is not None and now < following + offset < seconds):
            fallback = typical if steps else step
            now += fallback or 0.0
            yield Tick(now if fallback else None, False)
        else:
            begins = _is_gap(seconds - now, typical)
            steps.append(seconds - now)
            now = seconds
            yield Tick(now, begins)


def _is_gap(seconds: float, typical: float | None) -> bool:
    return typical is not None and seconds > max(JUMP * typical, LEAST)
