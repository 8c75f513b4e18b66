"""What requests may take."""

import dataclasses
import math
from dataclasses import dataclass

from mocca_jax.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What one request, and all that are waiting, may take; each above zero.

    Args:
        megabytes: of a body, a form's other parts included.
        megapixels: of a picture.
        waiting: requests at once, those whose bodies are still on their way included.
        seconds: for an answer, from the request's headers on.
        idle: seconds without a byte of a body that is not complete.
        upload: seconds for a whole body, however steadily it comes.

    Raises:
        UserError: a limit is no number above zero.
    """

    megabytes: float = 20.0
    megapixels: float = 40.0
    waiting: int = 64
    seconds: float = 30.0
    idle: float = 5.0
    upload: float = 15.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{field.name} = {value}: it has to be a number above zero")
