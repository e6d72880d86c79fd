"""The one exception for a user's mistake."""


class UserError(ValueError):
    """A mistake of the user, told in one clear sentence.

    The command line prints the sentence and exits with code 2; from Python it is an ordinary `ValueError`.
    """
