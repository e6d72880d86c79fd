"""The mode `list`: everything that a config can choose, with its options and a sentence about it."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping

from arjax.conditionals import CONDITIONALS
from arjax.core.errors import say_once
from arjax.core.files import short_names
from arjax.core.options import LARGEST, Option
from arjax.core.registry import Registry, import_installed
from arjax.data import DATASETS
from arjax.factorization import GRAPHS, ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS
from arjax.models import KINDS
from arjax.networks import NETWORKS
from arjax.networks.recurrent.linear.mixer import MIXERS
from arjax.objectives import OBJECTIVES
from arjax.objectives.energies import ENERGIES
from arjax.quantizers import QUANTIZERS
from arjax.reporting.tables import print_table
from arjax.reporting.writers import WRITERS
from arjax.samplers import SAMPLERS
from arjax.samplers.drafts import DRAFTS
from arjax.stages import STAGES
from arjax.training.optimizer import OPTIMIZERS
from arjax.training.schedules import SCHEDULES

#: By the names of the JSON form; the order is that of the tables.
REGISTRIES: dict[str, Registry] = {
    "kinds": KINDS,
    "networks": NETWORKS,
    "mixers": MIXERS,
    "conditionals": CONDITIONALS,
    "orderings": ORDERINGS,
    "partitions": PARTITIONS,
    "orders": ORDER_DISTRIBUTIONS,
    "graphs": GRAPHS,
    "quantizers": QUANTIZERS,
    "objectives": OBJECTIVES,
    "energies": ENERGIES,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "samplers": SAMPLERS,
    "drafts": DRAFTS,
    "stages": STAGES,
    "datasets": DATASETS,
    "writers": WRITERS,
}


def print_components(as_json: bool) -> None:
    """Prints a table of each kind: name, first sentence of the docstring, options with their defaults; or all names as
    JSON. Components of installed packages are included; packages that cannot be imported are reported.
    """
    for sentence in import_installed():
        say_once(sentence)
    configs = sorted(short_names("configs"))
    if as_json:
        names = {kind: registry.names() for kind, registry in REGISTRIES.items()}
        print(json.dumps(names | {"configs": configs}, indent=2))
        return
    for kind, registry in REGISTRIES.items():
        rows = [(name, registry.about(name), options_text(registry.declarations(name))) for name in registry]
        print_table((registry.kind, "", "options"), rows, title=kind.replace("_", " ").capitalize())
    print(f"Configs\n  {', '.join(configs)}")


def options_text(options: Mapping[str, Option]) -> str:
    """Returns options with their defaults, ranges and choices, such as `size, depth=2 [2, inf), activation='relu'
    {relu, gelu}`, without ranges that follow from the defaults and without the largest whole number, which only guards
    against typing errors.
    """
    return ", ".join(name + _declared(option) for name, option in options.items())


def _declared(option: Option) -> str:
    plain = Option.of(option.like)
    is_bounded = option.most < LARGEST or option.below < math.inf
    low = f"({option.above:g}" if option.above > -math.inf else f"[{option.least:g}"
    high = f"{option.below:g})" if option.below < math.inf else f"{option.most:g}]" if is_bounded else "inf)"
    words = [
        f"{{{', '.join(map(str, option.choices))}}}" if option.choices else "",
        f"{low}, {high}" if is_bounded or option.least != plain.least or option.above > -math.inf else "",
        f"at least {option.fewest} of them" if option.fewest else "",
        f"({option.about})" if option.about else "",
    ]
    default = "" if option.default is inspect.Parameter.empty else f"={option.default!r}"
    return " ".join([default, *filter(None, words)])
