"""MOCCA on CIFAR-10, one class normal (paper, section V-B, Table I).

python -m mocca_jax.main --config=configs/cifar10.py --workdir=runs/cifar10 \
    --config.normal_class=1 --config.boundary=soft

After a colon: `PRESETS`, below, several joined by commas (`configs/cifar10.py:quick,deep_svdd`).
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets


def get_config(spec: str = "paper") -> ConfigDict:
    _, chosen = presets.split(spec, "configs/cifar10.py", presets=PRESETS)
    config = ConfigDict()
    # Data
    config.data = "cifar10"
    config.data_dir = ""  # "": TFDS_DATA_DIR, else ~/tensorflow_datasets
    config.normal_class = 1
    config.scaling = "published"  # or "data": extremes of the training images; "none": from -1 to 1
    config.normalize = "symmetric"  # with scaling = "none": or as a pretrained encoder wants it
    config.enlarged = 0  # side that images are enlarged to, for pretrained encoders; 0 = as they are
    config.watched = 0  # training images that are kept apart, to tell how well a pretext is learned
    # Network
    config.encoder = "lenet"
    config.head = "mean"
    config.code_size = 128  # section IV-D
    config.layers = (0, 1, 2, 3)
    config.weights = ""  # of a pretrained encoder: a file; "" = those that are installed
    config.formulation = "auto"  # or "plain", "rewritten": the same numbers, other speed
    # Method
    config.stages = ("reconstruction", "one_class")
    config.transfer = True  # section III: the encoder starts from stage one
    config.boundary = "soft"  # Eq. 2; "hard": Eq. 3
    config.nu = 0.1  # section IV-D: in [0, 0.1]
    config.layer_reduction = "mean"  # Eq. 4; "sum" as published
    config.hard_over_nu = True  # Eq. 3; False as published
    config.radius_warmup_epochs = 10  # not in the paper; as published
    config.radius_interval = 1  # steps; "at regular intervals" in the paper
    config.centroid_push = 0.1  # not in the paper; as published; 0 = off
    config.score = "distance"  # Eq. 6; or "reconstruction"
    config.score_norm = "squared"  # Eq. 6; or "l2"
    config.distance = "centroid"  # Eq. 6; or to statistics: "euclid", "whitened", "neighbours", "cosine"
    config.score_views = "plain"  # or "mirrored", "turned", "turned_and_mirrored": averaged, with statistics
    config.layer_weights = "equal"  # or "made_up": by made-up defects on watched images, with statistics
    # Training
    config.batch_size = 256  # section IV-D
    config.seed = 0
    config.checkpoint_seconds = 60.0
    config.accumulation = 1  # equal parts that a batch is computed in, for less memory
    config.rematerialisation = False  # True: activations are computed again for the gradient, for less memory
    config.compute_dtype = "float32"  # or "bfloat16": of convolutions and matrix products
    config.reconstruction = _stage(epochs=350, learning_rate=1e-3, milestones=(250,))
    config.one_class = _stage(epochs=150, learning_rate=1e-4, milestones=(50,))
    for name in chosen:
        PRESETS[name](config)
    return config


def _stage(epochs: int, learning_rate: float, milestones: tuple[int, ...]) -> ConfigDict:
    return ConfigDict(
        {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "milestones": milestones,
            "weight_decay": 5e-7,
            "optimizer": "adam",  # or "sgd"
            "schedule": "steps",  # at milestones; or "one_cycle"
            "batch_norm": "train",  # or "eval": with running statistics, which then stay as they are
        }
    )


def _paper(config: ConfigDict) -> None:
    """The default: the paper's learning rates, code size and batch size; Deep SVDD's epochs, as the paper is silent.

    All four layers: the paper picks layers per class and does not list them.
    """


def _reference(config: ConfigDict) -> None:
    """What the published program computes, accidents included.

    Sum over layers, no 1/nu in the hard loss, one learning rate, no hand-over of pre-trained weights, batch-norm in
    inference mode in stage two.
    """
    config.layer_reduction = "sum"
    config.hard_over_nu = False
    config.transfer = False
    config.one_class.batch_norm = "eval"
    config.reconstruction.learning_rate = 1e-4


def _quick(config: ConfigDict) -> None:
    """25 + 25 epochs without milestones, for a laptop."""
    _without_milestones(config, 25)


def _double(config: ConfigDict) -> None:
    """50 + 50 epochs: whether training longer closes the gap between `quick` and the paper."""
    _without_milestones(config, 50)


def _without_milestones(config: ConfigDict, epochs: int) -> None:
    for stage in (config.reconstruction, config.one_class):
        stage.epochs = epochs
        stage.milestones = ()


def _deep_svdd(config: ConfigDict) -> None:
    """The last layer only: the paper's "holistic" baseline."""
    config.layers = (3,)


def _dcae(config: ConfigDict) -> None:
    """The reconstruction error of the auto-encoder as the score: a baseline."""
    config.stages = ("reconstruction",)
    config.score = "reconstruction"


def _rotation(config: ConfigDict) -> None:
    """Not the paper's: a thin residual network learns which of four ways an image is turned; the directions of its
    features, in all four and mirrored, are compared with the nearest normal images'. Five minutes on two cores."""
    _residual(config, "rotation", epochs=36)


def _pretrained(config: ConfigDict) -> None:
    """Not the paper's: nothing is trained; the direction of an ImageNet network's features is compared."""
    config.scaling = "none"
    config.encoder = "efficientnet_lite0"
    config.normalize = "lite"
    config.enlarged = 128
    config.layers = (15,)
    config.stages = ()
    config.distance = "cosine"
    config.score_views = "mirrored"
    config.batch_size = 64


def _residual(config: ConfigDict, pretext: str, epochs: int) -> None:
    config.scaling = "none"
    config.watched = 500
    config.encoder = "resnet8"
    config.layers = (3,)
    config.head = "whole"
    config.stages = (pretext,)
    config.distance = "cosine"
    config.score_views = "turned_and_mirrored"
    config.batch_size = 16  # images, each in four views
    config[pretext] = _stage(epochs, learning_rate=0.05, milestones=())
    config[pretext].weight_decay = 5e-4
    config[pretext].optimizer = "sgd"
    config[pretext].schedule = "one_cycle"


PRESETS = {
    "paper": _paper,
    "reference": _reference,
    "quick": _quick,
    "double": _double,
    "deep_svdd": _deep_svdd,
    "dcae": _dcae,
    "rotation": _rotation,
    "pretrained": _pretrained,
}
