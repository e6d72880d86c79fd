"""What calls that must not succeed say."""

import pytest

from arjax.core.errors import UserError


def refusal(call, *args, **options) -> str:
    """Returns the sentence with which a call is refused, "" where it is not."""
    try:
        call(*args, **options)
    except UserError as error:
        return str(error)
    return ""


def each_refused(*cases, given=tuple):
    """Returns a test that calls are refused: pairs of a call, of what `given` returns, and what its sentence names."""

    @pytest.mark.parametrize(("call", "sentence"), cases, ids=[sentence for _, sentence in cases])
    def test(call, sentence):
        with pytest.raises(UserError, match=sentence):
            call(*given())

    return test
