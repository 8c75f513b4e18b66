"""MOCCA on MVTec AD, one category (paper, section V-C, Tables III to V).

python -m mocca_jax.main --config=configs/mvtec.py:grid --workdir=runs/grid --config.boundary=soft

After the colon: the category, one of `KINDS`, and `PRESETS`, below, joined by commas (`configs/mvtec.py:grid,quick`).
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets

TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
ROTATABLE = ("bottle", "hazelnut", "metal_nut", "screw")
OTHERS = ("capsule", "toothbrush", "cable", "pill", "transistor", "zipper")
CATEGORIES = (*TEXTURES, *ROTATABLE, *OTHERS)
KINDS = {  # the first is what `quick` alone means
    **dict.fromkeys(("grid", *TEXTURES), "A texture: 64x64 patches of the image, 512 on the shorter side."),
    **dict.fromkeys(ROTATABLE, "Parts in any orientation: the whole image at 128x128, trained on rotated copies."),
    **dict.fromkeys(OTHERS, "Parts that lie alike: the whole image at 128x128."),
}


def get_config(spec: str = "grid") -> ConfigDict:
    category, chosen = presets.split(spec, "configs/mvtec.py", KINDS, PRESETS)
    if "pretrained" in chosen and len(chosen) > 1:
        others = ", ".join(name for name in chosen if name != "pretrained")
        raise ValueError(f"configs/mvtec.py: pretrained trains nothing; it goes without {others}")
    kind = "texture" if category in TEXTURES else "rotatable" if category in ROTATABLE else "object"
    config = base(kind)
    config.data = "mvtec"
    config.category = category
    config.fit = "crop"
    for name in chosen:
        PRESETS[name](config)
    return config


def base(kind: str) -> ConfigDict:
    """Everything that MVTec AD and one's own folders share."""
    texture = kind == "texture"
    config = ConfigDict()
    # Data
    config.data = "folder"
    config.data_dir = ""
    config.resize = 512 if texture else 128  # shorter side, pixels
    config.fit = "stretch"  # objects of unequal sides: all of the image; "crop": the central square
    config.patch = 64 if texture else 0  # side of the patches; 0 = whole images
    config.rotation = {"texture": (0.0, 45.0), "rotatable": (-45.0, 45.0), "object": (0.0, 0.0)}[kind]  # degrees
    config.repeats = 4 if texture else 1  # times each image is drawn per epoch, each time augmented afresh
    config.heldout_fraction = 0.1  # of the normal images: threshold and p-values
    config.split_seed = 0
    config.alpha = 0.05  # share of good images that may be flagged
    config.depth = 0  # bits that count in images of more than 8; 0 = as the file says
    config.unreadable = "error"  # or "skip"
    # Network
    config.encoder = "resnet"
    config.head = "selector"
    config.code_size = 128
    config.layers = (4, 5, 6)  # the best soft row of Table VII
    config.formulation = "auto"
    # Method
    config.stages = ("reconstruction", "one_class")
    config.transfer = True
    config.boundary = "soft"
    config.nu = 0.1
    config.layer_reduction = "mean"
    config.hard_over_nu = True
    config.radius_warmup_epochs = 5
    config.radius_interval = 1
    config.centroid_push = 0.1
    config.score = "distance"
    config.score_norm = "squared"
    # Anomaly maps: of these methods, the one that finds made-up defects on held-out images best
    config.maps = ("features", "patches") if texture else ("features", "positions", "scaled_positions")
    config.map_stride = 32  # pixels between the patches of "patches"
    config.least_region = 0  # pixels of a picture as it came: smaller regions are left out
    config.overlays = 100  # test images drawn with their map, the most anomalous first; and the report's examples
    # Training
    config.batch_size = 16
    config.seed = 0
    config.checkpoint_seconds = 60.0
    config.accumulation = 1  # equal parts that a batch is computed in, for less memory
    config.rematerialisation = False  # True: activations are computed again for the gradient, for less memory
    config.compute_dtype = "float32"  # or "bfloat16": of convolutions and matrix products
    config.reconstruction = _stage(epochs=6, learning_rate=1e-3)
    config.one_class = _stage(epochs=12, learning_rate=1e-3)
    return config


def _stage(epochs: int, learning_rate: float) -> ConfigDict:
    return ConfigDict(
        {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "milestones": (),
            "weight_decay": 5e-7,
            "batch_norm": "train",
        }
    )


def _laptop(config: ConfigDict) -> None:
    """The default: epochs that end in about ten minutes on two CPU cores."""


def _quick(config: ConfigDict) -> None:
    """A few minutes."""
    config.reconstruction.epochs = 2
    config.one_class.epochs = 3


def _long(config: ConfigDict) -> None:
    """Ten times the epochs of `laptop`, an hour and a half; on *bottle* it found fewer defects."""
    config.reconstruction.epochs = 60
    config.one_class.epochs = 120


def _paper(config: ConfigDict) -> None:
    """The published 50,000 training samples per epoch and batch of 128, for a GPU or TPU."""
    config.batch_size = 128
    config.repeats = 200  # of 250 images: 50,000 samples; about epochs the paper is silent


def _all_layers(config: ConfigDict) -> None:
    """Layers 4, 5, 6, 7 instead of 4, 5, 6."""
    config.layers = (4, 5, 6, 7)


def _reconstruct(config: ConfigDict) -> None:
    """The reconstruction error of the auto-encoder as the score: a baseline."""
    config.stages = ("reconstruction",)
    config.score = "reconstruction"
    config.maps = ("reconstruction",)


def _untrained(config: ConfigDict) -> None:
    """The encoder as initialised, no training: a baseline."""
    config.stages = ("one_class",)
    config.one_class.epochs = 0


def _pretrained(config: ConfigDict) -> None:
    """No training: statistics of the features of EfficientNet-Lite0, which has seen a million photographs. A minute."""
    config.resize = 256
    config.fit = "stretch"
    config.patch = 0
    config.rotation = (0.0, 0.0)
    config.repeats = 1
    config.heldout_fraction = 0.0  # every image is left out once
    config.encoder = "efficientnet_lite0"
    config.weights = ""  # the installed package's, or a file
    config.normalize = "lite"
    config.head = "activation"
    config.layers = (2, 4, 7, 10)  # ends of blocks, in cells of 16 pixels
    config.fine_layers = (2, 4)  # and in cells half as large
    config.cell = 16
    config.tile = 0  # side of the tiles that large pictures are looked at in; 0: whole pictures
    config.overlap = 0  # of neighboring tiles, pixels
    config.stages = ()
    config.score = "statistics"
    config.maps = ("statistics",)
    for stage in ("reconstruction", "one_class"):
        del config[stage]


PRESETS = {
    "laptop": _laptop,
    "quick": _quick,
    "long": _long,
    "paper": _paper,
    "all_layers": _all_layers,
    "reconstruct": _reconstruct,
    "untrained": _untrained,
    "pretrained": _pretrained,
}
