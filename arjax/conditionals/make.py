"""A conditional from its call string."""

from __future__ import annotations

import inspect

from arjax.conditionals.base import CONDITIONALS, USUAL, Conditional
from arjax.core.spec import EventSpec


def make_conditional(text: str, event: EventSpec, block_size: int = 1) -> Conditional:
    """The conditional named by a call string such as `categorical` ("": the usual one), fitted to an event.

    `block_size` is M, the sites of the largest step: a family with parameters that depend on it has that argument.

    Raises:
      UserError: an unknown name or option, or a family that cannot describe the event.
    """
    text = text or USUAL[event.kind]
    family = CONDITIONALS.read(text)
    takes_size = "block_size" in inspect.signature(family.function.for_event).parameters
    return family.build(event, **({"block_size": block_size} if takes_size else {}))
