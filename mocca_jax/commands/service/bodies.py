"""The body of a request: read within its limits, raw or out of a form."""

import asyncio
from contextlib import aclosing

import python_multipart  # noqa: F401 (Starlette reads forms with it, and says so only when the first one comes)
from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from mocca_jax.commands.service.asking import ASK, FIELD, FORM
from mocca_jax.commands.service.limits import Limits
from mocca_jax.data.likeness import looks_like

MOST_PARTS = 50  # of a form: one is right, more are read to say what was found
SHOWN, MOST_TEXT = 4, 10_000  # parts that are named where they are wrong, characters of a text that are looked at


async def picture_file(request: Request, limits: Limits) -> bytes:
    """The file that a request brings, as its whole body or as the one file of a multipart form.

    Raises:
        HTTPException: 400, empty, or a form that holds anything but one file; 408, it comes too slowly; 413, too long.
    """
    bounded = Request(request.scope, _Bounded(request, limits))
    try:
        if _media_type(request) == "multipart/form-data":
            body = await _from_form(bounded)
        else:
            body = await bounded.body()
    except ClientDisconnect as error:
        raise HTTPException(400, "the connection ended before the body did") from error
    if not body:
        raise HTTPException(400, f"the body is empty; {ASK}")
    return body


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class _Bounded:
    """Receives a request's messages, and refuses as soon as they are too long or too slow together."""

    def __init__(self, request: Request, limits: Limits):
        self._receive: Receive = request.receive
        self._limits, self._size = limits, 0
        self._seconds = min(limits.upload, limits.seconds)
        self._end = asyncio.get_running_loop().time() + self._seconds
        announced = request.headers.get("content-length", "")[:20]
        self._check(int(announced) if announced.isdecimal() else 0)

    async def __call__(self) -> Message:
        idle_until = asyncio.get_running_loop().time() + self._limits.idle
        try:
            async with asyncio.timeout_at(min(idle_until, self._end)):
                message = await self._receive()
        except TimeoutError as error:
            idle = idle_until < self._end
            slow = f"no byte for {self._limits.idle:g} s" if idle else f"not all of it within {self._seconds:g} s"
            raise HTTPException(408, f"the body comes too slowly: {slow}, {self._size} bytes so far") from error
        self._size += len(message.get("body", b""))
        self._check(self._size)
        return message

    def _check(self, size: int) -> None:
        if size > self._limits.megabytes * 1e6:
            raise HTTPException(413, f"the body is longer than {self._limits.megabytes:g} megabytes")


class _InMemory(MultiPartParser):
    """Starlette's parser, without files on disk: what comes is bounded already."""

    spool_max_size = 0  # no limit


async def _from_form(request: Request) -> bytes:
    most = {"max_files": MOST_PARTS, "max_fields": MOST_PARTS}
    async with aclosing(request.stream()) as stream:
        try:
            # The size of a part needs no limit of its own.
            form = await _InMemory(request.headers, stream, **most, max_part_size=1 << 62).parse()
        except (MultiPartException, UnicodeError) as error:
            raise HTTPException(400, f"the form cannot be read: {_unreadable(error)}; {ASK}") from error
    parts = form.multi_items()
    try:
        match parts:
            case [(name, UploadFile() as file)] if name == FIELD:
                return await file.read()
    finally:
        await form.close()
    wanted = f"wanted is one file in the field {FIELD!r} and nothing else: {FORM}"
    raise HTTPException(400, f"the form holds {_found(parts)}; {wanted}")


def _unreadable(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "names in it are not in the encoding that it says"
    plain = {
        "Missing boundary in multipart.": "its Content-Type header names no boundary; let the client write that header",
        "Invalid multipart data.": "it is damaged, or its boundary is another than its Content-Type header names",
    }
    if error.message.startswith("Too many"):
        return f"it has more than {MOST_PARTS} parts"
    return plain.get(error.message, error.message.rstrip("."))


def _found(parts: list[tuple[str, UploadFile | str]]) -> str:
    """What a form holds, in words; `parts` as `FormData.multi_items` gives them."""
    said = [f"{_kind(value)} in the field {name[:40]!r}" for name, value in parts[:SHOWN]]
    more = [f"{len(parts) - SHOWN} more"] if len(parts) > SHOWN else []
    texts = any(name != FIELD and isinstance(value, str) for name, value in parts)
    hint = " (parameters belong into the address, as in /score?map=true)" if texts else ""
    return (", ".join(said + more) or "no complete part") + hint


def _kind(value: UploadFile | str) -> str:
    if isinstance(value, UploadFile):
        return "a file"
    return f"{looks_like(value[:MOST_TEXT].encode(errors='replace')) or 'text'} instead of a file"
