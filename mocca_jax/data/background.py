"""`python -m mocca_jax.data.background`, the same as `mocca background`: see `mocca_jax.commands.background`."""

from mocca_jax.commands.background import main, remove

__all__ = ["main", "remove"]

if __name__ == "__main__":
    main()
