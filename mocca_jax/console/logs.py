"""Log lines of a command: `12:01:33 what happened`, written above a progress bar where there is one."""

import argparse
import json
import logging as std_logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from absl import logging
from tqdm import tqdm

from mocca_jax.console import progress

LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}
PACKAGE = str(Path(__file__).parent.parent)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --quiet and --verbose; `set_up(options.verbosity)` does what they say."""
    group = parser.add_mutually_exclusive_group()
    for name, text in (("quiet", "only warnings and the result"), ("verbose", "also what helps to find a fault")):
        group.add_argument(f"--{name}", dest="verbosity", action="store_const", const=name, default="normal", help=text)


def set_up(verbosity: str = "normal") -> None:
    """For commands: our own messages and every warning, one line each; other libraries' chatter stays out.

    Args:
        verbosity: "quiet": warnings alone, and no progress; "normal"; "verbose": also debug messages, and progress once
            a second where there is no terminal.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not end a command
            stream.reconfigure(errors="backslashreplace")
    root = std_logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Lines) or h is logging.get_absl_handler()]:
        root.removeHandler(handler)
    root.addHandler(_Lines())
    logging.set_verbosity(LEVELS[verbosity])
    progress.silence(verbosity == "quiet")


def write_json(wanted: bool = True) -> None:
    """After `set_up`: every log line, warnings included, is one JSON object: `time`, `level`, `message` and the rest.

    What a record has as `fields` (`logger.info(..., extra={"fields": {...}})`) stands beside these.
    """
    std_logging.captureWarnings(wanted)
    for handler in std_logging.getLogger().handlers:
        if isinstance(handler, _Lines):
            handler.setFormatter(_Json() if wanted else _plain())


def _plain() -> std_logging.Formatter:
    return std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")


class _Json(std_logging.Formatter):
    """A record as one line of JSON; times in UTC."""

    def format(self, record: std_logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        trace = {"trace": self.formatException(record.exc_info)} if record.exc_info else {}
        return json.dumps(said | getattr(record, "fields", {}) | trace)


class _Lines(std_logging.Handler):
    """Writes to whatever standard error is now; a bar makes room for the line."""

    def __init__(self):
        super().__init__()
        self.setFormatter(_plain())
        self.addFilter(lambda record: record.levelno >= std_logging.WARNING or record.pathname.startswith(PACKAGE))

    def emit(self, record: std_logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
            sys.stderr.flush()
        except Exception:  # as every handler of the standard library: a log line must not end the program
            self.handleError(record)
