"""The page at `/`: pictures are dropped on it, judged and shown; its files lie in `web/` and come from here alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response

from mocca_jax.commands.service import queued, shown, watching
from mocca_jax.commands.service.bodies import picture_file
from mocca_jax.commands.service.interface import BODY, About, Answer, problems
from mocca_jax.commands.service.journal import FILE, Journal
from mocca_jax.commands.service.limits import Limits
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError

SITE, FIRST = "web", "index.html"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# What a browser may load for the page: its own files and this service's answers. Nobody may put it into a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
Judge = Callable[[bytes, bool], Awaitable[Answer]]


@dataclass(frozen=True)
class Beside:
    """What the page may do besides judging pictures that are dropped on it.

    Args:
        run: the run's folder, or its `detector.npz`; None: it has none, and nothing may be watched or marked.
        watch: the folder that is watched.
        journal: says what was judged there; None: a file in the run's folder.
        queue: pictures may be marked, which writes them into the run's folder.
    """

    run: Path | None = None
    watch: Path | None = None
    journal: Path | None = None
    queue: bool = False

    def opened_journal(self) -> Journal:
        """The journal.

        Raises:
            UserError: as `Journal`.
        """
        folder = self.run if self.run.is_dir() else self.run.parent
        return Journal(self.journal or folder / FILE)


def add(app: FastAPI, detector: Detector, limits: Limits, beside: Beside, judge: Judge, key: bool) -> None:
    """The page and what it asks for; a watched folder is looked at as long as the application runs.

    Args:
        app: what answers.
        detector: that judges.
        limits: of requests.
        beside: what the page may do.
        judge: what is said about a picture file, with its map or without.
        key: whether requests have to bring one.

    Raises:
        UserError: the watched folder is none, or what has to be written cannot be.
    """
    draw = partial(shown.drawn, depth=detector.inputs.depth, most_pixels=round(limits.megapixels * 1e6))
    queue = queued.Queue(beside.run, limits.megapixels) if beside.queue else None
    watched = None
    if beside.watch:
        if not beside.watch.is_dir():
            raise UserError(f"--watch={beside.watch} is no folder")
        watched = watching.Watched(beside.watch, beside.opened_journal(), limits.megabytes, judge)
        watching.add(app, watched, judge, draw)
        app.router.lifespan_context = _beside(app, watched)
    if queue:
        queued.add(app, queue, limits, key, watched)
    about = _about(detector, beside, queue)

    @app.get("/about")
    async def known() -> About:
        """What a page has to know to show answers."""
        return about

    @app.post(
        "/shown",
        openapi_extra={"requestBody": BODY},
        responses=problems({400: "no picture that can be read", 408: "too slow", 413: "too long"}) | shown.DESCRIBED,
        response_class=Response,
    )
    async def as_shown(request: Request) -> Response:
        """A picture file as any browser shows it."""
        body = await picture_file(request, limits)
        try:
            return Response(await asyncio.to_thread(draw, body, shown.MOST), media_type=shown.TYPE)
        except UserError as error:
            raise HTTPException(400, str(error)) from error

    files = _files()

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _sent(*files[FIRST])

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _sent(*files[name])


def _about(detector: Detector, beside: Beside, queue: queued.Queue | None) -> About:
    known = detector.calibration
    return About(
        trained_on=detector.description,
        threshold=detector.threshold,
        ordinary=float(np.median(known.heldout)) if known else None,
        heldout=len(known.heldout) if known else 0,
        alpha=detector.alpha,
        maps=detector.map_scale is not None,
        watch=beside.watch.resolve().name if beside.watch else None,
        learn=queue.command if queue else None,
    )


def _sent(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers=HEADERS)


def _files() -> dict[str, tuple[bytes, str]]:
    """The page's files by name, and what they are."""
    found = {}
    for file in (resources.files(__package__) / SITE).iterdir():
        if kind := TYPES.get(Path(file.name).suffix):
            found[file.name] = file.read_bytes(), kind
    return found


def _beside(app: FastAPI, watched: watching.Watched) -> Callable[[FastAPI], AsyncIterator[None]]:
    """The application's life, with the watching in it."""
    whole = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with whole(app) as state:
            watcher = asyncio.create_task(watched.work())
            yield state
            watcher.cancel()
            watched.close()

    return lifespan
