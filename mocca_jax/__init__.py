"""mocca_jax: multi-layer one-class anomaly detection (MOCCA) for images and video, in JAX and Flax."""

__version__ = "0.1.0"
