"""Pretrained weights: from an installed package or a file, without PyTorch, without unpickling, never downloaded.

found = weights.load("efficientnet_lite0")
model.apply(found.variables, image, mask, False, method="encode", mutable=["features"])
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mocca_jax import models
from mocca_jax.errors import UserError
from mocca_jax.weights import efficientnet, imagenet_resnet, packaged, state_dict, vit

CONVERTERS: dict[str, Callable[..., tuple[dict[str, Any], int]]] = {
    **dict.fromkeys(models.efficientnet.SIZES, efficientnet.variables),
    **dict.fromkeys(models.imagenet_resnet.SIZES, imagenet_resnet.variables),
    **dict.fromkeys(models.vit.SIZES, vit.variables),
}


@dataclass(frozen=True)
class Record:
    """Where weights came from: to be kept with what was made of them."""

    name: str  # of the encoder
    source: str  # a distribution and its version, or a file's name
    sha256: str  # of the file
    arrays: int  # that were used

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Loaded:
    """`variables` are what `models.build(...).apply` takes."""

    variables: dict[str, Any]
    record: Record


def load(encoder: str, path: str | Path | None = None, deepest: int | None = None) -> Loaded:
    """The weights of an encoder: of the package that has them, or of a file.

    Args:
        encoder: a name in `CONVERTERS`.
        path: a `.safetensors`, `.npz`, `.pth` or `.pt` file; None: the installed package.
        deepest: the last layer whose weights are wanted; None: all.

    Raises:
        UserError: unknown encoder, nothing there, or not this encoder's weights; says what to do.
    """
    if encoder not in CONVERTERS:
        raise UserError(f"there are no pretrained weights for {encoder!r}, only for {', '.join(CONVERTERS)}")
    wanted = Path(path).expanduser() if path else packaged.locate(encoder)
    arrays, sha256 = state_dict.read_with_digest(wanted)
    if not path:
        packaged.check(encoder, sha256, wanted)
    source = packaged.description(encoder) if not path else wanted.name
    variables, count = CONVERTERS[encoder](arrays, encoder, deepest)
    return Loaded(variables, Record(encoder, source, sha256, count))
