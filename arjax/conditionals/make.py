"""A conditional from its call string."""

from __future__ import annotations

import inspect

from arjax.conditionals.base import CONDITIONALS, USUAL, Conditional
from arjax.core.registry import parse_call
from arjax.core.spec import EventSpec


def make_conditional(text: str, event: EventSpec, block_size: int = 1) -> Conditional:
    """The conditional named by a call string such as `categorical` ("": the usual one), fitted to an event.

    `block_size` is M, the sites of the largest step: a family with parameters that depend on it has that argument.

    Raises:
      UserError: an unknown name or option, or a family that cannot describe the event.
    """
    text = text or USUAL[event.kind]
    build = CONDITIONALS.get(parse_call(text)[0]).for_event
    more = {"block_size": block_size} if "block_size" in inspect.signature(build).parameters else {}
    return CONDITIONALS.call(text, event, **more)
