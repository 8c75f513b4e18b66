"""MOCCA on made-up videos of moving shapes whose anomalies are certain: fast, large, or backwards.

python -m mocca_jax.main --config=configs/video_synthetic.py --workdir=runs/moving

After a colon: `PRESETS`, those of configs/video.py that need no data, several joined by commas.
"""

from ml_collections import ConfigDict

from mocca_jax.config import presets
from mocca_jax.configs import video

PRESETS = {name: video.PRESETS[name] for name in ("quick", "reconstruct", "untrained")}


def get_config(spec: str = "") -> ConfigDict:
    _, chosen = presets.split(spec, "configs/video_synthetic.py", presets=PRESETS)
    config = video.base()
    config.data = "moving"
    for field in ("layout", "foreground", "one_camera"):
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
    for name in chosen:
        PRESETS[name](config)
    return config
