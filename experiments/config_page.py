"""docs/config.md: every field of a config, from the table of fields and the configs' own values.

python -m experiments.config_page [--check]

`--check` writes nothing and fails where the page is stale.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.markdown import header, line
from mocca_jax.commands.config import grouped, summary
from mocca_jax.config import fields_of
from mocca_jax.config.fields import GROUPS
from mocca_jax.config.files import load, names, read
from mocca_jax.config.presets import kinds_of, presets_of
from mocca_jax.config.rules import Field

PAGE = Path(__file__).parents[1] / "docs/config.md"
TOP = """# Every field of a config

You get: of every field what it means, its unit, what it may hold and what it is by default; of every config its kinds
and presets. The same for one config alone, with the values that it has:

```sh
mocca config folder:texture
```

A field is changed on the command line, `--config.nu=0.05`, or in a config file of your own. A config is checked before
anything is computed; of a name that there is not, the nearest is named. Sections, equations and tables are the paper's.

This page is made by `python -m experiments.config_page` from `mocca_jax/config/fields.py` and the files in `configs/`.
"""
SAID = {"stage": ["Every stage has these under its own name, as in `--config.one_class.epochs=5`.", ""]}
BOTTOM = """Next: [Train on your images](train-on-your-images.md), [Reproduce the paper](reproduce-the-paper.md),
[Add a data set](add-a-data-set.md), which says how a field of one's own is added.
"""


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args(arguments).check:
        sys.exit("docs/config.md is stale: run python -m experiments.config_page" if PAGE.read_text() != page() else 0)
    PAGE.write_text(page())


def page() -> str:
    """The whole page."""
    return "\n".join([TOP, *_configs(), *_groups(), BOTTOM])


def _configs() -> list[str]:
    lines = ["## Configs", "", *header(["config", "what it trains"])]
    lines += [line([f"`{name}`", summary(name)]) for name in names()]
    for name in names():
        for title, rows in (("Kinds", kinds_of(read(name))), ("Presets", presets_of(read(name)))):
            if rows:
                lines += ["", f"{title} of `{name}`, after a colon:", "", *header(["name", "what"])]
                lines += [line([_code(words), text]) for text, words in _by_value(rows).items()]
    return [*lines, ""]


def _groups() -> list[str]:
    """A table for each group of fields; a default is followed by the configs that have it, where not all do."""
    values: dict[str, dict[str, dict[str, Any]]] = {}  # by group, field and config
    fields: dict[str, Field] = {}
    for name in names():
        config = load(name)
        for group, members in grouped(config):
            stage = group.partition(",")[0].removeprefix("stage ") if group.startswith("stage ") else ""
            for full, value in members.items():
                field = full.rpartition(".")[2]
                fields[field] = fields_of(config)[full]
                of_field = values.setdefault(fields[field].group, {}).setdefault(field, {})
                of_field[f"{name} {stage}".strip()] = value
    lines = []
    for group in GROUPS:
        members = values[group]
        lines += [f"## {group.capitalize()}", "", *SAID.get(group, ())]
        lines += header(["field", "meaning", "unit", "may hold", "default"])
        everywhere = max(len(names()), *(len(of_field) for of_field in members.values()))
        for name, of_field in members.items():
            field = fields[name]
            default = _default(of_field, len(of_field) == everywhere and len(set(map(repr, of_field.values()))) == 1)
            lines.append(line([f"`{name}`", field.meaning, field.unit, field.allowed, default]))
        lines.append("")
    return lines


def _default(values: dict[str, Any], same: bool) -> str:
    if same:
        return f"`{next(iter(values.values()))!r}`"
    return "; ".join(f"`{value}` {', '.join(where)}" for value, where in _by_value(values, repr).items())


def _by_value(values: dict[str, Any], key: Callable[[Any], str] = str) -> dict[str, list[str]]:
    """The names that have each value."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(key(value), []).append(name)
    return found


def _code(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    main()
