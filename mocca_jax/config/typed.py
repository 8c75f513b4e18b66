"""Fields as they are typed: `one_class.epochs=5`."""

import ast
from typing import Any

from ml_collections import ConfigDict

from mocca_jax.config import LATER, fields_of
from mocca_jax.config.nearest import meant, near
from mocca_jax.config.rules import Field
from mocca_jax.errors import UserError


def set_field(config: ConfigDict, name: str, text: str) -> None:
    """Sets a field to what `text` says, which is read as the kind of value that the field has.

    Whole and other numbers, `true` and `false`, texts as they are, and tuples as `(4, 5)`, `4,5` or `features,patches`;
    `()` or nothing is the empty tuple.

    Args:
        config: is changed.
        name: the field, `nu` or `one_class.epochs`.
        text: the value.

    Raises:
        UserError: no such field, the nearest is named; or the value is none that the field takes.

    Example:
        >>> from mocca_jax.config.files import load
        >>> config = load("folder:texture")
        >>> set_field(config, "one_class.epochs", "5")
        >>> set_field(config, "layers", "4,5")
        >>> config.one_class.epochs, config.layers
        (5, (4, 5))
    """
    place, last = _place(config, name)
    known = fields_of(config).get(name, Field(lambda value: True, ""))
    old = place.get(last, LATER.get(last))
    try:
        value = _read(text, old, known)
    except (ValueError, SyntaxError):
        wanted = known.allowed or f"of the kind of {old!r}"
        raise UserError(f"{name} = {text!r}: must be {wanted}{meant(known, text)}") from None
    if not known.accepts(value):
        raise UserError(f"{name} = {value!r}: must be {known.allowed}{meant(known, value)}")
    with place.unlocked(), place.ignore_type():
        place[last] = value


def _place(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """The dict that holds the field and its name in there."""
    own = {stage: value for stage, value in config.items() if isinstance(value, ConfigDict)}
    present = [field for field in config if field not in own]
    present += [f"{stage}.{field}" for stage, values in own.items() for field in values]
    if name in own:
        raise UserError(f"{name} is a stage with fields of its own: {', '.join(f'{name}.{f}' for f in own[name])}")
    if name not in present and name not in LATER:
        raise UserError(f"the config has no field {name!r}{_nearest(name, present)}")
    stage, dot, last = name.rpartition(".")
    return (own[stage] if dot else config), last


def _nearest(name: str, present: list[str]) -> str:
    """A field of this name in a stage, else the nearest name, else where to look."""
    inside = [field for field in present if field.rpartition(".")[2] == name]
    if inside:
        return f"; did you mean {' or '.join(map(repr, inside))}?"
    return near(name, present) or f"; it has {', '.join(sorted(present))}"


def _read(text: str, old: Any, known: Field) -> Any:
    """The value that `text` says, of the kind of `old`."""
    if isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if isinstance(old, float):
        return float(text)
    if isinstance(old, int):  # it may be a number like nu = 1, which takes 0.5 as well
        return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
    if isinstance(old, tuple | list):
        return _read_tuple(text, bool(known.names) or any(isinstance(item, str) for item in old))
    return text


def _read_tuple(text: str, of_names: bool) -> tuple:
    inner = text.strip().removeprefix("(").removesuffix(")")
    if of_names:
        return tuple(word.strip().strip("'\"") for word in inner.split(",") if word.strip())
    return tuple(ast.literal_eval(f"({inner.rstrip(', ')},)")) if inner.strip() else ()
