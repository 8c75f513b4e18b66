"""MOCCA on a folder of your own images.

python -m mocca_jax.main --config=configs/folder.py --config.data_dir=my_parts --workdir=runs/my_parts

`my_parts/train/good` with normal images is enough (or the images directly in `my_parts`); with `test/good` and
`test/<defect>` the run also reports AUC. After the colon: what is in the images, one of `KINDS`, and presets as in
configs/mvtec.py (`configs/folder.py:texture,quick`).
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets
from mocca_jax.configs import mvtec

KINDS = {
    "object": "The default: the whole image, resized to 128x128.",
    "rotatable": "The same, trained on rotated copies: parts that lie in any orientation.",
    "texture": "64x64 patches of images resized to 512 on the shorter side: surfaces with small defects.",
}
PRESETS = mvtec.PRESETS


def get_config(spec: str = "object") -> ConfigDict:
    kind, chosen = presets.split(spec, "configs/folder.py", KINDS, PRESETS)
    config = mvtec.base(kind)
    for name in chosen:
        PRESETS[name](config)
    return config
