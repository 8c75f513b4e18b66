"""What the service answers, as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from absl import logging
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

import mocca_jax
from mocca_jax.commands.service import drawings, looking, page, refusals
from mocca_jax.commands.service.asking import ASK
from mocca_jax.commands.service.batcher import Batcher
from mocca_jax.commands.service.bodies import picture_file
from mocca_jax.commands.service.drawings import Wanted
from mocca_jax.commands.service.interface import (
    BODY,
    METRICS,
    PRODUCT,
    Answer,
    Health,
    Products,
    Ready,
    Row,
    Version,
    problems,
)
from mocca_jax.commands.service.keys import WANTED, Guarded
from mocca_jax.commands.service.lifecycle import Lifecycle
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.metrics import CONTENT_TYPE, Metrics
from mocca_jax.commands.service.middleware import Observed, seen
from mocca_jax.commands.service.shelf import Product, Shelf
from mocca_jax.data import decoder
from mocca_jax.data.incoming import Seen
from mocca_jax.data.likeness import looks_like
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError

UNFIT = "an unknown or repeated parameter, or a value that it cannot have"
WARMING = 0.01  # seconds between two looks at whether it is warm


def make_app(
    shelf: Shelf,
    limits: Limits,
    key: str | None = None,
    lines: bool = False,
    begin_cold: bool = False,
    beside: looking.Beside | None = None,
) -> FastAPI:
    """The service as an ASGI application; its `state.lifecycle` says whether it is ready.

    Args:
        shelf: the detectors that answer.
        limits: of requests.
        key: what requests have to bring, see `keys.Guarded`.
        lines: a line in the log for each request.
        begin_cold: answer before the programs are compiled; pictures that come too early wait for that.
        beside: what the page may do, by default judge what is dropped on it.

    Raises:
        UserError: as `looking.add`.
    """
    known, lifecycle = shelf.products, Lifecycle()
    metrics = Metrics(known, lambda: batcher.waiting, lambda: len(shelf), lambda: not lifecycle.not_ready)
    batcher = Batcher(limits.waiting, metrics.judged)

    async def work() -> None:
        try:
            await shelf.warm()
        except Exception as error:  # whatever it is, it ends the service with its message
            lifecycle.failed = error
            raise
        lifecycle.warm = True
        await batcher.work()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(work())
        while not (begin_cold or lifecycle.warm or worker.done()):
            await asyncio.sleep(WARMING)
        if worker.done():
            await worker
        yield
        lifecycle.stopping = True
        worker.cancel()

    app = FastAPI(
        title="mocca_jax",
        description=f"Finds what is unusual in pictures. {_about(known)}",
        version=mocca_jax.__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,  # it is answered below, as every address, by what knows its parameters
        dependencies=[Depends(refusals.known_parameters)],
        responses=problems({422: UNFIT} | ({401: WANTED} if key else {})),
        exception_handlers={
            AnyHTTPException: refusals.refused,
            RequestValidationError: refusals.invalid,
            Exception: refusals.broken,
        },
    )
    app.state.lifecycle = lifecycle

    @app.post(
        "/score",
        openapi_extra={"requestBody": BODY},
        responses=problems(_no_answer(limits)),
        response_model_exclude_unset=True,
    )
    async def score(
        request: Request,
        map: Annotated[bool, Query(description="adds the picture under its anomaly map")] = False,
        overlay: Annotated[bool, Query(description="adds the anomaly map alone, and where it lies")] = False,
        explain: Annotated[bool, Query(description="adds why it has its score, in words and numbers")] = False,
        product: Annotated[str | None, Query(description=PRODUCT)] = None,
    ) -> Answer:
        """Score, p-value and decision for one picture, and the unusual regions; with `map=true` also a picture.

        `p_value`, `anomalous` and `threshold` are null where nothing was held out in training.
        """
        name = seen(request).product = refusals.chosen(product, list(known))
        if (map or overlay) and not known[name].maps:
            raise HTTPException(400, f"this model has no anomaly maps: leave {'map' if map else 'overlay'} out")
        wanted = Wanted(map, overlay, explain)
        if not batcher.enter():
            raise HTTPException(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        end = asyncio.get_running_loop().time() + limits.seconds
        try:
            body = await picture_file(request, limits)
            async with asyncio.timeout_at(end):
                answer = await _unless_gone(request, _answer(shelf, batcher, name, body, limits, wanted))
            seen(request).said["decision"] = answer.anomalous
            return answer
        except TimeoutError as error:
            raise HTTPException(504, f"no answer within {limits.seconds:g} s") from error
        finally:
            batcher.leave()

    @app.get("/health")
    async def health() -> Health:
        """Whether it answers."""
        return Health(status="ok", waiting=batcher.waiting)

    @app.get("/ready", responses=problems({503: "it is still warming up, or shutting down"}))
    async def ready() -> Ready:
        """Whether requests should be sent now."""
        if why := lifecycle.not_ready:
            raise HTTPException(503, why, headers={"Retry-After": "1"})
        return Ready(status="ready")

    @app.get("/metrics", response_class=Response, responses={200: METRICS})
    async def counted() -> Response:
        """What it has counted, in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/version")
    async def version() -> Version:
        """Which program it is, and which model where there is one product; `/products` has all."""
        (of, *others) = known.values()
        model = {} if others else {"trained_on": of.trained_on, "sha256": of.sha256}
        return Version(mocca_jax=mocca_jax.__version__, **model)

    @app.get("/products")
    async def products() -> Products:
        """What it judges, and by what."""
        rows = {name: Row(product=name, loaded=shelf.is_loaded(name), **asdict(of)) for name, of in known.items()}
        return Products(products=list(rows.values()))

    @app.get("/openapi.json", include_in_schema=False)
    async def interface() -> dict[str, Any]:
        return app.openapi()

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        maps = any(of.maps for of in known.values())
        shown = page.html(app.openapi(), str(request.base_url).rstrip("/"), maps, bool(key), list(known))
        return HTMLResponse(shown, headers={"Content-Security-Policy": page.POLICY})

    async def judge(name: str, body: bytes, whole: bool) -> Answer:
        wanted = Wanted(overlay=whole and known[name].maps, explain=whole and known[name].explains)
        return await _answer(shelf, batcher, name, body, limits, wanted)

    looking.add(app, shelf, limits, beside or looking.Beside(), judge, bool(key))
    if key:
        app.add_middleware(Guarded, key=key)
    routes = {route.path for route in app.routes}
    app.add_middleware(Observed, metrics=metrics, lifecycle=lifecycle, routes=routes, lines=lines)
    return app


def _no_answer(limits: Limits) -> dict[int, str]:
    """Statuses of pictures without an answer, and why."""
    return {
        400: "no picture that can be read: an empty body, a damaged file, a form without exactly one file",
        408: f"the body came too slowly: {limits.idle:g} s without a byte, or over {limits.upload:g} s in all",
        413: f"the body is longer than {limits.megabytes:g} megabytes",
        503: f"more than {limits.waiting} requests are under way, or the product's detector cannot be loaded; ask "
        "again after the seconds of Retry-After",
        504: f"no answer within {limits.seconds:g} s",
    }


def _about(known: dict[str, Product]) -> str:
    (of, *others) = known.values()
    return f"Products: {refusals.listed(list(known))}" if others else f"Trained on: {of.trained_on}"


async def _answer(
    shelf: Shelf,
    batcher: Batcher,
    name: str,
    body: bytes,
    limits: Limits,
    wanted: Wanted,
) -> Answer:
    """What is said about one picture file of a product.

    Raises:
        HTTPException: 400, it cannot be read; 503, the product's detector cannot be loaded.
    """
    async with AsyncExitStack() as stack:
        try:
            detector = await stack.enter_async_context(shelf.lent(name))
        except UserError as error:
            logging.warning("product %r cannot be loaded: %s", name, error)
            said = f"the detector of {name!r} cannot be loaded now; the service's log says why"
            raise HTTPException(503, said, headers={"Retry-After": "10"}) from error
        return await _judged(batcher, name, detector, body, limits, wanted)


async def _judged(
    batcher: Batcher, name: str, detector: Detector, body: bytes, limits: Limits, wanted: Wanted
) -> Answer:
    try:
        view = await asyncio.to_thread(_seen, detector, body, limits)
    except UserError as error:
        like = await asyncio.to_thread(looks_like, body)
        seen = "" if like in str(error) else f"; it looks like {like}"
        seen += f"; {ASK}" if like else ""
        raise HTTPException(400, f"the body cannot be read as a picture: {error}{seen}") from error
    found, index = await batcher.score(name, detector, view.pixels)
    anomalous = None if found.anomalous is None else bool(found.anomalous[index])
    drawn = partial(drawings.of, detector, view, found, index, wanted)
    return Answer(
        product=name,
        score=float(found.score[index]),
        p_value=None if found.p_value is None else float(found.p_value[index]),
        anomalous=anomalous,
        threshold=detector.calibration.threshold if detector.calibration else None,
        layers={name: float(values[index]) for name, values in found.layers.items()},
        **(drawn() if drawings.is_quick(found, index, wanted) else await asyncio.to_thread(drawn)),
    )


def _seen(detector: Detector, body: bytes, limits: Limits) -> Seen:
    """What the network sees of a picture file.

    Raises:
        UserError: it cannot be decoded, holds several pages, or is larger than the limit.
    """
    picture = decoder.picture(body, detector.inputs.depth, round(limits.megapixels * 1e6))
    return detector.see(picture)


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer, which is given up when the client goes away; the request's body has been read."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.create_task(answer), asyncio.create_task(gone())
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise HTTPException(400, "the client went away")
        return work.result()
    finally:
        work.cancel()
        watch.cancel()
