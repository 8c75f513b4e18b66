"""A detector from a folder of your own images.

python -m mocca_jax.main --config=configs/folder.py --config.data_dir=my_parts --workdir=runs/my_parts

`my_parts/train/good` with normal images is enough (or the images directly in `my_parts`); with `test/good` and
`test/<defect>` the run also reports AUC. By default nothing is trained: statistics of pretrained features, about half a
minute for 200 images on two cores. After the colon: one of `KINDS`, and for those that train presets as in
configs/mvtec.py (`configs/folder.py:texture,quick`).
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets
from mocca_jax.configs import mvtec

KINDS = {
    "pretrained": "The default: no training, statistics of pretrained features by place, 256x256.",
    "scratch": "No foreign weights: the network learns to find pasted pieces, then statistics as in the default.",
    "tiled": "No training: large pictures of textures with small defects, in tiles of 256x256.",
    "mocca": "The paper's method: the whole image, resized to 128x128; about ten minutes.",
    "rotatable": "The paper's method on rotated copies: parts that lie in any orientation.",
    "texture": "The paper's method on 64x64 patches at 512 pixels: surfaces with small defects.",
}
BY_STATISTICS = ("pretrained", "scratch", "tiled")
PRESETS = {name: preset for name, preset in mvtec.PRESETS.items() if name != "pretrained"}


def get_config(spec: str = "pretrained") -> ConfigDict:
    kind, chosen = presets.split(spec, "configs/folder.py", KINDS, PRESETS)
    if kind in BY_STATISTICS and chosen:
        raise ValueError(
            f"{', '.join(chosen)} is for kinds of the paper's method: name one, as in "
            f"configs/folder.py:mocca,{','.join(chosen)}"
        )
    config = mvtec.base("object" if kind in (*BY_STATISTICS, "mocca") else kind)
    if kind in BY_STATISTICS:
        mvtec.PRESETS["pretrained"](config)
    if kind == "scratch":
        _scratch(config)
    if kind == "tiled":
        config.resize = 0  # as the picture is; or its shorter side, pixels
        config.tile = 256  # side of a tile, pixels
        config.overlap = 32  # of neighboring tiles, pixels
    for name in chosen:
        PRESETS[name](config)
    return config


def _scratch(config: ConfigDict) -> None:
    """The network is trained here: on windows of the good pictures, some with a piece pasted in."""
    config.encoder = "resnet8"
    config.normalize = "symmetric"
    config.layers = (1, 2, 3)
    config.fine_layers = (1, 2)
    config.stages = ("pasted",)
    config.pasted = ConfigDict(
        {
            "epochs": 60,
            "learning_rate": 0.05,
            "milestones": (),
            "weight_decay": 5e-4,
            "batch_norm": "train",
            "optimizer": "sgd",
            "schedule": "one_cycle",
        }
    )
