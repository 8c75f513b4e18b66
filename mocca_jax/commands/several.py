"""Several products are trained one after the other in one process; `mocca train` calls this.

What cannot be trained is told and does not stop the others. The same command goes on where it was stopped: finished
runs are not repeated.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from mocca_jax.errors import UserError


def run(configs: Mapping[str, ConfigDict], workdir: Path, cpu_devices: int, keep_checkpoints: bool) -> bool:
    """Trains a detector for each product, in `workdir/<product>`, and prints one table over all.

    Args:
        configs: by the products' names.
        workdir: of all runs.
        cpu_devices, keep_checkpoints: as for one run.

    Returns:
        Whether everything was made.
    """
    from mocca_jax.data import cache
    from mocca_jax.outputs import table
    from mocca_jax.training import interrupts, parallel

    parallel.configure(cpu_devices, str(cache.root() / "xla"))
    parallel.log_devices()
    found: dict[str, dict[str, Any] | str] = {}
    for number, (name, config) in enumerate(configs.items(), 1):
        logging.info("product %s, %d of %d", name, number, len(configs))
        try:
            found[name] = _one(config, workdir / name, keep_checkpoints)
        except interrupts.Interrupted as error:
            done = f"{len(found)} of {len(configs)} products are done"
            print(f"{error}; {done}; the same command goes on from there.", file=sys.stderr)
            sys.exit(error.exit_code)
    print(table.products(found))
    print(f"written to {workdir}, a folder for each product")
    return all(isinstance(result, dict) and not result.get("failed") for result in found.values())


def _one(config: ConfigDict, workdir: Path, keep_checkpoints: bool) -> dict[str, Any] | str:
    """The result, or why there is none."""
    from mocca_jax import pipeline
    from mocca_jax.training import interrupts

    try:
        return pipeline.run(config, workdir, keep_checkpoints=keep_checkpoints)
    except interrupts.Interrupted:
        raise
    except UserError as error:
        logging.error("%s", error)
        return str(error)
    except Exception as error:  # a fault in one product must not cost the others their detectors
        logging.exception("%s", workdir.name)
        return f"{type(error).__name__}: {error}"
