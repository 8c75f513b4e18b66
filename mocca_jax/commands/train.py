"""Command: make a detector of a folder of good pictures, or run what a config describes.

    mocca train my_parts
    mocca train my_parts --config=folder:texture alpha=0.01
    mocca train cifar10:quick normal_class=1 one_class.epochs=5

The first word is a folder of pictures or videos, or a config: its name, with kinds and presets after a colon, or a file
of one's own. `mocca config` lists the configs, `mocca config folder:texture` explains every field of one. Fields are
changed with NAME=VALUE.

The run is kept in --workdir. The same command again goes on where it was stopped, or prints the finished result.

The exit code is 0 when all was made, 3 when the detector was made and something else was not (the same command makes
what is missing), 1 when nothing could be done, 130 or 143 when it was stopped.
"""

import argparse
import faulthandler
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from mocca_jax import config as configs
from mocca_jax import console
from mocca_jax.commands.arguments import parser, plain_errors
from mocca_jax.config import files, typed
from mocca_jax.errors import UserError
from mocca_jax.files import kinds

STARTED = time.monotonic()
SOME_MISSING = 3  # exit code: there is a detector, and something else of the run could not be made


@dataclass(frozen=True)
class Options:
    """How a run is made, apart from its config."""

    coordinator: str | None = None
    hosts: int = 1
    host: int = 0
    cpu_devices: int = 0
    keep_checkpoints: bool = False


HELP = {
    "coordinator": "several hosts: address:port of host 0; auto: as the cluster says",
    "hosts": "with --coordinator: how many hosts there are",
    "host": "with --coordinator: which of them this is, from 0",
    "cpu_devices": "CPU devices to spread a batch over; 0 = one per core",
    "keep_checkpoints": "keep all checkpoints of a finished run, not only what using it takes",
}


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    given = takes().parse_intermixed_args(arguments)
    console.set_up(given.verbosity)
    with plain_errors():
        config, name = wanted(given)
        configs.check(config)
        workdir = given.workdir or Path("runs") / name
        code = execute(config, workdir, Options(**{field: getattr(given, field) for field in vars(Options())}))
    if given.host == 0:
        print(_next(config, workdir))
    if code:
        sys.exit(code)


def takes() -> argparse.ArgumentParser:
    """What the command takes."""
    made = parser(__doc__)
    made.add_argument("what", help="a folder of good pictures or of videos, or a config by its name or file")
    made.add_argument("fields", nargs="*", metavar="NAME=VALUE", help="a field of the config, and its value")
    made.add_argument("--config", help="of a folder: folder:texture, say (default: folder, or video for films)")
    made.add_argument("--workdir", type=Path, help="folder of the run (default: runs/ and a name made of the words)")
    for name, default in vars(Options()).items():
        of_its_kind = {"type": type(default or ""), "default": default}
        how = {"action": "store_true"} if isinstance(default, bool) else of_its_kind
        made.add_argument(f"--{name}", help=HELP[name], **how)
    console.add_flags(made)
    return made


def wanted(given: argparse.Namespace) -> tuple[ConfigDict, str]:
    """The config that the words ask for, and a name for its run.

    Raises:
        UserError: there is no such folder, config or field.
    """
    folder = Path(given.what).expanduser()
    if folder.is_dir():
        spec = given.config or ("video" if holds_films(folder) else "folder")
        config, name = files.load(spec), folder.resolve().name
        config.data_dir = str(folder)
        named = [given.config] if given.config else []
    elif given.config:
        raise UserError(f"{given.what} is no folder; --config goes with a folder")
    else:
        config, name, named = _config(given.what), given.what, []
    for field in given.fields:
        field_name, equals, text = field.partition("=")
        if not equals:
            raise UserError(f"{field!r}: a field is changed with NAME=VALUE, such as alpha=0.01")
        typed.set_field(config, field_name, text)
        named.append(field)
    return config, re.sub(r"[^\w.]+", "-", "-".join([name.removesuffix(".py"), *named])).strip("-.")


def _config(spec: str) -> ConfigDict:
    try:
        return files.load(spec)
    except UserError as error:
        if spec.partition(":")[0] in files.names() or Path(spec.partition(":")[0]).suffix == ".py":
            raise
        raise UserError(f"{error}; nor is it a folder") from error


def holds_films(folder: Path) -> bool:
    """Whether a folder holds videos: films, or frames laid out as ShanghaiTech's or UCSD's; not beside train/good."""
    if any((folder / name).is_dir() for name in ("training/frames", "training/videos", "Train/Train001")):
        return True
    names = (name for _, _, files in os.walk(folder) for name in files)
    return not (folder / "train/good").is_dir() and any(name.lower().endswith(kinds.FILMS) for name in names)


def execute(config: ConfigDict, workdir: Path, options: Options) -> int:
    """Runs the config and prints its result; errors that the user can mend end the program with one message.

    Where several hosts work together, the first one prints.

    Returns:
        The exit code: 0, or `SOME_MISSING`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    import jax

    from mocca_jax import pipeline
    from mocca_jax.data import cache
    from mocca_jax.outputs import table
    from mocca_jax.training import interrupts, parallel

    parallel.configure(options.cpu_devices, str(cache.root() / "xla"))
    try:
        if options.coordinator:
            faulthandler.disable()  # JAX ends a program that lost the others with a message; no traces after it
            parallel.join(options.coordinator, options.hosts, options.host)
        if not parallel.is_first_host():
            console.set_up("quiet")
        parallel.log_devices()
        result = pipeline.run(config, workdir, on_first_step=_log_first_step, keep_checkpoints=options.keep_checkpoints)
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
        print(f"written to {workdir}")
    return SOME_MISSING if result.get("failed") else 0


def _end(message: str, several: bool) -> None:
    """Leaves the program with a message; several hosts without an orderly end, which would wait for the others."""
    if not several:
        sys.exit(message)
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


def _log_first_step() -> None:
    from absl import logging

    logging.info("first training step %.1f s after the program's start", time.monotonic() - STARTED)


def _next(config: ConfigDict, workdir: Path) -> str:
    """What one does with a finished run."""
    new = "new_videos/" if "frame_size" in config else "new_pictures/"
    uses = f"mocca predict {workdir} {new}" if config.data in ("folder", "mvtec", "video") else ""
    return f"look at {workdir}/report.html" + (f"\nnext: {uses}" if uses else "")
