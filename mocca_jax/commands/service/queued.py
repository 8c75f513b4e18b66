"""Pictures that a person has judged and that wait to be learned: files in the run's folder, named by their digest.

`queue/good/` holds those that the detector should take as good from now on, `queue/bad/` those that it should have
found, or has found rightly. `mocca update` learns the good ones, which are in `queue/learnt/` then; nothing here
changes the detector.
"""

import asyncio
import ipaddress
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from PIL import Image

from mocca_jax.commands.service.bodies import picture_file
from mocca_jax.commands.service.interface import BODY, PRODUCT, Place, Waiting, problems
from mocca_jax.commands.service.limits import Limits
from mocca_jax.commands.service.refusals import chosen
from mocca_jax.commands.service.watching import Watched, gone
from mocca_jax.data import decoder
from mocca_jax.errors import UserError
from mocca_jax.files import digests, whole
from mocca_jax.outputs import stored

KINDS = ("good", "bad")
MOST = 10_000  # pictures that wait, of both kinds together
LOCAL = "localhost"
Kind = Literal["good", "bad"]
Of = Annotated[str | None, Query(description=PRODUCT)]


class Queue:
    """The two folders.

    Args:
        folder: the run's.
        megapixels: of a picture, at most.

    Raises:
        UserError: they cannot be made.
    """

    def __init__(self, folder: Path, megapixels: float):
        self.folder, self._most_pixels = stored.queue_folder(folder, KINDS[0]).parent, round(megapixels * 1e6)
        self.command = f"mocca update {shlex.quote(str(folder))} {shlex.quote(str(self.folder / 'good'))}"
        try:
            for kind in KINDS:
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
                whole.write_whole(self.folder / kind / ".try", b"")
                (self.folder / kind / ".try").unlink()
        except OSError as error:
            raise UserError(f"--queue: {self.folder} cannot be made ({error.strerror})") from error

    def waiting(self) -> dict[str, list[str]]:
        """The digests by kind, sorted."""
        return {kind: sorted(path.stem for path in self._files(kind)) for kind in KINDS}

    def put(self, kind: str, body: bytes) -> str:
        """Keeps a picture file, byte for byte; it leaves the other kind. Returns its digest.

        Raises:
            UserError: it is no picture, too many wait already, or it cannot be written.
        """
        form = decoder.load(body, self._most_pixels).form
        digest = digests.of_bytes(body)
        waiting = [path.stem for each in KINDS for path in self._files(each)]
        if digest not in waiting and len(waiting) >= MOST:
            raise UserError(f"{MOST:,} pictures wait already: learn them with {self.command}, or empty {self.folder}")
        whole.write_whole(self.folder / kind / f"{digest}{ending(form)}", body)
        self._remove(digest, [each for each in KINDS if each != kind])
        return digest

    def take_back(self, digest: str) -> bool:
        """Whether the picture had waited; it does not any more."""
        return self._remove(digest, KINDS)

    def _files(self, kind: str) -> list[Path]:
        return [path for path in (self.folder / kind).glob("*") if re.fullmatch("[0-9a-f]{64}", path.stem)]

    def _remove(self, digest: str, kinds: tuple[str, ...] | list[str]) -> bool:
        found = [path for kind in kinds for path in self._files(kind) if path.stem == digest]
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)


def ending(form: str) -> str:
    """The ending of the names of files of a format, as Pillow calls it; "" where there is none.

    Example:
        >>> ending("PNG"), ending("JPEG"), ending("TIFF"), ending("none")
        ('.png', '.jpeg', '.tiff', '')
    """
    known = [suffix for suffix in sorted(decoder.suffixes()) if Image.registered_extensions()[suffix] == form]
    named = f".{form.lower()}"
    return named if named in known else (known or [""])[0]


def add(app: FastAPI, queues: dict[str, Queue], limits: Limits, key: bool, watched: Watched | None) -> None:
    """The requests that write; the only ones that do. `queues`: by product.

    They are PUT and DELETE, which a browser sends to another host only after asking it, and get no consent here.
    """

    def of(product: str | None) -> Queue:
        return queues[chosen(product, list(queues))]

    def allowed(request: Request) -> None:
        """Lets requests pass that bring the key, which was looked at before; without one, those of this machine.

        Raises:
            HTTPException: 403.
        """
        if not key and not (_is_here(request.client.host if request.client else "") and _is_here(_host(request))):
            raise HTTPException(403, "without a key only this machine may put pictures into the queue")

    told = {403: "asked from another machine, and the service wants no key", 400: "no picture", 404: "no such picture"}
    guarded = {"dependencies": [Depends(allowed)], "responses": problems(told | {413: "too long", 408: "too slow"})}

    @app.put("/queue", openapi_extra={"requestBody": BODY | {"required": False}}, **guarded)
    async def put(
        request: Request,
        kind: Annotated[Kind, Query(description="good or bad")],
        number: Annotated[int | None, Query(alias="watched", description="of a watched picture; no body then")] = None,
        product: Of = None,
    ) -> Place:
        """Keeps a picture as one that was judged good or bad, byte for byte, to be learned later."""
        queue = of(product)
        if number is None:
            body = await picture_file(request, limits)
        elif watched is None:
            raise HTTPException(404, "no folder is watched")
        else:
            with gone():
                body = await watched.body(number)
        try:
            return Place(digest=await asyncio.to_thread(queue.put, kind, body), kind=kind)
        except UserError as error:
            raise HTTPException(400, str(error)) from error

    @app.delete("/queue", **guarded)
    async def take_back(
        digest: Annotated[str, Query(description="of the picture, as PUT has answered")], product: Of = None
    ) -> Place:
        """Takes a picture out of the queue."""
        if not of(product).take_back(digest):
            raise HTTPException(404, "this picture does not wait in the queue")
        return Place(digest=digest, kind=None)

    @app.get("/queue")
    async def waiting(product: Of = None) -> Waiting:
        """What waits to be learned, and the command that learns it."""
        queue = of(product)
        return Waiting(**queue.waiting(), command=queue.command)


def _host(request: Request) -> str:
    """The name by which the service was asked: a page elsewhere may have given this machine a name of its own."""
    return request.url.hostname or ""


def _is_here(host: str) -> bool:
    if host == LOCAL:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
