"""The page at `/`: pictures are dropped on it, judged and shown; its files lie in `web/` and come from here alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response

from mocca_jax.commands.service import queued, shown, watching
from mocca_jax.commands.service.bodies import picture_file
from mocca_jax.commands.service.interface import BODY, PRODUCT, About, Answer, problems
from mocca_jax.commands.service.journal import FILE, Journal
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.refusals import chosen
from mocca_jax.commands.service.shelf import Shelf
from mocca_jax.data.listing import printable
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
Judge = Callable[[str, bytes, bool], Awaitable[Answer]]
ONE = "--watch takes one run, and here are several; serve that run by itself"


@dataclass(frozen=True)
class Beside:
    """What the page may do besides judging pictures that are dropped on it.

    Args:
        runs: the workdir of each product.
        watch: the folder that is watched, where there is one product.
        journal: says what was judged there; None: a file in the run's folder.
        queue: pictures may be marked, which writes them into the run's folder.

    Raises:
        UserError: the watched folder is none.
    """

    runs: dict[str, Path] = field(default_factory=dict)
    watch: Path | None = None
    journal: Path | None = None
    queue: bool = False

    def __post_init__(self) -> None:
        if self.watch and not self.watch.is_dir():
            raise UserError(f"--watch={printable(self.watch)} is no folder")


def add(app: FastAPI, shelf: Shelf, limits: Limits, beside: Beside, judge: Judge, key: bool) -> None:
    """The page and what it asks for; a watched folder is looked at as long as the application runs.

    Args:
        app: what answers.
        shelf: the detectors.
        limits: of requests.
        beside: what the page may do.
        judge: what is said about a picture file of a product, with its map or without.
        key: whether requests have to bring one.

    Raises:
        UserError: a folder is watched for several products, or what has to be written cannot be.
    """
    products, most_pixels = list(shelf.products), round(limits.megapixels * 1e6)
    watched = None

    async def draw(product: str, body: bytes, side: int) -> Response:
        async with shelf.lent(product) as detector:
            depth = detector.inputs.depth
        return await drawn(shown.drawn, body, side, depth, most_pixels)

    async def drawn(draw: Callable[..., bytes], *given: Any) -> Response:
        try:
            return Response(await asyncio.to_thread(draw, *given), media_type=shown.TYPE)
        except UserError as error:
            raise HTTPException(400, str(error)) from error

    if beside.watch:
        if len(products) > 1:
            raise UserError(ONE)
        watched = _watched(beside, limits, partial(judge, products[0]))
        watching.add(app, watched, partial(draw, products[0]))
        app.router.lifespan_context = _living(app, watched)
    if beside.queue:
        queues = {name: queued.Queue(beside.runs[name], limits.megapixels) for name in products}
        queued.add(app, queues, limits, key, watched)
    about = About(watch=printable(watched.folder.name) if watched else None, queue=beside.queue)

    @app.get("/about")
    async def known() -> About:
        """What a page has to know besides `/products`."""
        return about

    @app.post(
        "/shown",
        openapi_extra={"requestBody": BODY},
        responses=problems({400: "no picture that can be read", 408: "too slow", 413: "too long"}) | shown.DESCRIBED,
        response_class=Response,
    )
    async def as_shown(request: Request, product: Annotated[str | None, Query(description=PRODUCT)] = None) -> Response:
        """A picture file as any browser shows it."""
        return await draw(chosen(product, products), await picture_file(request, limits), shown.MOST)

    @app.get(
        "/good/{number}",
        responses=problems({404: "it is not there any more"}) | shown.DESCRIBED,
        response_class=Response,
    )
    async def good(
        number: int,
        product: Annotated[str | None, Query(description=PRODUCT)] = None,
        left: Annotated[int | None, Query(ge=0, description="with top: only what lies around this place")] = None,
        top: Annotated[int | None, Query(ge=0, description="see left")] = None,
    ) -> Response:
        """A good picture that others are compared with, as any browser shows it; explanations name its number, and of
        pictures in tiles the place."""
        name = chosen(product, products)
        async with shelf.lent(name) as detector:
            path = await asyncio.to_thread(detector.content.known.file, detector.config, number)
            inputs = detector.inputs
        if path is None:
            raise HTTPException(404, "this good picture is not there any more, or has changed")
        body = await asyncio.to_thread(path.read_bytes)
        if left is None or top is None:
            return await draw(name, body, shown.MOST)
        return await drawn(shown.around, body, (left, top), inputs, most_pixels)

    files = _files()

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _sent(*files[FIRST])

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _sent(*files[name])


def _watched(beside: Beside, limits: Limits, judge: watching.Judge) -> watching.Watched:
    (run,) = beside.runs.values()
    return watching.Watched(beside.watch, Journal(beside.journal or run / FILE), limits.megabytes, judge)


def _sent(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers=HEADERS)


def _files() -> dict[str, tuple[bytes, str]]:
    """The page's files by name, and what they are."""
    found = {}
    for file in (resources.files(__package__) / SITE).iterdir():
        if kind := TYPES.get(Path(file.name).suffix):
            found[file.name] = file.read_bytes(), kind
    return found


def _living(app: FastAPI, watched: watching.Watched) -> Callable[[FastAPI], AbstractAsyncContextManager[Any]]:
    """The application's life, with the watching in it."""
    whole = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with whole(app) as state:
            watcher = asyncio.create_task(watched.work())
            yield state
            watcher.cancel()
            watched.close()

    return lifespan
