"""The exception for mistakes of users, and other exceptions in a few words."""


class UserError(ValueError):
    """A mistake of the user, described in one clear sentence.

    The command line prints the sentence and exits with code 2; from Python it is an ordinary `ValueError`.
    """


def describe(error: BaseException) -> str:
    """`ValueError: the first line of its message`."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")
