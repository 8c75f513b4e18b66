"""Unusual moments in videos of a fixed camera; MOCCA on videos, trained end to end (paper, section V-D, Table VI).

python -m mocca_jax.main --config=configs/video.py --config.data_dir=my_videos --workdir=runs/my_videos
python -m mocca_jax.main --config=configs/video.py:ped2 --workdir=runs/ped2

`my_videos` holds films or folders of frames, all normal; with train/ and test/ in it, test videos are scored too.
ShanghaiTech's and UCSD's layouts are recognised, with frame labels. By default nothing is trained: statistics of
optical flow by place. After the colon: one of `KINDS`, and for the paper's network `PRESETS`, several joined by commas
(`configs/video.py:ped2,published`).
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets

KINDS = {
    "flow": "The default: no training, statistics of optical flow by place; as fast as a camera.",
    "mocca": "The paper's method: clips of 16 frames of 64x96, a causal network; about twenty minutes.",
}


def get_config(spec: str = "flow") -> ConfigDict:
    kind, chosen = presets.split(spec, "configs/video.py", KINDS, PRESETS)
    config = base()
    if kind == "flow" and not chosen:
        _flow(config)
    elif "flow" in spec.split(","):
        raise ValueError(f"{', '.join(chosen)} is for the paper's network: leave flow out")
    for name in chosen:
        PRESETS[name](config)
    return config


def base() -> ConfigDict:
    config = ConfigDict()
    # Data
    config.data = "video"
    config.data_dir = ""
    config.layout = "auto"
    config.one_camera = True
    config.foreground = False  # True: frames without background, see mocca_jax.data.background
    config.frame_size = (64, 96)  # rows, columns; divisible by 32
    config.gray = False
    config.frame_differences = "none"  # or "signed", "absolute": each frame less the one before is the input
    config.clip_length = 16
    config.clip_stride = 1  # frames between the clips to draw from
    config.clips_per_epoch = 400
    config.score_stride = 1  # frames between the clips that are scored
    config.heldout_fraction = 0.1  # of the training videos, at least one: threshold, p-values, scale of the two terms
    config.split_seed = 0
    config.alpha = 0.05
    config.planted = ("speed2", "object")  # made-up anomalies in the held-out videos; "backwards" where it is one
    # Network
    config.encoder = "video_resnet"
    config.head = "lstm"  # or "selector_lstm", "mean", "places"
    config.cells = (8, 12)  # of "places": rows and columns that a layer's map is averaged down to
    config.lstm_size = 100
    config.lstm_layers = 1
    config.lstm_bidirectional = False
    config.lstm_dropout = 0.0
    config.code_size = 256
    config.layers = (0, 1, 2, 3, 4, 5, 6)
    config.formulation = "auto"
    # Method
    config.stages = ("joint",)
    config.transfer = True
    config.reconstruction_weight = 1.0  # as published: the one-class terms are then tiny beside it
    config.boundary = "soft"
    config.nu = 0.1
    config.layer_reduction = "mean"
    config.hard_over_nu = True
    config.radius_warmup_epochs = 1
    config.radius_interval = 1
    config.centroid_push = 0.1
    config.score = "combined"  # or "distance", "reconstruction"
    config.score_norm = "squared"
    # Training
    config.batch_size = 4
    config.seed = 0
    config.checkpoint_seconds = 60.0
    config.accumulation = 1  # equal parts that a batch is computed in, for less memory
    config.rematerialisation = False  # True: activations are computed again for the gradient, for less memory
    config.compute_dtype = "float32"  # or "bfloat16": of convolutions and matrix products
    config.joint = ConfigDict(
        {"epochs": 4, "learning_rate": 1e-3, "milestones": (), "weight_decay": 5e-7, "batch_norm": "train"}
    )
    return config


def _flow(config: ConfigDict) -> None:
    """The default kind."""
    config.frame_size = (0, 0)  # as the videos are, halved until no side is longer than 640
    config.gray = True
    config.heldout_fraction = 0.0  # every video is left out once
    config.alpha = 0.01
    config.planted = ("speed2", "slow", "still", "object", "run", "large")
    config.encoder = "flow"
    config.head = "activation"
    config.layers = (0, 1, 2, 3)  # cells of 8, 16, 32, 64 pixels
    config.stages = ()
    config.score = "motion"
    config.batch_size = 64
    del config.joint


def _folder(config: ConfigDict) -> None:
    """The paper's network at small frames, ends in about twenty minutes on two CPU cores."""


def _ped2(config: ConfigDict) -> None:
    """UCSD Ped2, gray; looked for in MOCCA_DATA_DIR/ped2. Frame differences, a distance for each place.

    The largest distance of all places of the picture counts.
    """
    config.data_dir = "ped2"
    config.gray = True
    config.frame_differences = "absolute"
    config.clip_length = 8
    config.head = "places"
    config.centroid_push = 0.0  # differences are near zero wherever nothing moves
    config.batch_size = 16
    config.clips_per_epoch = 1200


def _published(config: ConfigDict) -> None:
    """The published method at small frames: LSTM heads on frames, not on differences."""
    config.frame_differences = "none"
    config.clip_length = 16
    config.head = "lstm"
    config.centroid_push = 0.1
    config.batch_size = 4
    config.clips_per_epoch = 400


def _shanghaitech(config: ConfigDict) -> None:
    """ShanghaiTech, without its background; `paper` gives the published sizes."""
    config.data_dir = "shanghaitech"
    config.layout = "shanghaitech"
    config.foreground = True


def _paper(config: ConfigDict) -> None:
    """Clips of 16 frames of 256x512, batch 4, code 1024, 10,000 clips per epoch, for a GPU or TPU.

    The published program's background removal has to be done before (`mocca_jax.data.background`).
    """
    _published(config)
    config.frame_size = (256, 512)
    config.code_size = 1024
    config.clips_per_epoch = 10_000
    config.radius_warmup_epochs = 5
    config.joint.learning_rate = 1e-4
    config.joint.epochs = 10


def _quick(config: ConfigDict) -> None:
    """A few minutes."""
    config.clips_per_epoch = 100
    config.joint.epochs = 3


def _reconstruct(config: ConfigDict) -> None:
    """The reconstruction error as the score."""
    config.score = "reconstruction"


def _untrained(config: ConfigDict) -> None:
    """The network as initialised: a baseline."""
    config.joint.epochs = 0


PRESETS = {
    "folder": _folder,
    "ped2": _ped2,
    "shanghaitech": _shanghaitech,
    "published": _published,
    "paper": _paper,
    "quick": _quick,
    "reconstruct": _reconstruct,
    "untrained": _untrained,
}
