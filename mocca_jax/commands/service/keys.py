"""The key that a service may want from those who ask it."""

import hmac
import os

from starlette.types import ASGIApp, Receive, Scope, Send

from mocca_jax.commands.service.asking import KEY
from mocca_jax.commands.service.refusals import Last
from mocca_jax.errors import UserError

OPEN = ("/health", "/ready", "/")  # paths that want no key
PAGE = "/page/"  # as those that begin so: the page's own files, which ask for the key themselves
WANTED = "this service wants its key, in the header 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"


def from_environment() -> str | None:
    """The key that the environment holds, or None where the variable is not set.

    Raises:
        UserError: it is empty, or cannot stand in a header.
    """
    key = os.environ.get(KEY)
    if key is None:
        return None
    if not key:
        raise UserError(f"{KEY} is set, but empty: give it a key, or unset it")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{KEY} holds a space, a line's end or a character that is not ASCII: no header can send it")
    return key


class Guarded:
    """Lets requests pass that bring the key; others get 401, their bodies are not looked at."""

    def __init__(self, app: ASGIApp, key: str):
        self._app, self._key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_open(scope["path"]) or self._fits(scope["headers"]):
            await self._app(scope, receive, send)
        else:
            refused = Last({"detail": WANTED}, 401, {"WWW-Authenticate": 'Bearer realm="mocca"'})
            await refused(scope, receive, send)

    def _fits(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = [value for name, value in headers if name == b"x-api-key"]
        for name, value in headers:
            scheme, _, token = value.partition(b" ")
            if name == b"authorization" and scheme.lower() == b"bearer":
                given.append(token.strip())
        return any(hmac.compare_digest(key, self._key) for key in given)


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(PAGE)
