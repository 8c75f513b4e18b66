"""Shared by all tests: warnings and silent broadcasting are errors, real data where it is at hand."""

import gc
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # configs/ and experiments/ are not installed

from mocca_jax import pipeline  # noqa: E402
from mocca_jax.console import pages  # noqa: E402
from mocca_jax.training import parallel  # noqa: E402
from tests import runs  # noqa: E402
from tests import woven as woven_textures  # noqa: E402

# Most tests compile much and compute little: code is made quickly, here and in the processes they start; `optimised` is
# for the others. XLA ends a process whose flags it does not know, so another process tries each of them first.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
jax.config.update("jax_disable_most_optimizations", True)
for quick in ("--xla_backend_optimization_level=1", "--xla_cpu_use_fusion_emitters=false"):
    known = os.environ.get("XLA_FLAGS", "")
    if quick.partition("=")[0] in known:
        continue
    tried = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{known} {quick}".strip()}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    if subprocess.run(command, env=tried, capture_output=True, check=False).returncode == 0:
        os.environ["XLA_FLAGS"] = tried["XLA_FLAGS"]

# As our commands: the processes that are started here have large pages of memory.
os.environ.update(pages.environment())

# Compiled programs are shared between tests and the processes they start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("MOCCA_CACHE_DIR", str(REPOSITORY / ".pytest_cache" / "mocca"))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)
# Whole runs use one of them: eight shares of a core are slow. Tests of many devices make their mesh themselves.
parallel.make_mesh.__defaults__ = parallel.own_mesh.__defaults__ = (1,)

# Files of tests that take longest, the longest first. They are begun first: one at the end would leave a core idle.
LONGEST = ("run", "hosts", "finish", "from_parts_to_page", "page_in_a_browser", "serve", "memory", "commands", "video")
LONGEST += ("video_resnet", "readme", "notebook", "efficientnet", "export", "folder", "content", "watch", "page")


@contextmanager
def optimising() -> Iterator[None]:
    """Programs round otherwise then: none is shared with what comes before or after."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
        jax.clear_caches()


@pytest.fixture
def optimised() -> Iterator[None]:
    """For tests that compute longer than they compile: readable convolutions in double precision."""
    with optimising():
        yield


@pytest.fixture(scope="module")
def optimised_file() -> Iterator[None]:
    """The same for all tests of a file: many pictures."""
    with optimising():
        yield


@pytest.fixture
def smoke() -> ConfigDict:
    """The smoke config: seconds on made-up images."""
    from mocca_jax.configs import smoke

    return smoke.get_config()


@pytest.fixture(scope="session")
def parts(tmp_path_factory) -> Path:
    """A folder of good images with a small test set, see `runs.good_and_flat`."""
    return runs.once(shared(tmp_path_factory) / "parts", runs.good_and_flat)


@pytest.fixture(scope="session")
def finished(parts, tmp_path_factory) -> Path:
    """Finished runs on whole images, `object`, on patches, `texture`, and on videos, `clip`."""
    folder = shared(tmp_path_factory) / "finished"
    folder.mkdir(exist_ok=True)
    return runs.make_all(parts, folder)


@pytest.fixture(scope="session")
def washers(tmp_path_factory) -> Path:
    """A folder of good washers with a small test set, see `runs.washers`."""
    return runs.once(shared(tmp_path_factory) / "washers", runs.washers)


@pytest.fixture(scope="session")
def untrained(washers, tmp_path_factory) -> Path:
    """A finished run of statistics, on `washers`."""
    folder = shared(tmp_path_factory) / "untrained"
    return runs.once(folder, lambda draft: pipeline.run(runs.untrained(washers), draft))


@pytest.fixture(scope="session")
def woven(tmp_path_factory) -> Path:
    """A folder of good textures with a small test set, see `woven.textures`."""
    return runs.once(shared(tmp_path_factory) / "woven", woven_textures.textures)


@pytest.fixture(scope="session")
def in_tiles(woven, tmp_path_factory) -> Path:
    """A finished run in tiles, on `woven`."""
    folder = shared(tmp_path_factory) / "in_tiles"
    with optimising():
        return runs.once(folder, lambda draft: pipeline.run(woven_textures.config_of(woven), draft))


@pytest.fixture(scope="session")
def crossings(tmp_path_factory) -> Path:
    """A folder of films, see `runs.crossings`."""
    return runs.once(shared(tmp_path_factory) / "crossings", runs.crossings)


@pytest.fixture(scope="session")
def movement(crossings, tmp_path_factory) -> Path:
    """A finished run of movement, on `crossings`."""

    def make(draft: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOCCA_CACHE_DIR", str(draft.parent / "movement_cache"))
            pipeline.run(runs.movement(crossings), draft)

    return runs.once(shared(tmp_path_factory) / "movement", make)


def shared(tmp_path_factory) -> Path:
    """A folder that the test session's processes share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def cifar10_dir() -> str:
    """A folder with a prepared CIFAR-10; tests that ask for it carry the marker `data`."""
    return os.environ["TFDS_DATA_DIR"]


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision for what a test computes.

    Two ways to compute the same, or the same on two machines, then differ by rounding far smaller than the distance of
    any activation from a kink (a leaky ReLU at zero, a tie in a pooling window), where gradients jump.
    """
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def browser() -> str | None:
    """A Chromium or Chrome of this machine; `MOCCA_BROWSER` names another."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("MOCCA_BROWSER") or next(filter(None, map(shutil.which, names)), None)


def lacking() -> dict[str, str]:
    """The markers of tests that cannot run here, and why."""
    folder, found = os.environ.get("TFDS_DATA_DIR", ""), {}
    if not (folder and any(Path(folder).glob("cifar10/*/dataset_info.json"))):
        found["data"] = "no prepared CIFAR-10 in TFDS_DATA_DIR"
    if not importlib.util.find_spec("jax2onnx"):
        found["onnx"] = "jax2onnx is not installed"
    if not browser():
        found["browser"] = "no Chromium found; MOCCA_BROWSER may name one. tests/test_page.py asks over plain HTTP"
    elif not importlib.util.find_spec("playwright"):
        found["browser"] = "playwright is not installed. tests/test_page.py asks over plain HTTP"
    return found


def pytest_terminal_summary(terminalreporter):
    for marker, why in lacking().items():
        terminalreporter.write_line(f"tests marked {marker} are left out: {why}")


def pytest_collection_finish():
    """Tracing makes many objects, for which Python would look through those of all modules again and again."""
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_collection_modifyitems(config, items):
    """Tests marked with what this machine lacks are left out, and said so; files that take longest come first."""
    missing = lacking()
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in missing)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))
