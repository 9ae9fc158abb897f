"""The one exception that means: what was given cannot be used, and here is what to do."""


class MaxViTError(ValueError):
    """A mistake in what the user gave: its message names what came, what is allowed and what to do.

    The command line prints the message as one sentence and exits with code 2.
    """
