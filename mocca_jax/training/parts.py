"""What a run makes after its detector, in parts that may fail alone: maps, figures, pictures, plots, the report."""

from collections.abc import Callable
from typing import TypeVar

from absl import logging

from mocca_jax.errors import UserError
from mocca_jax.training import parallel
from mocca_jax.training.interrupts import Interrupted

LONGEST = 300  # characters of a reason
AGAIN = "the same command makes what is missing once its reason is gone"

T = TypeVar("T")


class Parts:
    """Makes parts. `failed {part: reason}`: those that could not be made, in words for people.

    Args:
        strict: what fails is raised.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.failed: dict[str, str] = {}

    def make(self, part: str, make: Callable[[], T], otherwise: T, together: bool = False) -> T:
        """What `make` returns; `otherwise` where it fails, whatever the reason, which is then kept and logged.

        Args:
            part: its name.
            make: makes it.
            otherwise: stands for it where it could not be made.
            together: all hosts take part in it; where there are several, its failure is the run's.

        Raises:
            Interrupted: a signal came.
        """
        try:
            return make()
        except Interrupted:
            raise
        except Exception as error:
            if self.strict or (together and parallel.hosts() > 1):
                raise
            self.failed[part] = reason(error)
            logging.error("not made: %s (%s). The detector does not need it; %s.", part, self.failed[part], AGAIN)
            logging.debug("why there is no %s", part, exc_info=True)
            return otherwise


STRICT = Parts(strict=True)


def reason(error: Exception) -> str:
    """What an error says, in one line."""
    said = " ".join(str(error).split())
    kind = "" if isinstance(error, UserError) else type(error).__name__
    whole = ": ".join(filter(None, [kind, said]))
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}..."
