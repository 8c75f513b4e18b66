"""The products of a service and their detectors, of which some are in memory: the others are loaded when asked for."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from mocca_jax import console
from mocca_jax.commands.service.batcher import warm_up
from mocca_jax.data.listing import printable
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.outputs import bundle
from mocca_jax.scoring import explain, shared

NAME = "detector"  # of a product, where nothing tells


@dataclass(frozen=True)
class Product:
    """What is known of a product while its detector is not in memory."""

    trained_on: str
    threshold: float | None
    alpha: float | None
    by: str
    sha256: str
    maps: bool
    explains: bool = False
    heldout: int = 0
    ordinary: float | None = None


@dataclass
class _Held:
    """A detector in memory, or on its way there."""

    loaded: asyncio.Future[Detector]
    users: int = 0
    leaving: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Shelf:
    """Lends detectors; at most `most` are in memory, the one that was not asked for the longest leaves first.

    Args:
        loads: how each product's detector is loaded, by its name.
        most: detectors in memory.
    """

    def __init__(self, loads: dict[str, Callable[[], Detector]], most: int = 1):
        self.products: dict[str, Product] = {}
        self.runs: dict[str, Path] = {}  # of those products that come from one, its workdir
        self._loads, self._most = loads, most
        self._first: dict[str, Detector] = {}  # until `warm`
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._admitting, self._warmed = asyncio.Lock(), asyncio.Event()
        self._warm: set[Hashable] = set()

    @classmethod
    def of(cls, detector: Detector, name: str = NAME) -> "Shelf":
        """One detector.

        Raises:
            UserError: it is one of videos, which scores frames only when their neighbours are known.
        """
        made = cls({name: lambda: detector})
        made._take(name, detector)
        return made

    @classmethod
    def at(cls, place: Path, by: str | None = None, most: int = 8) -> "Shelf":
        """The detector of a run, or those of all runs in a folder.

        Of several, those that cannot be served are told in the log and left out.

        Args:
            place: workdir of a run, its `detector.npz`, or a folder of workdirs.
            by: what decides, see `Detector.load`.
            most: detectors in memory, at least 1.

        Raises:
            UserError: there is none.
        """
        if most < 1:
            raise UserError(f"--loaded={most}: at least one detector has to be in memory")
        runs = [] if place.suffix == ".npz" or (place / bundle.FILE).exists() else runs_in(place)
        if not runs:
            made = cls.of(Detector.load(place, by), _name_of(place))
            made.runs = {_name_of(place): place.parent if place.suffix == ".npz" else place}
            return made
        made = cls({_name_of(run): lambda run=run: Detector.load(run, by) for run in runs}, most)
        made.runs = {_name_of(run): run for run in runs}
        for name in console.steps(list(made._loads), "reading detectors", len(runs), "products"):
            try:
                made._take(name, made._loads[name]())
            except UserError as error:
                logging.warning("product %r is left out: %s", name, error)
        if not made.products:
            raise UserError(f"{place}: none of the runs there has a detector that can be served")
        return made

    def __len__(self) -> int:
        return len(self._held)

    def is_loaded(self, name: str) -> bool:
        """Whether a product's detector is in memory."""
        return name in self._held and self._held[name].loaded.done()

    async def warm(self) -> None:
        """Puts the first detectors on the shelf, and compiles what they need; nothing is lent before."""
        while self._first:
            name, detector = self._first.popitem()
            await asyncio.to_thread(self._warm_up, detector)
            held = self._held[name] = _Held(asyncio.get_running_loop().create_future())
            held.loaded.set_result(detector)
        self._warmed.set()

    @asynccontextmanager
    async def lent(self, name: str) -> AsyncIterator[Detector]:
        """The detector of a product, which stays in memory as long as somebody has it.

        Raises:
            UserError: it cannot be loaded.
        """
        await self._warmed.wait()
        held = self._held.get(name)
        if held is None or held.leaving:
            held = await self._admitted(name)
        held.users += 1
        held.idle.clear()
        self._held.move_to_end(name)
        try:
            yield await asyncio.shield(held.loaded)
        finally:
            held.users -= 1
            if not held.users:
                held.idle.set()

    async def _admitted(self, name: str) -> _Held:
        """A place for a product: who asks first gets one first, however busy the others are."""
        async with self._admitting:
            while name not in self._held and len(self._held) >= self._most:
                await self._make_room()
            if name not in self._held:
                loading = asyncio.create_task(asyncio.to_thread(self._load, name))
                loading.add_done_callback(lambda ended: self._drop_failed(name, ended))
                self._held[name] = _Held(loading)
            return self._held[name]

    async def _make_room(self) -> None:
        """One detector leaves, an idle one if there is one; who asks for it meanwhile waits for a new place."""
        last = next((name for name, of in self._held.items() if not of.users), next(iter(self._held)))
        leaving = self._held[last]
        leaving.leaving = True
        try:
            while leaving.users:
                await leaving.idle.wait()
            await asyncio.wait([leaving.loaded])
        finally:
            leaving.leaving = False
        self._held.pop(last, None)

    def _drop_failed(self, name: str, ended: asyncio.Future[Detector]) -> None:
        """The next who asks for it tries again."""
        if (ended.cancelled() or ended.exception()) and name in self._held and self._held[name].loaded is ended:
            del self._held[name]

    def _load(self, name: str) -> Detector:
        detector = self._loads[name]()
        before, self.products[name] = self.products[name], _described(detector)
        if before.sha256 != self.products[name].sha256:
            logging.warning("product %r has another detector than before: %s", name, self.products[name].sha256)
        self._warm_up(detector)
        return detector

    def _warm_up(self, detector: Detector) -> None:
        """Once for detectors that are computed alike."""
        content = detector.content
        held = (content.state.replace(opt_state=()), content.map_statistics)
        shapes = tuple((np.shape(leaf), str(jnp.result_type(leaf))) for leaf in jax.tree.leaves(held))
        drawn = content.map_scale.method if content.map_scale else ""
        alike = shared.key(content.config, content.inputs, drawn, detector.by, jax.tree.structure(held), shapes)
        if alike not in self._warm:
            warm_up(detector)
            self._warm.add(alike)

    def _take(self, name: str, detector: Detector) -> None:
        """A product at the start, and its detector where there is room."""
        if detector.inputs.has_frames:
            raise UserError("this run is one on videos; only runs on pictures can be served")
        self.products[name] = _described(detector)
        if len(self._first) < self._most:
            self._first[name] = detector


def runs_in(folder: Path) -> list[Path]:
    """The workdirs directly in a folder that hold a detector."""
    return sorted(path.parent for path in folder.glob(f"*/{bundle.FILE}")) if folder.is_dir() else []


def _name_of(place: Path) -> str:
    """What a run is called: as its folder is."""
    folder = place.absolute() if place.suffix != ".npz" else place.absolute().parent
    return printable(folder.name or folder.resolve().name)


def _described(detector: Detector) -> Product:
    by, maps, known = detector.by, detector.map_scale is not None, detector.calibration
    count, ordinary = (len(known.heldout), float(np.median(known.heldout))) if known else (0, None)
    decides = (detector.threshold, detector.alpha, by)
    return Product(detector.description, *decides, detector.digest, maps, explain.is_able(detector), count, ordinary)
