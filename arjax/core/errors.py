"""The exception for mistakes of users."""


class UserError(ValueError):
    """A mistake of the user, described in one clear sentence.

    The command line prints the sentence and exits with code 2; from Python it is an ordinary `ValueError`.
    """
