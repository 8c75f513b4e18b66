"""Errors a user can mend: they are shown as one message, without a traceback."""


class UserError(Exception):
    """Says what was found, what was wanted and what to do."""
