"""Requests that wait at the same time are scored as one batch."""

import asyncio
from collections.abc import Callable

import numpy as np

from mocca_jax.detector import Detector, Findings


class Batcher:
    """Scores pictures that wait at the same time together, and counts the requests that are under way.

    `judged` is told of every batch.
    """

    def __init__(self, detector: Detector, most: int, judged: Callable[[Findings], None] = lambda found: None):
        self.detector, self.most, self.waiting, self._judged = detector, most, 0, judged
        self._queue: asyncio.Queue[tuple[np.ndarray, asyncio.Future]] = asyncio.Queue()

    def enter(self) -> bool:
        """Whether there is room for one more request; it takes the place if so."""
        if self.waiting >= self.most:
            return False
        self.waiting += 1
        return True

    def leave(self) -> None:
        """Gives the place back."""
        self.waiting -= 1

    async def score(self, view: np.ndarray) -> tuple[Findings, int]:
        """The findings of the batch that the picture was in, and its place there."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((view, future))
        return await future

    async def work(self) -> None:
        """Scores what comes, for ever."""
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < self.detector.config.batch_size:
                batch.append(self._queue.get_nowait())
            batch = [(view, future) for view, future in batch if not future.done()]  # others have been given up
            if not batch:
                continue
            try:
                found = await asyncio.to_thread(self._findings, [view for view, _ in batch])
            except Exception as error:  # whatever it is, those who wait must hear of it, and the next batch goes on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            self._judged(found)
            for index, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result((found, index))

    def _findings(self, views: list[np.ndarray]) -> Findings:
        return self.detector.findings(self.detector.of_views([views]))


def warm_up(detector: Detector) -> None:
    """Compiles the batch sizes that requests will need."""
    view = np.zeros((*detector.inputs.size, detector.inputs.channels), np.uint8)
    count = 1
    while count <= detector.config.batch_size:
        detector.of_views([[view] * count])
        count *= 2
    if detector.map_scale is not None:
        detector.maps_of([view])
