"""The nearest of known names, for messages about mistyped ones."""

import difflib
from collections.abc import Iterable
from typing import Any

from mocca_jax.config.rules import Field


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or the list of all."""
    known = list(known)
    return near(name, known) or f"; known: {', '.join(sorted(known))}"


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, nothing where none is near.

    Example:
        >>> near("sofd", ["soft", "hard"]), near("mean", ["soft", "hard"])
        ("; did you mean 'soft'?", '')
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def meant(field: Field, value: Any) -> str:
    """The same for a value, or the values of a tuple, of a field whose values have names."""
    given = value if isinstance(value, tuple | list) else (value,)
    wrong = [name for name in given if isinstance(name, str) and name not in field.names]
    return next(filter(None, (near(name, field.names) for name in wrong)), "")
