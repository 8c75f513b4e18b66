"""Command: which configs there are, and what every field of one means.

    mocca config                    the configs
    mocca config folder             its kinds and presets, and each field: value, meaning, unit, what it may hold
    mocca config folder:texture     the same for one kind, or with presets: folder:texture,quick
    mocca config my_config.py       a config file of one's own

`--json` prints values alone: of a config its fields, else the configs' names and what they are for.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from mocca_jax.commands.arguments import parser, plain_errors
from mocca_jax.config import STAGE_FIELDS, check, fields_of
from mocca_jax.config.fields import GROUPS
from mocca_jax.config.files import load, names, read
from mocca_jax.config.presets import kinds_of, presets_of
from mocca_jax.config.rules import Field

WIDTH = 120  # at most, of what is printed


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    takes.add_argument("config", nargs="?", default="", help="a config's name or file, with :kind,preset where it has")
    takes.add_argument("--json", action="store_true", help="values alone, as JSON")
    options = takes.parse_intermixed_args(arguments)
    try:
        with plain_errors():
            if options.json:
                print(json.dumps(_plain(options.config), indent=2), flush=True)
            else:
                print(described(options.config) if options.config else listed(), flush=True)
    except BrokenPipeError:  # what reads, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def listed() -> str:
    """The package's configs, a line each."""
    rows = [(name, summary(name)) for name in names()]
    return _aligned(rows) + "\n\nFields, kinds and presets of one: mocca config folder"


def described(spec: str) -> str:
    """A config's kinds and presets, and its fields in groups.

    Raises:
        UserError: there is no such config, or it cannot be used.
    """
    config = load(spec)
    check(config)
    name = spec.partition(":")[0]
    module = read(name)
    parts = [f"{spec}\n{summary(name)}"]
    for title, rows in (("kinds", kinds_of(module)), ("presets", presets_of(module))):
        parts += [f"{title.upper()}, after a colon\n{_aligned(rows.items())}"] if rows else []
    known = fields_of(config)
    for title, values in grouped(config):
        parts.append(f"{title.upper()}\n" + "\n".join(_field(f, value, known[f]) for f, value in values.items()))
    return "\n\n".join(parts)


def summary(name: str) -> str:
    """The first line of what a config file says of itself."""
    return (read(name).__doc__ or "").strip().partition("\n")[0]


def grouped(config: ConfigDict) -> Iterator[tuple[str, dict[str, Any]]]:
    """The config's values by the names that fields have on the command line, in groups, each with its title."""
    known = {name: field for name, field in fields_of(config).items() if name in config}
    for group in dict.fromkeys([*GROUPS, *(field.group for field in known.values())]):
        values = {name: config[name] for name, field in known.items() if field.group == group}
        if values:
            yield group, values
    stages = [name for name in config if isinstance(config[name], ConfigDict)]
    for stage in sorted(stages, key=lambda name: [*config.stages, *stages].index(name)):
        unused = "" if stage in config.stages else ", not in stages"
        yield (
            f"stage {stage}{unused}",
            {f"{stage}.{name}": config[stage][name] for name in STAGE_FIELDS if name in config[stage]},
        )


def _field(name: str, value: Any, field: Field) -> str:
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    unit = f" [{field.unit}]" if field.unit else ""
    lines = [field.meaning + unit, field.allowed]
    told = [textwrap.fill(line, width, initial_indent=" " * 6, subsequent_indent=" " * 6) for line in lines if line]
    return "\n".join([f"  {name} = {value!r}", *told])


def _aligned(rows: Any) -> str:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name.ljust(width)}  {text}".rstrip() for name, text in rows)


def _plain(spec: str) -> Any:
    """What `--json` prints."""
    if not spec:
        return {name: summary(name) for name in names()}
    config = load(spec)
    check(config)
    return json.loads(config.to_json())


if __name__ == "__main__":
    main()
