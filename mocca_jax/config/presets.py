"""What may follow a config file's name after a colon: one of its kinds, and presets, joined by commas.

A config file that has some says so in two tables, `KINDS = {name: what it is}` and `PRESETS = {name: function}`; the
first sentence of a preset's docstring says what it is.
"""

from collections.abc import Iterable
from types import ModuleType

from mocca_jax.config.nearest import near


def split(spec: str, where: str, kinds: Iterable[str] = (), presets: Iterable[str] = ()) -> tuple[str, list[str]]:
    """`texture,quick` -> `("texture", ["quick"])`; the first of `kinds` where none is named.

    Raises:
        ValueError: a word is neither kind nor preset of `where`, or several are kinds.

    Example:
        >>> split("quick,texture", "folder", ["object", "texture"], ["quick"])
        ('texture', ['quick'])
        >>> split("", "folder", ["object", "texture"], ["quick"])
        ('object', [])
    """
    kinds, presets = list(kinds), list(presets)
    chosen, rest = [], []
    for word in filter(None, (word.strip() for word in spec.split(","))):
        if word not in kinds and word not in presets:
            raise ValueError(f"{where} has no {word!r}{near(word, kinds + presets) or _list(kinds, presets)}")
        (chosen if word in kinds else rest).append(word)
    if len(chosen) > 1:
        raise ValueError(f"{where} is one of {', '.join(kinds)}, not {' and '.join(chosen)}")
    return (chosen or kinds or [""])[0], rest


def _list(kinds: list[str], presets: list[str]) -> str:
    return "".join(f"; {what}: {', '.join(names)}" for what, names in (("kinds", kinds), ("presets", presets)) if names)


def kinds_of(module: ModuleType) -> dict[str, str]:
    """The kinds of a config file: what each is, by name."""
    return dict(getattr(module, "KINDS", {}))


def presets_of(module: ModuleType) -> dict[str, str]:
    """The presets of a config file: the first sentence of what each says of itself, by name."""
    found = getattr(module, "PRESETS", {})
    return {name: " ".join((preset.__doc__ or "").partition("\n\n")[0].split()) for name, preset in found.items()}
