"""Kinds of models by name: from names and options to a model of any kind, and of models made of models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import DEEPEST
from arjax.core.registry import Registry
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec
from arjax.factorization import graph_needs_data, needs_data, orders_need_data
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.make import check_dtype, make_model
from arjax.networks import NETWORKS

#: Functions (assembly, *, options) -> model. A score or a draw may call the network in each of T steps.
MODEL_KINDS = Registry(
    "kind of model", hidden=("assembly",), most={"num_steps": 100_000, "sample_steps": 100_000, "num_blocks": DEEPEST}
)


#: The classes of models that are made of other models, by the names under which files know them.
MODEL_CLASSES = Registry("class of model")


class Small(NamedTuple):
    """A small model for the laws: its choices, and the data that it is for.

    Attributes:
      choice: its choices.
      event: of few values where these are discrete: the laws enumerate them.
      context: of the model.
    """

    choice: Choice
    event: EventSpec
    context: ContextSpec = NO_CONTEXT


def networks_of(kind: str) -> Registry | None:
    """The networks that a kind is made with; None where its parts have networks, and it has none of its own."""
    return getattr(MODEL_KINDS.get(kind), "networks", NETWORKS)


def model_kind(
    name: str, networks: Registry | None = NETWORKS, small: Mapping[str, Small] | None = None
) -> Callable[[Callable], Callable]:
    """Registers a kind of model.

    Args:
      name: of the kind.
      networks: the registry of its networks; None: its parts have networks.
      small: models of the kind for the laws, by names of their own.
    """

    def add(make: Callable) -> Callable:
        make.networks, make.small = networks, small or {}
        return MODEL_KINDS.register(name)(make)

    return add


@dataclasses.dataclass(frozen=True)
class Choice:
    """The choices that make a model: its kind, its network, and the choices of the models that it is made of.

    Attributes:
      kind: name of a kind, such as `autoregressive` or `latent`.
      options: of the kind.
      network: name of a network, "" where the kind has none of its own.
      network_options: of the network.
      parts: the models that it is made of, by the names that the kind gives them.
    """

    kind: str = "autoregressive"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""
    network_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, Choice] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Assembly:
    """All that a kind needs to make a model.

    Attributes:
      event, context: of the model.
      choice: its choices.
      dtype: compute type of the networks.
      examples: gives training examples [N, *grid, *value], for orders and graphs that are read off them; None: there
        are none.
    """

    event: EventSpec
    context: ContextSpec
    choice: Choice
    dtype: str = "float32"
    examples: Callable[[], np.ndarray] | None = None

    def network(self) -> dict[str, Any]:
        """The network with all its options, as arguments of `make_model`; raises `UserError` where none is named."""
        registry = networks_of(self.choice.kind)
        if not self.choice.network:
            raise UserError(f"the kind of model {self.choice.kind!r} needs a {registry.kind}")
        options = registry.resolve(self.choice.network, self.choice.network_options)
        return {"network": self.choice.network, **options}

    def part(self, name: str, event: EventSpec | None = None, context: ContextSpec | None = None) -> Model:
        """The model of a part; by default of the same event and context.

        Raises:
          UserError: there is no such part, or its model cannot be made: the sentence says which part it is.
        """
        kind = self.choice.kind
        if name not in self.choice.parts:
            there = ", ".join(map(str, self.choice.parts)) or "none"
            raise UserError(f"the kind of model {kind!r} needs the part {name!r} (there are: {there})")
        own = dataclasses.replace(
            self,
            event=self.event if event is None else event,
            context=self.context if context is None else context,
            choice=self.choice.parts[name],
            examples=self.examples if event is None or event == self.event else None,
        )
        try:
            found = assemble(own)
            if found.orders is not None:
                raise UserError("a part is trained and scored under one order: leave out its orders")
            return found
        except UserError as error:
            raise UserError(f"the {name} of the kind {kind!r}: {error}") from error

    def only(self, *names: str) -> None:
        """Raises `UserError` where there are parts of other names."""
        for name in self.choice.parts:
            if name not in names:
                wanted = ", ".join(names) or "no parts"
                raise UserError(f"the kind of model {self.choice.kind!r} has {wanted}, not {name!r}")


def assemble(assembly: Assembly) -> Model:
    """The model of some choices.

    Raises:
      UserError: an unknown name or option, or a combination that does not work, before anything compiles.
    """
    check_spec(assembly.event, EventSpec)
    check_spec(assembly.context, ContextSpec)
    check_dtype(assembly.dtype)
    choice = assembly.choice
    options = MODEL_KINDS.resolve(choice.kind, choice.options)
    if choice.network and networks_of(choice.kind) is None:
        raise UserError(
            f"the kind of model {choice.kind!r} has no network of its own, but {choice.network!r} is named: its parts "
            "have networks"
        )
    return MODEL_KINDS.get(assembly.choice.kind)(assembly, **options)


def make_any_model(
    event: EventSpec,
    choice: Choice,
    *,
    context: ContextSpec = NO_CONTEXT,
    dtype: str = "float32",
    examples: Callable[[], np.ndarray] | None = None,
) -> Model:
    """A model of any kind from names: `make_model` for all of them; raises as `assemble`."""
    return assemble(Assembly(event, context, choice, dtype, examples))


def make_kind(
    kind: str,
    event: EventSpec,
    network: str,
    *,
    context: ContextSpec = NO_CONTEXT,
    dtype: str = "float32",
    data: np.ndarray | None = None,
    **options: Any,
) -> Model:
    """A model of a kind that has a network, without parts: `options` are those of the kind and those of the network.

    `data`: training examples [N, *grid, *value], for orderings that are read off them. Raises as `assemble`.
    """
    of_kind = MODEL_KINDS.options(kind)
    own = {name: value for name, value in options.items() if name in of_kind}
    of_network = {name: value for name, value in options.items() if name not in of_kind}
    choice = Choice(kind, own, network, of_network)
    return make_any_model(event, choice, context=context, dtype=dtype, examples=None if data is None else lambda: data)


@model_kind("autoregressive", small={"binary": Small(Choice(network="made"), EventSpec((2, 2)))})
def _autoregressive(
    assembly: Assembly,
    *,
    ordering: str = "raster",
    partition: str = "sites",
    conditional: str = "",
    orders: str = "",
    graph: str = "",
) -> AutoregressiveModel:
    """One network, scored exactly: p(x) = prod_t p(x_t | x_<t) in any order."""
    assembly.only()
    reads_data = needs_data(ordering) or (bool(orders) and orders_need_data(orders)) or graph_needs_data(graph)
    data = assembly.examples() if reads_data and assembly.examples is not None else None
    choices = {"ordering": ordering, "partition": partition, "orders": orders, "graph": graph}
    choices |= {"conditional": conditional, "context": assembly.context, "dtype": assembly.dtype}
    return make_model(assembly.event, **assembly.network(), **choices, data=data)
