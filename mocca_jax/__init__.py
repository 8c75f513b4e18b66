"""mocca_jax: multi-layer one-class anomaly detection (MOCCA) for images and video, in JAX and Flax.

- A trained model in use: `mocca_jax.detector.Detector`, also as `mocca_jax.Detector`.
- From a config to a trained model: `mocca_jax.pipeline.run`.
- The method, pure functions of arrays: `mocca_jax.hypersphere`, `mocca_jax.losses`, `mocca_jax.scores`,
  `mocca_jax.metrics`, `mocca_jax.threshold`.
- What can be added to: `mocca_jax.losses`, `mocca_jax.models`, `mocca_jax.models.heads`, `mocca_jax.data`,
  `mocca_jax.stages`, `mocca_jax.maps`.
- Commands: `mocca_jax.main` (train), `mocca_jax.predict`, `mocca_jax.report`, `mocca_jax.export`, `mocca_jax.serve`,
  `mocca_jax.film`, `mocca_jax.data.check`, `mocca_jax.data.background`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocca_jax.detector import Detector as Detector

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Detector` is imported when it is first asked for: JAX takes a second."""
    if name == "Detector":
        from mocca_jax.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
