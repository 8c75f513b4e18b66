"""Rules: what a config field may hold, as a predicate and in words.

Each function here makes a `Field` that has a rule and no meaning yet; `Field.means` adds it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Field(NamedTuple):
    """What a config field may hold and what it means. A pair `(accepts, allowed)` does in its place.

    `accepts`: a predicate of values; `allowed`: the same in words. `names`: the texts to choose from, where there are
    some; they are what a mistyped value is compared with.
    """

    accepts: Callable[[Any], bool]
    allowed: str
    meaning: str = ""
    unit: str = ""
    group: str = "data"
    names: tuple[str, ...] = ()

    def means(self, meaning: str, unit: str = "") -> "Field":
        """This rule for a field of this meaning."""
        return self._replace(meaning=meaning, unit=unit)


def integer(low: int, high: float = math.inf) -> Field:
    """A whole number from `low` to `high`, both included."""
    text = f"a whole number, at least {low}" if high == math.inf else f"a whole number from {low} to {high}"
    return Field(lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, text)


def integer_or_0(low: int, high: float = math.inf) -> Field:
    """0, or a whole number from `low` to `high`, both included."""
    text = f"0, or at least {low}" if high == math.inf else f"0, or from {low} to {high}"
    return Field(lambda v: integer(low, high).accepts(v) or integer(0, 0).accepts(v), text)


def number(accepts: Callable[[float], bool], text: str) -> Field:
    """A number, whole or not, that `accepts` is true of."""
    return Field(lambda v: isinstance(v, int | float) and not isinstance(v, bool) and accepts(v), text)


def choice(*names: str) -> Field:
    """One of these names."""
    return Field(lambda v: v in names, f"one of {_quoted(names)}", names=names)


def named(*names: str) -> Field:
    """A name in a table that can be added to, where it is looked up later; `names` are those there from the start."""
    return Field(lambda v: isinstance(v, str), f"{_quoted(names)}, or the name of one that was added", names=names)


def several(*names: str) -> Field:
    """A tuple of such names, which may be empty."""
    return Field(_are_texts, f"a tuple of names, such as {_quoted(names)}; () for none", names=names)


def several_of(*names: str) -> Field:
    """A tuple of some of these names, which may be empty."""
    return Field(
        lambda v: _are_texts(v) and set(v) <= set(names), f"a tuple of {_quoted(names)}; () for none", names=names
    )


def different(*names: str) -> Field:
    """A tuple of names, none of them twice."""
    return Field(
        lambda v: _are_texts(v) and len(set(v)) == len(v),
        f"a tuple of different names, such as {_quoted(names)}",
        names=names,
    )


def integers(low: int) -> Field:
    """A tuple of different whole numbers, at least `low` each."""
    return Field(
        lambda v: isinstance(v, tuple | list) and all(map(integer(low).accepts, v)) and len(set(v)) == len(v),
        f"a tuple of different whole numbers, at least {low} each",
    )


def rows_and_columns(low: int) -> Field:
    """Two whole numbers, at least `low` each."""
    return Field(
        lambda v: isinstance(v, tuple | list) and len(v) == 2 and all(map(integer(low).accepts, v)),
        f"two whole numbers, rows and columns, at least {low} each",
    )


def rows_and_columns_or_0(low: int) -> Field:
    """As `rows_and_columns`, or two zeros."""
    pair = rows_and_columns(low)
    return Field(lambda v: pair.accepts(v) or v in ((0, 0), [0, 0]), f"{pair.allowed}, or (0, 0)")


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)


def _is_interval(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(isinstance(v, int | float) for v in value) and value[0] <= value[1]


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)


def in_group(group: str, fields: dict[str, Field]) -> dict[str, Field]:
    """The fields, shown in this group."""
    return {name: field._replace(group=group) for name, field in fields.items()}


INTERVAL = Field(_is_interval, "two numbers, the smaller first")
SWITCH = Field(lambda v: isinstance(v, bool), "True or False")
TEXT = Field(lambda v: isinstance(v, str), "a text")
POSITIVE = number(lambda v: 0 < v < math.inf, "a number above 0")
NOT_NEGATIVE = number(lambda v: 0 <= v < math.inf, "a number, 0 or above")
BETWEEN_0_AND_1 = number(lambda v: 0 < v < 1, "a number between 0 and 1")
FROM_0_TO_BELOW_1 = number(lambda v: 0 <= v < 1, "a number from 0 to below 1")
SEED = integer(0, 2**31 - 1)
