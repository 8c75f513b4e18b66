"""Command: make a detector of a folder of good pictures, or run what a config describes.

    mocca train my_parts
    mocca train my_parts --config=folder:texture alpha=0.01
    mocca train cifar10:quick normal_class=1 one_class.epochs=5
    mocca train parts --products

The first word is a folder of pictures or videos, or a config: its name, with kinds and presets after a colon, or a file
of one's own. `mocca config` lists the configs, `mocca config folder:texture` explains every field of one. Fields are
changed with NAME=VALUE.

A folder that holds a folder for each of several products makes a detector of each, in a folder of its own in --workdir,
and one table over all. Where each has a train/good, that is seen; where the pictures lie directly in the products'
folders, --products says it.

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
from mocca_jax.commands import several
from mocca_jax.commands.arguments import parser, plain_errors
from mocca_jax.config import files, typed
from mocca_jax.errors import UserError
from mocca_jax.files import kinds

STARTED = time.monotonic()
SOME_MISSING = 3  # exit code: there is a detector, and something else of the run could not be made


@dataclass(frozen=True)
class Options:
    """How a run is made, apart from its config.

    Raises:
        UserError: a number is too small, or there are not as many hosts.
    """

    coordinator: str | None = None
    hosts: int = 1
    host: int = 0
    lost_after: int = 30
    cpu_devices: int = 0
    keep_checkpoints: bool = False

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if (found := getattr(self, name)) < least:
                raise UserError(f"--{name}={found}: at least {least}: {HELP[name]}")
        if self.coordinator not in (None, "auto") and self.host >= self.hosts:
            raise UserError(f"--host={self.host} of --hosts={self.hosts}: they are numbered from 0")


HELP = {
    "coordinator": "several hosts: address:port of host 0; auto: as the cluster says",
    "hosts": "with --coordinator: how many hosts there are",
    "host": "with --coordinator: which of them this is, from 0",
    "lost_after": "with --coordinator: seconds without a sign of life before a host is given up",
    "cpu_devices": "CPU devices to spread a batch over; 0 = one per core",
    "keep_checkpoints": "keep all checkpoints of a finished run, not only what using it takes",
}
LEAST = {"hosts": 1, "host": 0, "lost_after": 1, "cpu_devices": 0}


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    given = takes().parse_intermixed_args(arguments)
    console.set_up(given.verbosity)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with plain_errors():
        options = Options(**{field: getattr(given, field) for field in vars(Options())})
        code = _products(given, options) if _is_of_products(given) else _one(given, options)
    if code:
        sys.exit(code)


def _one(given: argparse.Namespace, options: Options) -> int:
    """Makes one run; returns the exit code."""
    config, name = wanted(given)
    configs.check(config)
    workdir = given.workdir or Path("runs") / name
    code = execute(config, workdir, options)
    if given.host == 0:
        print(_next(config, workdir))
    return code


def _is_of_products(given: argparse.Namespace) -> bool:
    """Whether the first word is a folder of products.

    Raises:
        UserError: it has to be, and is no folder.
    """
    folder = Path(given.what).expanduser()
    if not folder.is_dir():
        if given.products:
            raise UserError(f"{given.what} is no folder; --products goes with a folder that holds one for each product")
        return False
    from mocca_jax.data import products

    return given.products or products.certain(folder)


def _products(given: argparse.Namespace, options: Options) -> int:
    """Trains all products of a folder; returns the exit code.

    Raises:
        UserError: there are none, or what is said of the config cannot be.
    """
    from mocca_jax.data import products

    if options.coordinator:
        raise UserError("several hosts train one product at a time: name its folder, or leave --coordinator out")
    folder = Path(given.what).expanduser()
    workdir = given.workdir or Path("runs") / _name(folder, given)
    made = {}
    for product in products.folders(folder, workdir):
        made[product.name], _ = wanted(argparse.Namespace(**{**vars(given), "what": str(product)}))
        configs.check(made[product.name])
    if (workdir / "config.json").exists():
        raise UserError(f"--workdir={workdir} holds the run of one product; name another folder")
    complete = several.run(made, workdir, options.cpu_devices, options.keep_checkpoints)
    print(f"look at {workdir}/<product>/report.html\nnext: mocca serve {workdir}")
    return 0 if complete else SOME_MISSING


def takes() -> argparse.ArgumentParser:
    """What the command takes."""
    made = parser(__doc__)
    made.add_argument("what", help="a folder of good pictures or of videos, or a config by its name or file")
    made.add_argument("fields", nargs="*", metavar="NAME=VALUE", help="a field of the config, and its value")
    made.add_argument("--config", help="of a folder: folder:texture, say (default: folder, or video for films)")
    made.add_argument("--products", action="store_true", help="the folder holds a folder for each of several products")
    made.add_argument("--workdir", type=Path, help="folder of the run (default: runs/ and a name made of the words)")
    for name, default in vars(Options()).items():
        of_its_kind = {"type": str if default is None else type(default), "default": default}
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
        config = files.load(spec)
        config.data_dir = str(folder)
    elif given.config:
        raise UserError(f"{given.what} is no folder; --config goes with a folder")
    else:
        config = _config(given.what)
    for field in given.fields:
        field_name, equals, text = field.partition("=")
        if not equals:
            raise UserError(f"{field!r}: a field is changed with NAME=VALUE, such as alpha=0.01")
        typed.set_field(config, field_name, text)
    return config, _name(folder, given)


def _name(folder: Path, given: argparse.Namespace) -> str:
    """Of a run: its words, put together."""
    name = folder.resolve().name if folder.is_dir() else given.what
    named = [given.config] if given.config else []
    words = [name.removesuffix(".py"), *named, *given.fields]
    return re.sub(r"[^\w.]+", "-", "-".join(words)).strip("-.")


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
            parallel.join(options.coordinator, options.hosts, options.host, options.lost_after)
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
