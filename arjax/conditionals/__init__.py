"""Conditionals: distribution families of one value given its features."""

import inspect

from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.bernoulli import Bernoulli
from arjax.conditionals.categorical import Categorical
from arjax.errors import UserError
from arjax.registry import did_you_mean, parse_call
from arjax.spec import EventSpec

__all__ = ["CONDITIONALS", "Bernoulli", "Categorical", "Conditional", "make_conditional"]


def make_conditional(text: str, event: EventSpec) -> Conditional:
    """The conditional named by a call string such as `categorical`, fitted to an event.

    Raises:
      UserError: an unknown name or option, or a family that cannot describe the event.
    """
    name, options = parse_call(text)
    build = CONDITIONALS.get(name).for_event
    known = list(inspect.signature(build).parameters)[1:]
    for key in options:
        if key not in known:
            raise UserError(f"conditional {name!r} has no option {key!r}{did_you_mean(key, known)}")
    return build(event, **options)
