"""A few seconds on made-up images, or under a minute on made-up videos, to see that an installation works.

python -m mocca_jax.main --config=configs/smoke.py --workdir=/tmp/smoke
python -m mocca_jax.main --config=configs/smoke.py:clip --workdir=/tmp/smoke_clip
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets
from mocca_jax.configs import video_synthetic

KINDS = {
    "image": "The default: made-up images, a few seconds.",
    "clip": "Made-up videos, under a minute.",
}


def get_config(spec: str = "image") -> ConfigDict:
    kind, _ = presets.split(spec, "configs/smoke.py", KINDS)
    return _image() if kind == "image" else _clip()


def _clip() -> ConfigDict:
    config = video_synthetic.get_config("quick")
    config.videos = 3
    config.frame_size = (32, 32)
    config.clip_length = 8
    config.clips_per_epoch = 16
    config.code_size = 8
    config.layers = (0, 1)
    config.batch_size = 8
    return config


def _image() -> ConfigDict:
    config = ConfigDict()
    # Data
    config.data = "synthetic"
    config.data_dir = ""
    config.normal_class = 0
    config.scaling = "published"
    # Network
    config.encoder = "lenet"
    config.head = "mean"
    config.code_size = 16
    config.layers = (0, 1, 2, 3)
    config.formulation = "auto"
    # Method
    config.stages = ("reconstruction", "one_class")
    config.transfer = True
    config.boundary = "soft"
    config.nu = 0.1
    config.layer_reduction = "mean"
    config.hard_over_nu = True
    config.radius_warmup_epochs = 2
    config.radius_interval = 1
    config.centroid_push = 0.1
    config.score = "distance"
    config.score_norm = "squared"
    # Training
    config.batch_size = 48
    config.seed = 0
    config.checkpoint_seconds = 60.0
    config.accumulation = 1  # equal parts that a batch is computed in, for less memory
    config.rematerialisation = False  # True: activations are computed again for the gradient, for less memory
    config.compute_dtype = "float32"  # or "bfloat16": of convolutions and matrix products
    config.reconstruction = _stage(epochs=3, learning_rate=1e-3)
    config.one_class = _stage(epochs=5, learning_rate=1e-3)
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
