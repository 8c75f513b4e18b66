"""Requests that get no answer: what is said to them, in one sentence, as `{"detail": ...}`."""

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import Receive, Scope, Send

from mocca_jax.commands.service.asking import ASK
from mocca_jax.config.nearest import near

ADDRESS = (404, 405)  # statuses of requests that found nobody who answers them
LAST = (408, 413)  # statuses after which the connection ends: its client may still be sending
SHOWN = 20  # names of products in a message
LINGER, QUIET = 5.0, 0.5  # seconds in which that is read, and without a byte of it


def known_parameters(request: Request) -> None:
    """Lets requests pass whose parameters all are read.

    Raises:
        HTTPException: 422, a parameter is unknown, or given twice.
    """
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    described = operations.get(request.method.lower(), {}).get("parameters", [])
    known = sorted(parameter["name"] for parameter in described if parameter["in"] == "query")
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            there = f"known: {', '.join(known)}" if known else "there are none here"
            raise HTTPException(422, f"unknown parameter {name[:40]!r} ({there}){near(name, known)}")
        if given.count(name) > 1:
            raise HTTPException(422, f"the parameter {name!r} is given {given.count(name)} times; give it once")


def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """What is wrong with the values of parameters, or which is missing."""
    wrong = [f"{fault['loc'][-1]} = {fault['input']!r}: {_wanted(fault)}" for fault in error.errors()]
    return JSONResponse({"detail": "; ".join(wrong)}, 422)


def _wanted(fault: dict[str, Any]) -> str:
    """What the value should have been."""
    if fault["type"].startswith("bool"):
        return "it is true or false"
    return fault["msg"][:1].lower() + fault["msg"][1:]


def chosen(product: str | None, known: list[str]) -> str:
    """The product that is asked for.

    Raises:
        HTTPException: 422, there is no such product, or several and none is named.
    """
    if product is None and len(known) == 1:
        return known[0]
    if product is None:
        raise HTTPException(422, f"which product? Add ?product=NAME to the address; known: {listed(known)}")
    if product not in known:
        asked = product[:80]
        raise HTTPException(422, f"unknown product {asked!r} (known: {listed(known)}){near(asked, known)}")
    return product


def listed(names: list[str]) -> str:
    """The names of products, the first of them where there are many."""
    more = f" and {len(names) - SHOWN} more, see /products" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def broken(request: Request, error: Exception) -> JSONResponse:
    """The answer where the program has a fault; the log says which."""
    return JSONResponse({"detail": "the service failed at this request; its log says why"}, 500)


def refused(request: Request, error: AnyHTTPException) -> JSONResponse:
    """The answer to who asked for something that there is not, or sent what cannot be taken."""
    detail, headers = error.detail, dict(error.headers or {})
    if error.status_code in ADDRESS:
        detail = _address(request, headers.get("Allow"))
    if error.status_code in LAST:
        return Last({"detail": detail}, error.status_code, headers)
    return JSONResponse({"detail": detail}, error.status_code, headers)


def _address(request: Request, allowed: str | None) -> str:
    """How to ask, for those who asked where nobody answers."""
    routes = [(route.path, method) for route in request.app.routes for method in sorted(getattr(route, "methods", ()))]
    path = request.scope["path"]
    if allowed:
        how = f": {ASK}" if "POST" in allowed else ""
        return f"{request.method} is not answered at {path}, {allowed} is{how}"
    there = ", ".join(f"{method} {path}" for path, method in routes)
    return f"nothing is at {path[:80]!r} (there are {there}){near(path[:80], [path for path, _ in routes])}"


class Last(JSONResponse):
    """The last answer of a connection.

    What the client still sends is read for a moment: a connection that is closed upon somebody in the middle of sending
    is reset, and the answer lost.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                more = True
                while more:
                    async with asyncio.timeout(QUIET):
                        more = (await receive()).get("more_body")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
