"""MVTec AD (Bergmann et al. 2019): the fifteen categories, the paper's figures, where the data is."""

import os
from pathlib import Path

from mocca_jax.data import Dataset
from mocca_jax.data.sets import folder
from mocca_jax.errors import UserError

# Paper, Table IV: AUC, soft and hard boundary.
PAPER_AUC = {
    "carpet": (0.86, 0.74),
    "grid": (0.87, 0.81),
    "leather": (0.98, 0.95),
    "tile": (0.89, 0.85),
    "wood": (1.00, 0.97),
    "bottle": (0.95, 0.93),
    "cable": (0.76, 0.72),
    "capsule": (0.82, 0.79),
    "hazelnut": (0.80, 0.78),
    "metal_nut": (0.85, 0.84),
    "pill": (0.82, 0.73),
    "screw": (0.84, 0.80),
    "toothbrush": (0.97, 0.95),
    "transistor": (0.88, 0.84),
    "zipper": (0.84, 0.82),
}


def load(config) -> Dataset:
    """One category, from `data_dir`, else `MOCCA_DATA_DIR`/mvtec, else `~/mvtec`.

    Raises:
        UserError: the category is not there; the message says where the data comes from.
    """
    soft, hard = PAPER_AUC.get(config.category, (None, None))
    figures = {"soft": f"{soft:.2f}", "hard": f"{hard:.2f}"} if soft else {}
    return folder.from_folder(config, where(config), f"MVTec AD {config.category}", figures)


def files(config) -> dict[str, str]:
    """As `folder.files`."""
    return folder.files_of(where(config))


def where(config) -> Path:
    """The folder of the category; raises UserError where it is not there."""
    root = data_dir(config.data_dir)
    if not (root / config.category).is_dir():
        raise UserError(
            f"{root / config.category} is absent. MVTec AD is downloaded by hand from\n"
            "  https://www.mvtec.com/company/research/datasets/mvtec-ad (CC BY-NC-SA 4.0)\n"
            "and unpacked so that <data_dir>/<category>/train/good holds images; then pass --config.data_dir, or set "
            "MOCCA_DATA_DIR to the folder that holds mvtec/."
        )
    return root / config.category


def data_dir(configured: str) -> Path:
    """The folder of categories: as configured, else `MOCCA_DATA_DIR`/mvtec, else ~/mvtec."""
    if configured:
        return Path(configured).expanduser()
    shared = os.environ.get("MOCCA_DATA_DIR")
    return Path(shared) / "mvtec" if shared else Path("~/mvtec").expanduser()
