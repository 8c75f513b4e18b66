"""`python -m mocca_jax`, the same as `mocca`."""

from mocca_jax.commands import start

if __name__ == "__main__":
    start()
