"""MOCCA on the handwritten digits of scikit-learn: a first run, no download.

python -m mocca_jax.main --config=configs/digits.py --workdir=runs/digits

One digit is normal, the others are anomalies. Another digit: --config.normal_class=3.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Data
    config.data = "digits"
    config.data_dir = ""
    config.normal_class = 0
    config.scaling = "published"
    # Network
    config.encoder = "lenet"
    config.head = "mean"
    config.code_size = 32
    config.layers = (0, 1, 2, 3)
    config.formulation = "auto"
    # Method
    config.stages = ("reconstruction", "one_class")
    config.transfer = True
    config.boundary = "soft"
    config.nu = 0.1
    config.layer_reduction = "mean"
    config.hard_over_nu = True
    config.radius_warmup_epochs = 10
    config.radius_interval = 1
    config.centroid_push = 0.1
    config.score = "distance"
    config.score_norm = "squared"
    # Training
    config.batch_size = 32
    config.seed = 0
    config.checkpoint_seconds = 60.0
    config.accumulation = 1  # equal parts that a batch is computed in, for less memory
    config.rematerialisation = False  # True: activations are computed again for the gradient, for less memory
    config.compute_dtype = "float32"  # or "bfloat16": of convolutions and matrix products
    config.reconstruction = _stage(epochs=100, learning_rate=1e-3)
    config.one_class = _stage(epochs=100, learning_rate=1e-4)
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
