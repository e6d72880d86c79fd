"""The mode `list`: everything that a config can choose, with its options and a sentence about it."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from arjax.conditionals import CONDITIONALS
from arjax.core.options import Option
from arjax.core.output import say_once
from arjax.core.registry import Registry, import_installed
from arjax.core.user_files import short_names
from arjax.data import DATASETS
from arjax.factorization import GRAPHS, ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS
from arjax.models import KINDS
from arjax.networks import NETWORKS
from arjax.networks.denoisers import BLOCK_DENOISERS, DENOISERS
from arjax.networks.recurrent.linear.mixer import MIXERS
from arjax.objectives import OBJECTIVES
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
    "denoisers": DENOISERS,
    "block_denoisers": BLOCK_DENOISERS,
    "conditionals": CONDITIONALS,
    "orderings": ORDERINGS,
    "partitions": PARTITIONS,
    "orders": ORDER_DISTRIBUTIONS,
    "graphs": GRAPHS,
    "quantizers": QUANTIZERS,
    "objectives": OBJECTIVES,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "samplers": SAMPLERS,
    "drafts": DRAFTS,
    "stages": STAGES,
    "datasets": DATASETS,
    "writers": WRITERS,
}


def print_components(as_json: bool) -> None:
    """Prints a table of each kind: name, first sentence of the docstring, options with their defaults; or the names of
    everything as JSON. The components of installed packages are among them; those that cannot be imported are told.
    """
    for sentence in import_installed():
        say_once(sentence)
    configs = sorted(short_names("configs"))
    if as_json:
        names = {kind: registry.names() for kind, registry in REGISTRIES.items()}
        print(json.dumps(names | {"configs": configs}, indent=2))
        return
    for kind, registry in REGISTRIES.items():
        rows = [(name, registry.about(name), options_text(registry.options(name))) for name in registry]
        print_table((registry.kind, "", "options"), rows, title=kind.replace("_", " ").capitalize())
    print(f"Configs\n  {', '.join(configs)}")


def ranges_text(declarations: Mapping[str, Option]) -> str:
    """`dropout at least 0, below 1`: the ranges of options, as far as a plain default would not say the same."""
    ranges = {name: ", ".join(_limits(declaration)) for name, declaration in declarations.items()}
    return "; ".join(f"{name} {limits}" for name, limits in ranges.items() if limits)


def _limits(option: Option) -> Iterator[str]:
    plain = Option.of(option.default)
    if option.choices:
        yield f"one of {', '.join(map(str, option.choices))}"
    if option.fewest:
        yield f"not fewer than {option.fewest}"
    for words, limit, usual in (
        ("at least", option.least, plain.least),
        ("above", option.above, -math.inf),
        ("at most", option.most, plain.most),
        ("below", option.below, math.inf),
    ):
        if limit != usual and math.isfinite(limit):
            yield f"{words} {limit:.12g}"


def options_text(options: dict[str, Any]) -> str:
    """`size, depth=2`: options with their defaults; those that must be given have none."""
    required = inspect.Parameter.empty
    return ", ".join(name if value is required else f"{name}={value!r}" for name, value in options.items())
