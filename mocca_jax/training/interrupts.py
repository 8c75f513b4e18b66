"""SIGTERM and SIGINT as a request: finish the step, save, leave."""

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):  # noqa: N818 (a request, not an error)
    """The run was asked to stop and has saved what it did."""

    def __init__(self, signum: int, where: str):
        super().__init__(f"stopped by {signal.Signals(signum).name}; {where}")
        self.exit_code = 128 + signum


class StopRequest:
    """`signum` is None until a signal came."""

    signum: int | None = None

    def leave(self, where: str) -> None:
        """Raises Interrupted where a signal came; `where`: what became of the work."""
        if self.signum:
            raise Interrupted(self.signum, where)

    def leave_statistics(self) -> None:
        """As `leave`, while statistics are made, of which nothing is kept."""
        self.leave("the statistics were not finished, they will be made anew")


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catches the first signal as a request; a second one acts as usual.

    Only the main thread of a program can catch signals: elsewhere they act as usual.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(signum, frame):
        request.signum = signum
        signal.signal(signum, previous[signum])

    previous = {s: signal.signal(s, note) for s in SIGNALS}
    try:
        yield request
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
