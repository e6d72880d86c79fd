"""What a call that must not succeed says."""

from arjax.core.errors import UserError


def refusal(call, *args, **options) -> str:
    """Returns the sentence with which a call is refused, "" where it is not."""
    try:
        call(*args, **options)
    except UserError as error:
        return str(error)
    return ""
