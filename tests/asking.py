"""A service in this process, and a client that asks it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from mocca_jax.commands import serve


@asynccontextmanager
async def service_of(detector) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that judges by the detector; it runs meanwhile."""
    app = serve.make_app(detector)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client,
    ):
        yield client
