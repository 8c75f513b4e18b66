"""`python -m mocca_jax.film`, the same as `mocca film`: see `mocca_jax.commands.film`."""

from mocca_jax.commands.film import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
