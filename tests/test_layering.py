"""The floors of the house: a room imports only rooms below it; heavy libraries stay behind their fences."""

import ast
import graphlib
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "mocca_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the ground up; rooms of one floor do not know each other. docs/the-code.md shows the same.
FLOORS = (
    ("errors",),
    ("config", "console", "files", "method"),
    ("configs", "models", "data"),
    ("weights",),
    ("torch_weights",),
    ("training",),
    ("scoring",),
    ("outputs",),
    ("report",),
    ("pipeline",),
    ("detector",),
    ("export",),
    ("commands",),
    ("main", "predict", "serve", "film", "__main__"),
)
# Names of commands from before there were rooms: they stand in a room and only call a command.
OLD_COMMANDS = ("data/check.py", "data/background.py", "export/__main__.py", "report/__main__.py")
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def imports(path) -> set[str]:
    """All names a file imports, at any depth, as dotted paths."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(path) -> str:
    """`mocca_jax.data.images`, a package without `__init__`."""
    parts = ("mocca_jax", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def own_imports(path) -> set[str]:
    """The modules of the package that a file imports."""
    known = {name_of(module) for module in MODULES}
    found = set()
    for name in imports(path):
        while name and name not in known:
            name = name.rpartition(".")[0]
        found |= {name} if name else set()
    return found - {"mocca_jax", name_of(path)}


def room_of(name: str) -> str:
    return name.split(".")[1]


def test_a_room_imports_only_rooms_below_it():
    wrong = []
    for path in MODULES:
        where = path.relative_to(PACKAGE).as_posix()
        if where == "__init__.py" or where in OLD_COMMANDS:
            continue
        own = room_of(name_of(path))
        for name in own_imports(path):
            if room_of(name) != own and not HEIGHT[room_of(name)] < HEIGHT[own]:
                wrong.append(f"{where} imports {name}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {name_of(path): own_imports(path) for path in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_old_commands_only_call_a_command():
    for where in OLD_COMMANDS:
        assert len((PACKAGE / where).read_text().splitlines()) < 12
        assert {room_of(name) for name in own_imports(PACKAGE / where)} == {"commands"}


def test_the_root_stays_small_and_every_room_says_what_it_is_for():
    assert len(list(PACKAGE.glob("*.py"))) <= 9
    page = (REPOSITORY / "docs/the-code.md").read_text()
    for room in [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]:
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text())), room.name
        assert f"`{room.name}/`" in page, room.name


def test_the_method_knows_no_network_data_set_or_file():
    allowed = (
        "collections",
        "concurrent",
        "contextlib",
        "dataclasses",
        "functools",
        "jax",
        "numpy",
        "scipy",
        "sklearn",
        "threadpoolctl",
        "typing",
    )
    for path in (PACKAGE / "method").glob("*.py"):
        outside = [i for i in imports(path) if not i.startswith("mocca_jax.method.")]
        assert not [i for i in outside if i.split(".")[0] not in allowed and i != "flax.struct"], path.name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_heavy_libraries_stay_behind_their_fences(path):
    name, found = path.relative_to(PACKAGE).as_posix(), {i.split(".")[0] for i in imports(path)}
    fences = {
        "orbax": ("training/checkpoint.py",),
        "tensorflow_datasets": ("data/sets/cifar10_files.py",),
        "tensorboardX": ("training/log.py",),
        "tqdm": ("console/logs.py", "console/progress.py"),
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
