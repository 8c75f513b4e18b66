"""Command: train and evaluate what a config describes.

python -m mocca_jax.main --config=configs/cifar10.py:quick --workdir=runs/automobile --config.normal_class=1
"""

import time

STARTED = time.monotonic()

import logging as std_logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from mocca_jax.errors import UserError  # noqa: E402

CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/, with :preset where it has some.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command again goes on in it.")
CPU_DEVICES = flags.DEFINE_integer("cpu_devices", 0, "CPU devices to spread a batch over; 0 = one per core.", 0)


def main(argv: list[str]) -> None:
    del argv
    _set_up_logging()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from mocca_jax import interrupts, parallel, pipeline, results
    from mocca_jax.data import cache

    parallel.configure(CPU_DEVICES.value, str(cache.root() / "xla"))
    parallel.log_devices()
    try:
        result = pipeline.run(CONFIG.value, WORKDIR.value, on_first_step=_log_first_step)
    except UserError as error:
        sys.exit(f"error: {error}")
    except interrupts.Interrupted as error:
        print(f"{error}; the same command goes on from there.", file=sys.stderr)
        sys.exit(error.exit_code)
    print(results.table(result))
    print(f"written to {WORKDIR.value}")


def _log_first_step() -> None:
    logging.info("first training step %.1f s after the program's start", time.monotonic() - STARTED)


def _set_up_logging() -> None:
    """Our own messages and every warning, one line each; other libraries' chatter stays out."""
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    here = os.path.dirname(__file__)
    handler.addFilter(lambda record: record.levelno >= std_logging.WARNING or record.pathname.startswith(here))


def parse_flags(argv: list[str]) -> list[str]:
    """Flags from the command line; a wrong one ends the program with one message."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"unknown arguments: {' '.join(rest[1:])}")
        if CONFIG.value is None or WORKDIR.value is None:
            raise UserError("--config and --workdir are needed, as in\n" + __doc__.strip().splitlines()[-1])
        CONFIG.value.keys  # noqa: B018 (a config file that could not be read raises here)
        return rest
    except (UserError, flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        message = error.args[0] if error.args and isinstance(error, KeyError) else error
        sys.exit(f"error: {message}")


def run() -> None:
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    run()
