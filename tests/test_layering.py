"""Imports go one way, heavy libraries stay behind their fences."""

import ast
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "mocca_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path) -> set[str]:
    """All names a file imports, at any depth, as dotted paths."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", ["frames", "hypersphere", "losses", "metrics", "scores", "threshold", "timeline"])
def test_the_method_knows_no_network_data_set_or_file(name):
    allowed = ("collections", "dataclasses", "jax", "numpy", "scipy", "sklearn")
    found = imports(PACKAGE / f"method/{name}.py")
    assert not [i for i in found if i.split(".")[0] not in allowed and not i.startswith("mocca_jax.method.")]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_heavy_libraries_stay_behind_their_fences(path):
    name, found = path.relative_to(PACKAGE).as_posix(), {i.split(".")[0] for i in imports(path)}
    fences = {
        "orbax": ("training/checkpoint.py",),
        "tensorflow_datasets": ("data/sets/cifar10_files.py",),
        "tensorboardX": ("outputs/results.py",),
        "matplotlib": ("report/plots.py", "report/overlays.py"),
        "cv2": ("data/films.py",),
    }
    assert not [library for library, home in fences.items() if library in found and name not in home]
    assert "ml_collections.config_flags" not in imports(path) or name == "main.py"
    assert "jax.sharding" not in {i.rsplit(".", 1)[0] for i in imports(path)} or name == "training/parallel.py"


@pytest.mark.parametrize(
    "name", ["training/step", "training/loop", "training/stages", "scoring/evaluate", "training/handover"]
)
def test_training_and_scoring_name_no_data_set(name):
    assert not re.search(r"cifar|mvtec|digits|shanghai", (PACKAGE / f"{name}.py").read_text(), re.IGNORECASE)


def test_importing_the_package_pulls_in_nothing_heavy():
    script = "import mocca_jax, sys; print([m for m in ('jax', 'flax', 'orbax', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_files_stay_small():
    assert [p.name for p in MODULES if len(p.read_text().splitlines()) > 300] == []
