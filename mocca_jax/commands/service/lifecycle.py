"""From the start of a service to its end: whether it is ready."""

from dataclasses import dataclass


@dataclass
class Lifecycle:
    """What has happened so far. `failed`: why it could not get ready, which ends it."""

    warm: bool = False
    stopping: bool = False
    failed: BaseException | None = None

    @property
    def not_ready(self) -> str:
        """Why no requests should be sent now; "" where they should."""
        if self.stopping:
            return "it is shutting down"
        return "" if self.warm else "it is still warming up"
