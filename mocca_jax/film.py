"""`python -m mocca_jax.film`, the same as `mocca film`: see `mocca_jax.report.film`."""

from mocca_jax.report.film import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
