"""Command: train and evaluate what a config describes.

    python -m mocca_jax.main --config=configs/cifar10.py:quick --workdir=runs/automobile --config.normal_class=1

The same command again goes on where the run was stopped, or prints the finished result. `mocca train` does the same
with fewer words.
"""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from mocca_jax import config as configs
from mocca_jax import console
from mocca_jax.commands import train
from mocca_jax.config import files
from mocca_jax.console import pages
from mocca_jax.errors import UserError

DEFAULT = train.Options()
CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/, with :preset where it has some.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command again goes on in it.")
COORDINATOR = flags.DEFINE_string("coordinator", DEFAULT.coordinator, train.HELP["coordinator"])
HOSTS = flags.DEFINE_integer("hosts", DEFAULT.hosts, train.HELP["hosts"])
HOST = flags.DEFINE_integer("host", DEFAULT.host, train.HELP["host"])
LOST_AFTER = flags.DEFINE_integer("lost_after", DEFAULT.lost_after, train.HELP["lost_after"])
CPU_DEVICES = flags.DEFINE_integer("cpu_devices", DEFAULT.cpu_devices, train.HELP["cpu_devices"])
KEEP_CHECKPOINTS = flags.DEFINE_bool("keep_checkpoints", DEFAULT.keep_checkpoints, train.HELP["keep_checkpoints"])
QUIET = flags.DEFINE_bool("quiet", False, "Only warnings and the result.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Also what helps to find a fault.")


def main(argv: list[str]) -> int:
    """One run, and its exit code; errors that the user can mend end the program with one message."""
    del argv
    console.set_up("quiet" if QUIET.value else "verbose" if VERBOSE.value else "normal")
    return train.execute(CONFIG.value, Path(WORKDIR.value), _options())


def parse_flags(argv: list[str]) -> list[str]:
    """Flags from the command line; a wrong one ends the program with one message, before anything is started.

    A config file that does not exist is looked up among the package's own.
    """
    try:
        argv = [_found(word) for word in argv]
        sys.argv = argv  # where the config's own flags are looked for
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"unknown arguments: {' '.join(rest[1:])}")
        if QUIET.value and VERBOSE.value:
            raise UserError("--quiet and --verbose: one of them")
        if CONFIG.value is None or WORKDIR.value is None:
            raise UserError("--config and --workdir are needed, as in\n" + __doc__.splitlines()[2].strip())
        CONFIG.value.keys  # noqa: B018 (a config file that could not be read raises here)
        configs.check(CONFIG.value)
        _options()
        return rest
    except (UserError, flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(f"error: {_plain(error)}")


def _options() -> train.Options:
    """What the flags say of how the run is made; refuses what cannot be."""
    of_hosts = (COORDINATOR.value, HOSTS.value, HOST.value, LOST_AFTER.value)
    return train.Options(*of_hosts, CPU_DEVICES.value, KEEP_CHECKPOINTS.value)


def _found(word: str) -> str:
    flag, equals, spec = word.partition("=")
    if flag not in ("--config", "-config") or not equals:
        return word
    name, colon, presets = spec.partition(":")
    if Path(name).is_file():
        return word
    return f"{flag}={files.find(name)}{colon}{presets}"


def _plain(error: Exception) -> str:
    """The message: the innermost of errors that wrap errors; without a trace where a preset is unknown."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    if isinstance(error, KeyError):
        return f"the config has no field {error.args[0]}"
    message = str(error)
    trace, _, last = message.rpartition("\nValueError: ")  # what a config's `get_config` said
    return f"{trace.partition(': Error whilst')[0]}: {last.strip()}" if "Traceback" in trace else message


def run() -> None:
    """The command, see above."""
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    pages.restart()
    run()
