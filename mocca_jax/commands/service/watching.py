"""A folder of this machine whose new pictures are judged by themselves, each once."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from absl import logging
from fastapi import FastAPI, HTTPException, Query, Response

from mocca_jax.commands.service import shown
from mocca_jax.commands.service.interface import Answer, Item, News, problems
from mocca_jax.commands.service.journal import Journal
from mocca_jax.data import listing
from mocca_jax.data.standing import Standing, seen
from mocca_jax.files import digests

Judge = Callable[[bytes, bool], Awaitable[Answer]]
Draw = Callable[[bytes, int], Awaitable[Response]]
POLL, LONGEST_POLL, SHARE = 0.5, 10.0, 5  # seconds between two looks, at least and at most; times as long as one lasts
SETTLES = 5.0  # seconds after which a file that still cannot be decoded is given up until it changes
HISTORY, AT_ONCE, BATCH = 500, 100, 8  # pictures that are remembered, told at once, judged at once


class Watched:
    """A watched folder.

    A file is taken when it stands still (`Standing`) and can be decoded. It is known by its name and content: one that
    was judged is not judged again, after a restart either, nor is one that was only renamed.

    Args:
        folder: exists.
        journal: says what was judged before, and is told of what is judged.
        megabytes: of a file, at most.
        judge: what is said about a picture file, with its map or without.
        settles: see `SETTLES`.
    """

    def __init__(self, folder: Path, journal: Journal, megabytes: float, judge: Judge, settles: float = SETTLES):
        self.folder, self._journal, self.judge = folder.resolve(), journal, judge
        self._most_bytes = megabytes * 1e6
        self._known: dict[str, tuple[tuple[int, int], str]] = {}  # by file: its stamp when judged, and the digest
        self._where: dict[str, str] = {}  # by digest: the file
        self._coming = Standing(settles)  # files that are not judged yet
        self._items: OrderedDict[int, tuple[str, Item]] = OrderedDict()  # file and what is told of it
        self._next, self._fault, self._lasted = 0, "", 0.0
        for row in journal.lines():
            self._remember(row)

    async def work(self) -> None:
        """Looks and judges, for ever."""
        while True:
            try:
                await self.look()
            except Exception:  # whatever it is, the next look may do
                logging.exception("the watched folder could not be looked through")
            await asyncio.sleep(min(max(POLL, SHARE * self._lasted), LONGEST_POLL))

    async def look(self) -> None:
        """Judges the files that are new and have stood still since the last look."""
        ready = await asyncio.to_thread(self._ready)
        for start in range(0, len(ready), BATCH):
            rows = await asyncio.gather(*(self._judged(file) for file in ready[start : start + BATCH]))
            for row in filter(None, rows):
                await asyncio.to_thread(self._write, row)
                self._remember(row)

    def _ready(self) -> list[str]:
        """The files that are new and stand still, the one written first first."""
        began = time.monotonic()
        try:
            found = {self._name(path): of for path in self._pictures() if (of := seen(path, began))}
        except OSError as error:
            if self._fault != str(error):
                self._fault = str(error)
                logging.warning("%s cannot be looked into: %s", listing.printable(self.folder), error)
            return []
        self._fault, self._lasted = "", time.monotonic() - began
        self._coming.look({file: of for file, of in found.items() if self._known.get(file, (None,))[0] != of.stamp})
        still = filter(self._coming.is_still, found)
        return sorted(still, key=lambda file: (found[file].written, listing.natural(Path(file))))

    async def body(self, number: int) -> bytes:
        """The file of a picture, as it was judged.

        Raises:
            KeyError: it is not remembered any more, or its file is gone or has changed.
        """
        file, item = self._items[number]
        try:
            body = await asyncio.to_thread((self.folder / file).read_bytes)
        except OSError as error:
            raise KeyError(number) from error
        if digests.of_bytes(body) != item.digest:
            raise KeyError(number)
        return body

    def news(self, after: int) -> News:
        """What was judged from number `after` on; who is ahead of it begins anew."""
        first = after if after <= self._next else 0
        items = [item for number, (_, item) in self._items.items() if number >= first][:AT_ONCE]
        then = items[-1].number + 1 if items else self._next
        name = listing.printable(self.folder.name)
        return News(folder=name, items=items, next=then, coming=len(self._coming), fault=self._fault)

    def close(self) -> None:
        """Lets others write the journal."""
        self._journal.close()

    def _pictures(self) -> list[Path]:
        self.folder.stat()  # raises where it is gone
        return listing.under(self.folder).pictures

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder))

    async def _judged(self, file: str) -> dict[str, Any] | None:
        """What the journal is told of a file; None where there is nothing new, or it is left for the next look."""
        of = self._coming[file]
        row: dict[str, Any] = {"folder": str(self.folder), "file": file, "time": time.time()}
        row |= {"size": of.size, "written": of.written, "digest": ""}
        if of.size > self._most_bytes:
            return row | {"fault": f"larger than {self._most_bytes / 1e6:g} megabytes"}
        try:
            body = await asyncio.to_thread((self.folder / file).read_bytes)
        except OSError:
            return None
        if len(body) != of.size or not self._coming.is_unchanged(file, self.folder / file):
            return None
        row["digest"] = digest = digests.of_bytes(body)
        before = self._where.get(digest)
        same = self._known.get(file, (None, ""))[1] == digest
        if same or (before and not (self.folder / before).exists()):  # only touched, or renamed
            self._note(file, of.stamp, digest)
            return None
        try:
            answer = await self.judge(body, False)
        except HTTPException as error:
            if error.status_code == 400 and self._coming.is_given_up(file, time.monotonic()):
                return row | {"fault": str(error.detail)}
            return None  # to be tried again
        except Exception:  # whatever it is, the pictures after it are judged
            logging.exception("%s could not be judged", listing.printable(file))
            return row | {"fault": "the service failed at this picture; its log says why"}
        return row | {"answer": answer.model_dump(exclude_unset=True)}

    def _write(self, row: dict[str, Any]) -> None:
        try:
            self._journal.add(row)
        except OSError as error:
            logging.error("the journal of the watched folder cannot be written: %s", error)

    def _remember(self, row: dict[str, Any]) -> None:
        """Takes a row of the journal; those of other folders, or without what is needed, are passed over."""
        if row.get("folder") != str(self.folder):
            return
        try:
            file, said = row["file"], {name: row[name] for name in ("digest", "time", "answer", "fault") if name in row}
            item = Item(number=self._next, name=listing.printable(file), **said)
            self._note(file, (row["size"], row["written"]), row["digest"])
        except (KeyError, TypeError, ValueError):
            return
        self._items[self._next] = file, item
        self._next += 1
        while len(self._items) > HISTORY:
            self._items.popitem(last=False)

    def _note(self, file: str, stamp: tuple[int, int], digest: str) -> None:
        self._known[file] = stamp, digest
        self._coming.drop(file)
        if digest:
            self._where[digest] = file


@contextlib.contextmanager
def gone() -> Iterator[None]:
    """Turns `KeyError` into a refusal.

    Raises:
        HTTPException: 404.
    """
    try:
        yield
    except KeyError as error:
        raise HTTPException(404, "this picture is not remembered, or its file is gone or has changed since") from error


def add(app: FastAPI, watched: Watched, draw: Draw) -> None:
    """The requests that tell what was judged in a watched folder; they read nothing but pictures that were judged.

    Args:
        app: what answers.
        watched: the folder.
        draw: a picture file as browsers show it, of at most that side.
    """
    told = problems({404: "not remembered, or its file is gone or has changed since", 400: "it cannot be read"})

    @app.get("/watched", response_model_exclude_unset=True)
    async def news(
        after: Annotated[int, Query(ge=0, description="`next` of the answer before; 0 for all")] = 0,
    ) -> News:
        """What was judged in the watched folder since; the last 500 pictures are remembered."""
        return watched.news(after)

    @app.get("/watched/{number}", responses=told, response_model_exclude_unset=True)
    async def again(number: int) -> Answer:
        """A watched picture judged again, with its map."""
        with gone():
            body = await watched.body(number)
        return await watched.judge(body, True)

    @app.get("/watched/{number}/picture", responses=told | shown.DESCRIBED, response_class=Response)
    async def picture(number: int, side: Annotated[int, Query(ge=16, le=shown.MOST)] = shown.MOST) -> Response:
        """A watched picture as any browser shows it, no longer or wider than `side`."""
        with gone():
            body = await watched.body(number)
        return await draw(body, side)
