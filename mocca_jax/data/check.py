"""`python -m mocca_jax.data.check`, the same as `mocca check`: see `mocca_jax.commands.check`."""

from mocca_jax.commands.check import main, report

__all__ = ["main", "report"]

if __name__ == "__main__":
    main()
