"""`python -m mocca_jax`, the same as `mocca`."""

from mocca_jax.commands import main

if __name__ == "__main__":
    main()
