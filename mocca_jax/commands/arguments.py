"""What the commands' arguments share: help with defaults, places that may be named with or without a flag."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mocca_jax import console
from mocca_jax.errors import UserError


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as it is written, and every default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or isinstance(action.default, bool)
        return action.help if silent else super()._get_help_string(action)


def parser(module_docstring: str) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring, without its first word `Command:`."""
    return argparse.ArgumentParser(
        description=module_docstring.removeprefix("Command: "), formatter_class=_Help, allow_abbrev=False
    )


def begin(takes: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """What the arguments say; log and progress are as they want them."""
    console.add_flags(takes)
    options = takes.parse_intermixed_args(arguments)
    console.set_up(options.verbosity)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return options


def add_place(to: argparse.ArgumentParser, name: str, said: str, many: bool = False, **how: Any) -> None:
    """An argument that may be given by its place or as `--name`: `mocca predict runs/a` or `--run=runs/a`."""
    to.add_argument(f"{name}_", metavar=name.upper(), nargs="*" if many else "?", help=said, **how)
    to.add_argument(f"--{name}", action="append" if many else "store", help=argparse.SUPPRESS, **how)


def place(options: argparse.Namespace, name: str, wanted: str | None = None) -> Any:
    """What `add_place` was given; with `wanted`, which says what it is, it has to be there.

    Raises:
        UserError: it is absent, or given in both ways.
    """
    first, flag = getattr(options, f"{name}_"), getattr(options, name)
    if first and flag:
        raise UserError(f"{name} is given twice: {first} and --{name}={flag}")
    found = first or flag
    if wanted and not found:
        raise UserError(f"{wanted} is missing; --help shows how to give it")
    return found


def add_by(to: argparse.ArgumentParser) -> None:
    """`--by`: what decides."""
    to.add_argument("--by", choices=("score", "map"), help="score or largest value of the map (default: the run's)")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with one message where the user can mend what is wrong."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
