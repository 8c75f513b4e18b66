"""`python -m mocca_jax.predict`, the same as `mocca predict`: see `mocca_jax.commands.predict`."""

from mocca_jax.commands.predict import main, predict

__all__ = ["main", "predict"]

if __name__ == "__main__":
    main()
