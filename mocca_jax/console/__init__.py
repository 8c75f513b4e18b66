"""What a person sees while a command works: progress and log lines, on standard error.

The lowest floor: imports nothing of the package but its errors. Nobody else imports tqdm.
"""

from mocca_jax.console.logs import add_flags, set_up, write_json
from mocca_jax.console.progress import Phase, steps

__all__ = ["Phase", "add_flags", "set_up", "steps", "write_json"]
