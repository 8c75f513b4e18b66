"""`python -m mocca_jax.export`, the same as `mocca export`: see `mocca_jax.commands.export`."""

from mocca_jax.commands.export import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
