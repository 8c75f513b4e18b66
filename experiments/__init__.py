"""Experiments and benchmarks: they use mocca_jax and the configs, and nothing uses them."""
