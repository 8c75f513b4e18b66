"""`python -m mocca_jax.report`, the same as `mocca report`: see `mocca_jax.report.page`."""

from mocca_jax.report.page import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
