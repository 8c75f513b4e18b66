"""mocca_jax: multi-layer one-class anomaly detection (MOCCA) for images and video, in JAX and Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocca_jax.detector import Detector

__all__ = ["Detector", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Detector` is imported when it is first asked for: JAX takes a second."""
    if name == "Detector":
        from mocca_jax.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
