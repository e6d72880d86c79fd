"""Units of a score: what the nats of an example are divided by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from arjax.core.spec import EventSpec

#: The divisor of the nats of an example by the name of a unit.
UNITS: dict[str, Callable[[EventSpec], float]] = {
    "nats": lambda event: 1.0,
    "bits": lambda event: math.log(2),
    "nats_per_dim": lambda event: event.num_dims,
    "bits_per_dim": lambda event: event.num_dims * math.log(2),
    "nats_per_site": lambda event: event.num_sites,
    "bits_per_site": lambda event: event.num_sites * math.log(2),
}


def looks_like(event: EventSpec, is_right: Callable[[float], bool]) -> str:
    """Returns in words the unit of scores that are right once they are multiplied by its divisor; "" for none."""
    for (sign, word), (name, divisor) in itertools.product(((1, "log p"), (-1, "-log p")), UNITS.items()):
        if (factor := sign * divisor(event)) != 1 and is_right(factor):
            return f"; times {factor:.4g} they would be right: they look like {word} in {name.replace('_', ' ')}"
    return ""
