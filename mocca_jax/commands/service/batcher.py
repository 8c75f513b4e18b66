"""Requests that wait at the same time for the same detector are scored as one batch."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mocca_jax.data.inputs import TILES
from mocca_jax.detector import Detector, Findings


@dataclass(frozen=True)
class _Waiting:
    """A picture that waits for its findings, and its place among them."""

    product: str
    detector: Detector
    view: np.ndarray
    found: asyncio.Future[tuple[Findings, int]]


class Batcher:
    """Scores pictures that wait at the same time together, and counts the requests that are under way.

    One batch at a time: it has all cores. `judged` is told of each, with the name of its product.
    """

    def __init__(self, most: int, judged: Callable[[str, Findings], None] = lambda product, found: None):
        self.most, self.waiting, self._judged = most, 0, judged
        self._queue: list[_Waiting] = []
        self._come = asyncio.Event()

    def enter(self) -> bool:
        """Whether there is room for one more request; it takes the place if so."""
        if self.waiting >= self.most:
            return False
        self.waiting += 1
        return True

    def leave(self) -> None:
        """Gives the place back."""
        self.waiting -= 1

    async def score(self, product: str, detector: Detector, view: np.ndarray) -> tuple[Findings, int]:
        """The findings of the batch that the picture was in, and its place there."""
        future = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(product, detector, view, future))
        self._come.set()
        return await future

    async def work(self) -> None:
        """Scores what comes, for ever."""
        while True:
            batch = self._next()
            if not batch:
                self._come.clear()
                await self._come.wait()
                continue
            try:
                found = await asyncio.to_thread(_findings, batch[0].detector, [of.view for of in batch])
            except Exception as error:  # whatever it is, those who wait must hear of it, and the next batch goes on
                for of in batch:
                    if not of.found.done():
                        of.found.set_exception(error)
                continue
            self._judged(batch[0].product, found)
            for index, of in enumerate(batch):
                if not of.found.done():
                    of.found.set_result((found, index))

    def _next(self) -> list[_Waiting]:
        """Those who wait for the detector that the first of all waits for, as many as make a batch."""
        waiting = [of for of in self._queue if not of.found.done()]  # others have been given up
        first = waiting[0].detector if waiting else None
        batch = [of for of in waiting if of.detector is first][: first.scorer.at_once if first else 0]
        chosen = set(map(id, batch))
        self._queue = [of for of in waiting if id(of) not in chosen]
        return batch


def _findings(detector: Detector, views: list[np.ndarray]) -> Findings:
    return detector.findings(detector.of_views([views], maps=True))


def warm_up(detector: Detector) -> None:
    """Compiles the batch sizes that requests will need."""
    inputs = detector.inputs
    view = np.zeros((*(inputs.shape[:2] if inputs.fit == TILES else inputs.size), inputs.channels), np.uint8)
    count = 1
    while count <= detector.scorer.at_once:
        found = detector.of_views([[view] * count], maps=True)
        count *= 2
    if detector.map_scale is not None:
        detector.maps_of([view], None if found.maps is None else found.maps[:1])
