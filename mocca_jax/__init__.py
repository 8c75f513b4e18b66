"""mocca_jax: multi-layer one-class anomaly detection (MOCCA) for images and video, in JAX and Flax.

- A trained model in use: `mocca_jax.detector.Detector`, also as `mocca_jax.Detector`.
- From a config to a trained model: `mocca_jax.pipeline.run`.
- The method, pure functions of arrays: `hypersphere`, `losses`, `scores`, `metrics`, `threshold` in `mocca_jax.method`.
- What can be added to: `mocca_jax.method.losses`, `mocca_jax.models`, `mocca_jax.models.heads`, `mocca_jax.data`,
  `mocca_jax.training.stages`, `mocca_jax.scoring.maps`.
- Commands: `python -m mocca_jax`.

`from mocca_jax import losses` and the like work for every name in `PUBLIC`, wherever its module lies.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocca_jax.detector import Detector as Detector

__version__ = "0.1.0"

# Names that are imported when they are first asked for: JAX takes a second.
PUBLIC = {
    "Detector": "mocca_jax.detector",
    "FrameScorer": "mocca_jax.scoring.streaming",
    "hypersphere": "mocca_jax.method.hypersphere",
    "losses": "mocca_jax.method.losses",
    "maps": "mocca_jax.scoring.maps",
    "metrics": "mocca_jax.method.metrics",
    "scores": "mocca_jax.method.scores",
    "stages": "mocca_jax.training.stages",
    "threshold": "mocca_jax.method.threshold",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(PUBLIC[name])
    return module if module.__name__.endswith(f".{name}") else getattr(module, name)
