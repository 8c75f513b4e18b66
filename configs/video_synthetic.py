"""MOCCA on made-up videos of moving shapes whose anomalies are certain: fast, large, or backwards.

python -m mocca_jax.main --config=configs/video_synthetic.py --workdir=runs/moving

Presets after a colon: those of configs/video.py that need no data (`quick`, `reconstruct`, `untrained`).
"""

from ml_collections import ConfigDict

from configs import video


def get_config(spec: str = "") -> ConfigDict:
    config = video.base()
    config.data = "moving"
    for field in ("layout", "foreground"):
        del config[field]
    config.videos = 12
    config.frame_size = (32, 64)
    config.gray = True
    config.frame_differences = "signed"
    config.clip_length = 8
    config.clips_per_epoch = 800
    config.heldout_fraction = 0.25
    config.planted = ("speed3", "backwards", "object")
    config.head = "places"
    config.cells = (4, 8)
    config.centroid_push = 0.0
    config.batch_size = 16
    config.joint.epochs = 5
    for name in filter(None, spec.split(",")):
        if name not in ("quick", "reconstruct", "untrained"):
            raise ValueError(
                f"unknown preset {name!r} of configs/video_synthetic.py; known: quick, reconstruct, untrained"
            )
        video.PRESETS[name](config)
    return config
