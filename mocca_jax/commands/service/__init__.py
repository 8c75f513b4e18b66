"""The web service of `mocca serve`: what it answers, what bodies it takes, where it listens.

`mocca_jax.commands.serve` is the command. FastAPI and uvicorn are imported by the modules here and by nothing else, and
these modules only when a service is made.
"""
