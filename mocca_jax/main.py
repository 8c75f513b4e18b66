"""Command: train and evaluate what a config describes.

    python -m mocca_jax.main --config=configs/cifar10.py:quick --workdir=runs/automobile --config.normal_class=1

The same command again goes on where the run was stopped, or prints the finished result.
"""

import time

STARTED = time.monotonic()

import faulthandler  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from mocca_jax import console  # noqa: E402
from mocca_jax.errors import UserError  # noqa: E402

CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/, with :preset where it has some.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command again goes on in it.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several hosts: address:port of host 0; auto: as the cluster says."
)
HOSTS = flags.DEFINE_integer("hosts", 1, "With --coordinator: how many hosts there are.", 1)
HOST = flags.DEFINE_integer("host", 0, "With --coordinator: which of them this is, from 0.", 0)
KEEP_CHECKPOINTS = flags.DEFINE_boolean("keep_checkpoints", False, "Keep each stage's checkpoints of a finished run.")
QUIET = flags.DEFINE_boolean("quiet", False, "Say warnings and the result alone.")
VERBOSE = flags.DEFINE_boolean("verbose", False, "Say also what helps to find a fault.")
CPU_DEVICES = flags.DEFINE_integer("cpu_devices", 0, "CPU devices to spread a batch over; 0 = one per core.", 0)


def main(argv: list[str]) -> None:
    """One run; errors that the user can mend end the program with one message."""
    del argv
    verbosity = "quiet" if QUIET.value else "verbose" if VERBOSE.value else "normal"
    console.set_up(verbosity)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    import jax

    from mocca_jax import pipeline
    from mocca_jax.data import cache
    from mocca_jax.outputs import table
    from mocca_jax.training import interrupts, parallel

    parallel.configure(CPU_DEVICES.value, str(cache.root() / "xla"))
    try:
        if COORDINATOR.value:
            faulthandler.disable()  # JAX ends a program that lost the others with a message; no traces after it
            parallel.join(COORDINATOR.value, HOSTS.value, HOST.value)
        if not parallel.is_first_host():
            console.set_up("quiet")
        parallel.log_devices()
        result = pipeline.run(
            CONFIG.value, WORKDIR.value, on_first_step=_log_first_step, keep_checkpoints=KEEP_CHECKPOINTS.value
        )
    except UserError as error:
        _end(f"error: {error}", several=parallel.hosts() > 1)
    except interrupts.Interrupted as error:
        print(f"{error}; the same command goes on from there.", file=sys.stderr)
        sys.exit(error.exit_code)
    except jax.errors.JaxRuntimeError as error:
        if parallel.hosts() == 1:
            raise
        message = f"error: this host lost the others: {str(error).splitlines()[0][:200]}"
        _end(message + "\nStart all of them again with the same command: they go on from the last checkpoint.", True)
    if parallel.is_first_host():
        print(table.text(result))
        print(f"written to {WORKDIR.value}")


def _end(message: str, several: bool) -> None:
    """Leaves the program with a message; several hosts without an orderly end, which would wait for the others."""
    if not several:
        sys.exit(message)
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


def _log_first_step() -> None:
    logging.info("first training step %.1f s after the program's start", time.monotonic() - STARTED)


def parse_flags(argv: list[str]) -> list[str]:
    """Flags from the command line; a wrong one ends the program with one message."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"unknown arguments: {' '.join(rest[1:])}")
        if QUIET.value and VERBOSE.value:
            raise UserError("--quiet and --verbose: one of them")
        if CONFIG.value is None or WORKDIR.value is None:
            raise UserError("--config and --workdir are needed, as in\n" + __doc__.splitlines()[2].strip())
        CONFIG.value.keys  # noqa: B018 (a config file that could not be read raises here)
        return rest
    except (UserError, flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(f"error: {_plain(error)}")


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
    run()
