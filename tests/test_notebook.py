"""The notebook is executed cell by cell, with fewer layers and epochs."""

import importlib.util
import os
import shutil
import tomllib

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

PARAMETERS = 1  # the cell that is meant to be changed


@pytest.fixture
def notebook():
    return nbformat.read(REPOSITORY / "docs/mocca_jax.ipynb", as_version=4)


def test_the_notebook_is_valid_and_carries_no_outputs(notebook):
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    assert notebook.cells[PARAMETERS].metadata.tags == ["parameters"]


def test_the_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=1")
    notebook.cells[PARAMETERS].source += "\nLAYERS, EPOCHS = (1,), 1"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.get("name") == "stdout")
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert text.count("AUC") >= 3 and "with the bar" in text
    assert len(pictures) == 3  # scores, ROC, examples with maps
    assert len(list(tmp_path.glob("runs/*/report.html"))) == 2


@pytest.mark.parametrize(
    ("there", "extra"),
    [
        ((), ""),
        (("nvidia-smi",), "[gpu12]"),
        (("nvidia-smi", "jax_cuda12_plugin"), "[gpu12]"),
        (("nvidia-smi", "jax_cuda13_plugin"), "[gpu]"),
        (("libtpu",), "[tpu]"),
    ],
)
def test_what_is_installed_fits_the_device_and_the_plugin_that_is_there(notebook, monkeypatch, there, extra):
    cell = next(cell.source for cell in notebook.cells if "def extra" in cell.source)
    names = {}
    exec(cell, names)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)
    assert names["extra"]() == extra
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra.strip("[]") in {"", *known}
