"""Where a service listens: addresses taken before anything slow happens, and said aloud once it answers there."""

import asyncio
import errno
import ipaddress
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import uvicorn

from mocca_jax.commands.service.asking import KEY, WITH_KEY
from mocca_jax.commands.service.lifecycle import Lifecycle
from mocca_jax.errors import UserError

UVICORN = {"log_level": "warning", "timeout_keep_alive": 5}
LOG = {"plain": {}, "json": {"log_config": None}}  # uvicorn's own lines, or its messages in ours
LAST_WORDS = 0.1  # seconds
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses that stand for all, and where this machine asks them
OPEN = """\
WARNING: other machines can ask it too: whoever reaches this one, without a key and without encryption. Put a proxy
before it that asks for both, or keep it to this machine: --host=127.0.0.1"""
PLAIN = """\
WARNING: other machines ask it without encryption, and their keys and pictures can be read on the way. Put a proxy with
TLS before it where the network is not yours alone."""


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets of all addresses that `host` has here, on one port; 0 is any free one. They are closed in the end.

    Raises:
        UserError: the port is taken or no port, or the host is no address of this machine.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port={port}: ports are 1 to 65535, and 0 for any free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host={host} is neither an address nor a known name of one; {_hosts()}") from error
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            with suppress(_NoAddress):
                same = sockets[0].getsockname()[1] if sockets else port
                sockets.append(stack.enter_context(_bound(family, address, same)))
        if not sockets:
            raise UserError(f"--host={host} is no address of this machine; {_hosts()}")
        yield sockets


def serve(
    app: Any,
    sockets: list[socket.socket],
    lifecycle: Lifecycle | None = None,
    drain: float = 0.0,
    log: str = "plain",
    key: bool = False,
) -> None:
    """Answers there until it is stopped.

    Args:
        app: what answers.
        sockets: of `bound`.
        lifecycle: the application's, which is told of the end; it may end the service as well.
        drain: seconds after the signal to stop in which it still takes requests, and says that it is not ready.
        log: "plain" or "json".
        key: whether requests have to bring one.

    Raises:
        UserError: another program has taken the port since it was bound.
    """
    lifecycle = lifecycle or Lifecycle()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # damaged forms are told to those who sent them
    with suppress(KeyboardInterrupt):  # which uvicorn raises after it has ended in good order
        _Server(uvicorn.Config(app, **UVICORN, **LOG[log]), lifecycle, drain, key).run(sockets)
    if lifecycle.failed:
        raise lifecycle.failed


class _NoAddress(Exception):  # noqa: N818 (no error: another may do)
    """It is not one of this machine's."""


class _Server(uvicorn.Server):
    """Says where it listens, and stops in order."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain: float, key: bool):
        super().__init__(config)
        self._lifecycle, self._drain, self._key = lifecycle, drain, key
        self._asked: tuple[int, Any] | None = None  # the signal that asked to stop
        self._until = 0.0

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A first signal waits for `drain`; a second does not."""
        first, self._lifecycle.stopping = not self._lifecycle.stopping, True
        if first and self._drain:
            self._asked, self._until = (sig, frame), time.monotonic() + self._drain
            return
        self._asked = None
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._asked and time.monotonic() >= self._until:
            super().handle_exit(*self._asked)
            self._asked = None
        if self._lifecycle.failed:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Connections that were accepted get a moment to say what they want, before those without a request end."""
        for listening in self.servers:
            listening.close()
        await asyncio.sleep(LAST_WORDS)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        addresses = [made.getsockname()[:2] for made in sockets or ()]
        try:
            await super().startup(sockets)
            for made in sockets or ():  # uvloop closes without a word what it cannot listen to
                made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:  # another has begun to listen since `bound`
            raise UserError(_taken(*addresses[0])) from error
        print(announcement(addresses, self._key), flush=True)


def require_key(sockets: list[socket.socket]) -> None:
    """Refuses to let other machines ask a service that wants no key.

    Raises:
        UserError: one of the sockets is open to them.
    """
    open_to_all = [made.getsockname()[0] for made in sockets if not _inside(made.getsockname()[0])]
    if open_to_all:
        raise UserError(
            f"at {open_to_all[0]} other machines can ask too, and nothing asks them for a key. Set {KEY} to one, which "
            "all requests but /health and /ready then have to bring; or keep to this machine with --host=127.0.0.1; or "
            "say --insecure where a proxy or a network of your own sees to it (not with --queue, which writes)"
        )


def _inside(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def announcement(addresses: list[tuple[str, int]], key: bool = False) -> str:
    """What is printed once the service answers at these hosts and ports; `key`: it wants one.

    Example:
        >>> print(announcement([("127.0.0.1", 8000)]))
        listening at http://127.0.0.1:8000
        ask it: curl --data-binary @picture.png 'http://127.0.0.1:8000/score'
        look at pictures: http://127.0.0.1:8000/
        all it answers: http://127.0.0.1:8000/docs    stop it: Ctrl-C
    """
    lines = [f"listening at {_url(*a)}{', every address of this machine' * (a[0] in EVERYWHERE)}" for a in addresses]
    host, port = addresses[0]
    ask = _url(EVERYWHERE.get(host, host), port)
    lines += [
        f"ask it: curl {f'{WITH_KEY} ' * key}--data-binary @picture.png '{ask}/score'",
        f"look at pictures: {ask}/",
        f"all it answers: {ask}/docs    stop it: Ctrl-C",
    ]
    inside = all(_inside(host) for host, _ in addresses)
    return "\n".join(lines if inside else [*lines, PLAIN if key else OPEN])


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _hosts() -> str:
    return "127.0.0.1 is this machine alone, 0.0.0.0 all that can reach it"


def _taken(host: str, port: int) -> str:
    return f"port {port} of {host} is taken by another program; choose one with --port, or --port=0 for any free one"


def _bound(family: int, address: tuple, port: int) -> socket.socket:
    """A socket that does not listen yet: who asks too early is refused instead of waiting."""
    made = None
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address[0], port, *address[2:]))
        return made
    except OSError as error:
        if made is not None:
            made.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise _NoAddress from error
        if error.errno == errno.EADDRINUSE:
            raise UserError(_taken(address[0], port)) from error
        raise UserError(f"cannot listen at {_url(address[0], port)}: {error.strerror}") from error
