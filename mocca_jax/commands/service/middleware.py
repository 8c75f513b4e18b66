"""What is done about every request, whatever it asks: it is timed, counted and, where wanted, written down."""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mocca_jax.commands.service.lifecycle import Lifecycle
from mocca_jax.commands.service.metrics import Metrics

OTHER = "other"  # the route of requests for what there is not: whatever they name is not kept
KEY = "mocca_jax.seen"  # of the scope
LINES = logging.getLogger("mocca_jax.requests")


@dataclass
class Seen:
    """What is known of one request; `said` goes into its line."""

    route: str
    status: int = 500  # where no answer was begun
    size: int = 0
    product: str = ""
    said: dict[str, bool | None] = field(default_factory=dict)


def seen(request: Request) -> Seen:
    """What is known of a request so far."""
    return request.scope[KEY]


class Observed:
    """Times and counts requests until their answers begin; asks clients to leave while the service is stopping.

    Args:
        app: what answers.
        metrics: where they are counted.
        lifecycle: says whether the service is stopping.
        routes: the paths that are counted by name.
        lines: a line for each request, in the log.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, lifecycle: Lifecycle, routes: Collection[str], lines: bool = False
    ):
        self._app, self._metrics, self._lifecycle, self._routes, self._lines = app, metrics, lifecycle, routes, lines
        if lines:
            LINES.setLevel(logging.INFO)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = scope[KEY] = Seen(scope["path"] if scope["path"] in self._routes else OTHER)
        began = time.perf_counter()
        answered: list[float] = []

        async def received() -> Message:
            message = await receive()
            known.size += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.append(time.perf_counter())
                known.status = message["status"]
                if self._lifecycle.stopping:
                    message = {**message, "headers": _last(message["headers"])}
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            self._note(known, (answered or [time.perf_counter()])[0] - began)

    def _note(self, known: Seen, seconds: float) -> None:
        self._metrics.answered(known.route, known.status, known.product, seconds)
        if self._lines:
            fields = {"route": known.route, "status": known.status, "ms": round(1e3 * seconds, 1), "bytes": known.size}
            product = {"product": known.product} if known.product else {}
            LINES.info("request", extra={"fields": fields | product | known.said})


def _last(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a connection's last answer."""
    return [*((name, value) for name, value in headers if name != b"connection"), (b"connection", b"close")]
