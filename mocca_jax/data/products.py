"""A folder of products: a folder for each, which holds good pictures of that product as `layout.py` wants them.

    <folder>/<product>/train/good/**       and, where there is one, that product's test set and masks
    <folder>/<product>/**                  or good pictures directly in the product's folder

Of the second kind nothing tells it for certain from a folder of classes, defects or cameras: who means it has to say
so.
"""

from pathlib import Path

from mocca_jax.data import layout, listing
from mocca_jax.errors import UserError

OWN_PARTS = (layout.TRAIN, layout.TEST, layout.TRUTH)


def certain(folder: Path) -> bool:
    """Whether a folder is one of products, at least two, beyond doubt.

    Each folder in it that holds pictures has to have a train/ with good ones; there may be neither pictures directly in
    it nor a train/, test/ or ground_truth/ of its own.
    """
    if _own_parts(folder) or not any(path.is_dir() for path in folder.iterdir()):
        return False
    by_folder: dict[str, list[tuple[str, ...]]] = {}
    for path in listing.under(folder).pictures:
        first, *rest = path.relative_to(folder).parts
        by_folder.setdefault(first if rest else "", []).append(tuple(rest))
    return len(by_folder) > 1 and all(name and _trains(paths) for name, paths in by_folder.items())


def _trains(paths: list[tuple[str, ...]]) -> bool:
    """Whether pictures at these places in a folder make it one with good pictures to train on."""
    in_train = [path[1:] for path in paths if path[0].lower() == layout.TRAIN and len(path) > 1]
    try:
        return any(len(path) == 1 or layout.is_good(path[0]) for path in in_train)
    except UserError:
        return False


def folders(folder: Path, apart: Path | None = None) -> list[Path]:
    """The products' folders, in the order of their names; what is hidden, and what commands write, is none.

    Args:
        folder: exists.
        apart: a folder that is written to, which may lie in it.

    Raises:
        UserError: there is no folder in it, or it is laid out as one product.
    """
    if own := _own_parts(folder):
        raise UserError(
            f"{folder} has {' and '.join(f'{name}/' for name in own)} itself: it is one product, not a folder of "
            "products. Leave --products out, or name the folder above it"
        )
    found = sorted(path for path in folder.iterdir() if path.is_dir() and _is_meant(path, apart))
    if not found:
        raise UserError(f"{folder} holds no folders. Expected one for each product:\n{__doc__.split(chr(10), 2)[2]}")
    return found


def _own_parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.lower() in OWN_PARTS and path.is_dir())


def _is_meant(path: Path, apart: Path | None) -> bool:
    if path.name.startswith(".") or path.name.lower() in listing.LITTER:
        return False
    if apart is not None and (path.resolve() == apart.resolve() or path.resolve() in apart.resolve().parents):
        return False
    return not any((path / name).exists() for name in listing.OWN)
