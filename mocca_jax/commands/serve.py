"""Command: a finished run as a web service on this machine.

    mocca serve runs/leather --port=8000

- `POST /score`: the body is a picture file; answers score, p-value, decision, each layer's part; `?map=true` adds the
  picture under its anomaly map as a PNG, base64.
- `GET /health`: whether it answers.
- `GET /version`: which model it is.
- `GET /docs`: the interface, to read and to try.

Requests that come at the same time are scored as one batch. Needs `pip install "mocca_jax[serve]"`. It listens to this
machine alone unless --host says otherwise; it knows no passwords and no encryption: put a proxy before it. When it is
stopped (Ctrl-C, SIGTERM) it takes no more requests and answers those it took.
"""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mocca_jax
from mocca_jax.commands.arguments import add_by, add_place, begin, parser, place, plain_errors
from mocca_jax.data import cache, decoder
from mocca_jax.detector import Detector, Findings
from mocca_jax.errors import UserError
from mocca_jax.report import overlays
from mocca_jax.training import parallel

UVICORN = {"log_level": "warning", "timeout_keep_alive": 5}


@dataclass(frozen=True)
class Limits:
    """What one request, and all that are waiting, may take."""

    megabytes: float = 20.0
    megapixels: float = 40.0
    waiting: int = 64
    seconds: float = 30.0


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run, or its detector.npz", type=Path)
    add_by(takes)
    takes.add_argument("--host", default="127.0.0.1", help="address to listen to")
    takes.add_argument("--port", type=int, default=8000, help="port to listen to")
    for name, unit in (("megabytes", "of a body"), ("megapixels", "of a picture"), ("seconds", "for an answer")):
        takes.add_argument(f"--{name}", type=float, default=getattr(Limits, name), help=f"{unit}, at most")
    takes.add_argument("--waiting", type=int, default=Limits.waiting, help="requests at once, at most")
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        try:
            import uvicorn

            parallel.configure(0, str(cache.root() / "xla"))
            limits = Limits(options.megabytes, options.megapixels, options.waiting, options.seconds)
            app = make_app(Detector.load(run, options.by), limits)
        except ImportError as error:
            raise UserError(f'{error}. Serving takes pip install "mocca_jax[serve]"') from error
    uvicorn.run(_announced(app, options.host, options.port), host=options.host, port=options.port, **UVICORN)


def _announced(app: Any, host: str, port: int) -> Any:
    """The application, which says where it listens and how to ask it as soon as it answers."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    started = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(of: Any) -> AsyncIterator[None]:
        async with started(of):
            print(
                f"listening at {address}\n"
                f"ask it: curl --data-binary @picture.png '{address}/score'\n"
                f"all it answers: {address}/docs    stop it: Ctrl-C",
                flush=True,
            )
            yield

    app.router.lifespan_context = lifespan
    return app


def make_app(detector: Detector, limits: Limits = Limits()):
    """The service as an ASGI application.

    Raises:
        UserError: a model of videos, which scores frames only when their neighbours are known.
    """
    from fastapi import FastAPI, HTTPException, Request

    if detector.inputs.clip_length:
        raise UserError("this run is one on videos; only runs on pictures can be served")
    batcher, digest = _Batcher(detector, limits), detector.digest

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(_warm_up, detector)
        worker = asyncio.create_task(batcher.work())
        yield
        worker.cancel()

    app = FastAPI(title="mocca_jax", version=mocca_jax.__version__, lifespan=lifespan)
    picture = {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}, "required": True}

    @app.post("/score", openapi_extra={"requestBody": picture})
    async def score(request: Request, map: bool = False) -> dict[str, Any]:
        """Larger scores are more anomalous; p_value and anomalous are null where nothing was held out."""
        if map and detector.map_scale is None:
            raise HTTPException(400, "this model has no anomaly maps: leave map out")
        if not batcher.enter():
            raise HTTPException(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        try:
            async with asyncio.timeout(limits.seconds):
                body = await _body(request, limits, HTTPException)
                try:
                    view = await asyncio.to_thread(_view, detector, body, limits)
                except UserError as error:
                    raise HTTPException(400, str(error)) from error
                found, index = await batcher.score(view)
                answer = _answer(detector, found, index)
                if map:
                    answer["map_png"] = await asyncio.to_thread(_drawn, detector, view)
                return answer
        except TimeoutError as error:
            raise HTTPException(504, f"no answer within {limits.seconds:g} s") from error
        finally:
            batcher.leave()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "waiting": batcher.waiting}

    @app.get("/version")
    async def version() -> dict[str, Any]:
        return {"mocca_jax": mocca_jax.__version__, "trained_on": detector.description, "sha256": digest}

    return app


class _Batcher:
    """Scores pictures that wait at the same time together."""

    def __init__(self, detector: Detector, limits: Limits):
        self.detector, self.limits, self.waiting = detector, limits, 0
        self._queue: asyncio.Queue[tuple[np.ndarray, asyncio.Future]] = asyncio.Queue()

    def enter(self) -> bool:
        """Whether there is room for one more request; it takes the place if so."""
        if self.waiting >= self.limits.waiting:
            return False
        self.waiting += 1
        return True

    def leave(self) -> None:
        self.waiting -= 1

    async def score(self, view: np.ndarray) -> tuple[Findings, int]:
        """The findings of the batch that the picture was in, and its place there."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((view, future))
        return await future

    async def work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < self.detector.config.batch_size:
                batch.append(self._queue.get_nowait())
            try:
                found = await asyncio.to_thread(self._findings, [view for view, _ in batch])
            except Exception as error:  # whatever it is, those who wait must hear of it, and the next batch goes on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for index, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result((found, index))

    def _findings(self, views: list[np.ndarray]) -> Findings:
        return self.detector.findings(self.detector.of_views([views]))


async def _body(request: Any, limits: Limits, problem: type[Exception]) -> bytes:
    """The request's body, refused as soon as it is too long."""
    most, parts, size = limits.megabytes * 1e6, [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise problem(413, f"the body is longer than {limits.megabytes:g} megabytes")
        parts.append(part)
    if not size:
        raise problem(400, "the body is empty; it must be a picture file")
    return b"".join(parts)


def _view(detector: Detector, body: bytes, limits: Limits) -> np.ndarray:
    try:
        picture = decoder.picture(body, detector.inputs.depth, round(limits.megapixels * 1e6))
    except UserError as error:
        raise UserError(f"the body cannot be read as a picture: {error}") from error
    return detector.view(picture)


def _answer(detector: Detector, found: Findings, index: int) -> dict[str, Any]:
    return {
        "score": float(found.score[index]),
        "p_value": None if found.p_value is None else float(found.p_value[index]),
        "anomalous": None if found.anomalous is None else bool(found.anomalous[index]),
        "threshold": detector.calibration.threshold if detector.calibration else None,
        "layers": {name: float(values[index]) for name, values in found.layers.items()},
    }


def _drawn(detector: Detector, view: np.ndarray) -> str:
    """The picture under its map, PNG, base64."""
    scale = overlays.Scale(detector.map_scale.ordinary, detector.map_scale.threshold)
    (values,) = detector.maps_of([view])
    out = io.BytesIO()
    overlays.paint(view, values, scale).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _warm_up(detector: Detector) -> None:
    """Compiles the batch sizes that requests will need."""
    view = np.zeros((*detector.inputs.size, detector.inputs.channels), np.uint8)
    count = 1
    while count <= detector.config.batch_size:
        detector.of_views([[view] * count])
        count *= 2
    if detector.map_scale is not None:
        detector.maps_of([view])
