"""Config files: those of the package, found by name from any folder, and one's own.

A config file is Python with a function `get_config()`, or `get_config(spec)` where `spec` is what follows a colon. It
may start from another: `from mocca_jax.configs import mvtec`.
"""

import contextlib
import importlib.util
import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from mocca_jax.config.nearest import suggestion
from mocca_jax.errors import UserError

PACKAGE = "configs"


def packaged() -> Path:
    """The folder of the package's own config files; in a checkout a link to its top-level `configs/`."""
    return Path(__file__).resolve().parents[1] / PACKAGE


def names() -> list[str]:
    """The package's own configs."""
    return sorted(path.stem for path in packaged().glob("[!_]*.py"))


def load(spec: str) -> ConfigDict:
    """The config of `folder`, `folder:texture,quick`, `configs/folder.py:texture` or `/path/to/own.py:spec`.

    A file in `configs/` that is not there is the package's own of that name.

    Raises:
        UserError: no such config, kind or preset; the nearest is named. Or the file cannot be read.
    """
    name, _, words = spec.partition(":")
    path = find(name)
    with _told(path, words):
        get_config = _executed(path).get_config
        if words and not inspect.signature(get_config).parameters:
            raise UserError(f"{name} has no kinds and no presets: leave ':{words}' out")
        config = get_config(words) if words else get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config() must return an ml_collections.ConfigDict, not {config!r}")
    return config


def read(name: str) -> ModuleType:
    """A config file as a module: its docstring, `KINDS`, `PRESETS` and `get_config`.

    Raises:
        UserError: as `load`.
    """
    path = find(name)
    with _told(path, ""):
        return _executed(path)


def find(name: str) -> Path:
    """The file of a config's name or path, without what follows the colon.

    Raises:
        UserError: there is none; the nearest name is in the message.
    """
    path = Path(name).expanduser()
    is_path = path.suffix == ".py"
    if is_path and path.is_file():
        return path.absolute()
    if path.parent.name in ("", PACKAGE) and path.stem in names() and (is_path or name == path.stem):
        return packaged() / f"{path.stem}.py"
    what = "config file" if is_path else "config"
    raise UserError(f"there is no {what} {name!r}{suggestion(path.stem, names())}")


def _executed(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} is no config: it has no function get_config()")
    return module


@contextlib.contextmanager
def _told(path: Path, words: str) -> Iterator[None]:
    """Faults of a config file as one message, with the line where they happened."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a config file is a program and may raise anything
        if words and isinstance(error, ValueError):  # what `get_config` says of the words after the colon
            raise UserError(str(error)) from error
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error
