"""What people type: each module is one command, with `main(arguments)`. `python -m mocca_jax` names them all."""
