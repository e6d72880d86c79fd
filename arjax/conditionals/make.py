"""A conditional from its call string."""

from __future__ import annotations

import inspect

from arjax.conditionals.base import CONDITIONALS, USUAL, Conditional
from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean, parse_call
from arjax.core.spec import EventSpec


def make_conditional(text: str, event: EventSpec, block_size: int = 1) -> Conditional:
    """The conditional named by a call string such as `categorical` ("": the usual one), fitted to an event.

    `block_size` is M, the sites of the largest step: a family whose own parameters depend on it has that argument.

    Raises:
      UserError: an unknown name or option, or a family that cannot describe the event.
    """
    name, options = parse_call(text or USUAL[event.kind])
    build = CONDITIONALS.get(name).for_event
    parameters = inspect.signature(build).parameters
    known = list(parameters)[1:]
    for key in ("event", "block_size"):
        if key in options:
            raise UserError(f"conditional {name!r} has no option {key!r}")
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())  # and checks them itself
    for key in options:
        if key not in known and not takes_more:
            raise UserError(f"conditional {name!r} has no option {key!r}{did_you_mean(key, known)}")
    return build(event, **options | ({"block_size": block_size} if "block_size" in parameters else {}))
