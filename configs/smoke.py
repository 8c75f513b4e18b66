"""A few seconds on made-up images, to see that an installation works.

python -m mocca_jax.main --config=configs/smoke.py --workdir=/tmp/smoke
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
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
