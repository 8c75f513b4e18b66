"""`python -m mocca_jax.report`, the same as `mocca report`: see `mocca_jax.commands.report`."""

from mocca_jax.commands.report import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
