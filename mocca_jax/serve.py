"""`python -m mocca_jax.serve`, the same as `mocca serve`: see `mocca_jax.commands.serve`."""

from mocca_jax.commands.serve import Limits, main, make_app

__all__ = ["Limits", "main", "make_app"]

if __name__ == "__main__":
    main()
