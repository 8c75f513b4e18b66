"""A run on normal pictures that a caller hands over, without the command line."""

import glob
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mocca_jax import pipeline
from mocca_jax.data.sets import folder


def run(normal: Any, config: ConfigDict, workdir: Path) -> None:
    """Trains on normal pictures.

    Args:
        normal, config: as for `Detector.fit`.
        workdir: of the run.

    Raises:
        UserError: as the training command.
    """
    config = config.copy_and_resolve_references()
    if isinstance(normal, str | Path) and (os.path.isdir(normal) or not glob.has_magic(str(normal))):
        config.data_dir = str(normal)
        pipeline.run(config, workdir)
        return
    pictures = folder.Given(normal)
    config.data_dir = pictures.name
    pipeline.run(config, workdir, load=pictures.load)
