"""`python -m mocca_jax.export`, the same as `mocca export`: see `mocca_jax.export.artifact`."""

from mocca_jax.export.artifact import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
