"""MOCCA on a folder of your own images.

python -m mocca_jax.main --config=configs/folder.py --config.data_dir=my_parts --workdir=runs/my_parts

`my_parts/train/good` with normal images is enough (or the images directly in `my_parts`); with `test/good` and
`test/<defect>` the run also reports AUC. After the colon: what is in the images, and presets as in
configs/mvtec.py (`configs/folder.py:texture,quick`).
  object     default: the whole image, resized to 128x128.
  rotatable  the same, trained on rotated copies: parts that lie in any orientation.
  texture    64x64 patches of images resized to 512 on the shorter side: surfaces with small defects.
"""

from ml_collections import ConfigDict

from configs import mvtec

KINDS = ("object", "rotatable", "texture")


def get_config(spec: str = "object") -> ConfigDict:
    first, *rest = spec.split(",")
    kind, presets = (first, rest) if first in KINDS else ("object", [first, *rest])
    config = mvtec.base(kind)
    mvtec.apply_presets(config, presets, "configs/folder.py (kinds: " + ", ".join(KINDS) + ")")
    return config
