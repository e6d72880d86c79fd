"""Kinds of models by name: the registry, the choices that make a model, and the one function that makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from arjax.core import arrays
from arjax.core.arguments import check_names, checked_arguments
from arjax.core.errors import UserError, nearest
from arjax.core.programs import checked_pytree
from arjax.core.registry import Registry
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec
from arjax.models.base import Model
from arjax.models.checks import check_likelihood

#: Classes of models. Each has `make(blueprint, *, options...) -> model`, `NETWORKS` and `EXAMPLES`, see `Model`.
#: A score or a draw may call the network in each of T steps.
KINDS = Registry(
    "kind of model",
    hidden=("blueprint",),
    builder=lambda kind: kind.make,
)

#: Frozen dataclasses of plain values that are fields of models, by the names under which files know them.
FIELD_TYPES = Registry("type of a field of models")

DTYPES = ("float32", "bfloat16")

#: Training examples [N, *grid, *value], or a function that gives them when an order or a graph is read off them.
Examples = np.ndarray | Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """The choices that make a model: its kind, its network, and the choices of the models that it is made of.

    Attributes:
      kind: name of a kind, such as `autoregressive` or `latent`.
      options: of the kind.
      network: name of a network, "" where the kind has none of its own.
      network_options: of the network.
      parts: the models that it is made of, by the names that the kind gives them; models that are made already, too.
    """

    kind: str = "autoregressive"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""
    network_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, ModelChoice | Model] = dataclasses.field(default_factory=dict)


class Example(NamedTuple):
    """A small model of a kind for the laws: its choices, and the data that it is for, of few values where these are
    discrete: the laws enumerate them.
    """

    choice: ModelChoice
    event: EventSpec
    context: ContextSpec = NO_CONTEXT

    @classmethod
    def of(cls, kind: str, event: EventSpec, network: str, sizes: Any, context=NO_CONTEXT, **options: Any) -> Example:
        """That of a kind with a network, of these sizes, and with these options."""
        return cls(ModelChoice(kind, options, network, sizes), event, context)


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """All that a kind reads when it makes a model.

    Attributes:
      event, context: of the model.
      choice: its choices.
      dtype: compute type of the networks.
      examples: training examples, for orders and graphs that are read off them; None: there are none.
    """

    event: EventSpec
    context: ContextSpec
    choice: ModelChoice
    dtype: str = "float32"
    examples: Examples | None = None

    def network(self) -> tuple[str, dict[str, Any]]:
        """The name of the network, and all its options; raises `UserError` where none is named, or for its options."""
        registry = KINDS.get(self.choice.kind).NETWORKS
        if not self.choice.network:
            raise UserError(f"the kind of model {self.choice.kind!r} needs a {registry.kind}")
        return self.choice.network, registry.resolve(self.choice.network, self.choice.network_options)

    def part(
        self,
        name: str,
        event: EventSpec | None = None,
        context: ContextSpec | None = None,
        examples: Examples | None = None,
        *,
        several_orders: bool = False,
    ) -> Model:
        """The model of a part, of one order; by default of the same event and context, with the same training examples
        where it has the same event. Raises `UserError` where there is none, or its model cannot be made: the sentence
        says which part it is.
        """
        kind, parts = self.choice.kind, self.choice.parts
        if name not in parts:
            there = ", ".join(map(str, parts)) or "none"
            raise UserError(f"the kind of model {kind!r} needs the part {name!r} (there are: {there})")
        event, context = self.event if event is None else event, self.context if context is None else context
        examples = self.examples if examples is None and event == self.event else examples
        try:
            part = parts[name]
            if isinstance(part, ModelChoice):
                part = _make(Blueprint(event, context, part, self.dtype, examples))
            elif not is_model(part):
                raise UserError(f"a part is a ModelChoice or a model, not {part!r}")
            check_likelihood(part, "it")
            if part.orders is not None and not several_orders:
                raise UserError("a part is trained and scored under one order: leave out its orders")
            return part
        except UserError as error:
            raise UserError(f"the {name} of the kind {kind!r}: {error}") from error

    def only(self, *names: str) -> None:
        """Raises `UserError` where there are parts of other names."""
        for name in self.choice.parts:
            if name not in names:
                wanted = ", ".join(names) or "no parts"
                raise UserError(f"the kind of model {self.choice.kind!r} has {wanted}, not {name!r}")

    def examples_by_site(self, needed: bool) -> np.ndarray | None:
        """Training examples [N, D, size of a value] where they are needed, and there are any."""
        if not needed or self.examples is None:
            return None
        examples = self.all_examples()
        return examples.reshape(len(examples), self.event.num_sites, -1)

    def all_examples(self) -> np.ndarray:
        """The training examples that there are, [N, *grid, *value]."""
        assert self.examples is not None, "there are training examples"
        return checked_examples(self.event, self.examples() if callable(self.examples) else self.examples)


@checked_arguments()
def make_model(
    event: EventSpec,
    network: str | ModelChoice = "",
    *,
    kind: str = "autoregressive",
    parts: Mapping[str, ModelChoice | Model] | None = None,
    context: ContextSpec = NO_CONTEXT,
    dtype: str = "float32",
    data: Examples | None = None,
    **options: Any,
) -> Model:
    """A model of any kind from names:

        make_model(event, "made", hidden_sizes=(500,), ordering="random(seed=1)")
        make_model(event, "made", kind="flow", num_blocks=5)
        make_model(event, kind="mixture", parts={"a": ModelChoice(network="made"), "b": ModelChoice(network="gru")})

    Args:
      event, context, dtype: of the model, see `Blueprint`.
      network: name of a network; "" where the parts have the networks. Or a `ModelChoice`, which names all but event,
        context, dtype and data.
      kind, parts: see `ModelChoice`.
      data: training examples [N, *grid, *value], for orderings and graphs that are read off them, or a function that
        gives them.
      **options: those of the kind, such as `ordering`, `partition`, `conditional`, `orders` and `graph` of the kind
        autoregressive, see `AutoregressiveModel.make`, and those of the network.

    Raises:
      UserError: an unknown name or option, or a combination that does not work, before anything compiles.
    """
    check_spec(event, EventSpec)
    check_spec(context, ContextSpec)
    if not isinstance(network, str | ModelChoice):
        raise UserError(f"unknown network {network!r}: give its name, or a ModelChoice")
    if isinstance(network, str):
        network = _chosen(kind, network, options, parts or {})
    elif options or parts is not None or kind != ModelChoice.kind:
        raise UserError("a ModelChoice names its kind, its parts and its options: leave them out beside it")
    check_dtype(dtype)
    if data is not None and not callable(data):
        data = checked_examples(event, data)
    return _make(Blueprint(event, context, network, dtype, data))


def _make(blueprint: Blueprint) -> Model:
    choice = blueprint.choice
    options, kind = KINDS.resolve(choice.kind, choice.options), KINDS.get(choice.kind)
    if choice.network and kind.NETWORKS is None:
        raise UserError(
            f"the kind of model {choice.kind!r} has no network of its own, but {choice.network!r} is named: leave "
            "it out, or give it to a part"
        )
    return checked_pytree(kind.make(blueprint, **options), f"the kind of model {choice.kind!r}")


def _chosen(kind: str, network: str, options: Mapping[str, Any], parts: Mapping[str, Any]) -> ModelChoice:
    """The choices with the options divided between the kind and the network.

    Raises `UserError` for an option of neither whose name is nearest to an argument or an option of the kind.
    """
    of_kind, networks = KINDS.options(kind), KINDS.get(kind).NETWORKS
    of_network = networks.options(network) if network and networks is not None else {}
    arguments = {"kind", "parts", "context", "dtype", "data", *of_kind}
    for name in options:
        if name not in (*of_kind, *of_network) and nearest(name, [*of_network, *arguments]) in arguments:
            check_names("make_model", [name], arguments)
    chosen = {name: value for name, value in options.items() if name in of_kind}
    others = {name: value for name, value in options.items() if name not in of_kind}
    if others and not network:
        raise UserError(f"the kind of model {kind!r} has no option {min(others)!r}, and no network is named")
    return ModelChoice(kind, chosen, network, others, parts)


def is_model(value: Any) -> bool:
    """Whether this is a model of any kind."""
    return isinstance(value, Model)


def check_dtype(dtype: str) -> None:
    """Raises `UserError` for a compute type that there is not."""
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")


def checked_examples(event: EventSpec, data: Any) -> np.ndarray:
    """Training examples [N, *grid, *value]; raises `UserError` when they are none of the event."""
    data = np.asarray(arrays.as_array(data, "data"))
    if data.shape[1:] != event.shape or not len(data):
        raise UserError(f"data has shape {data.shape}, but must have (N, {', '.join(map(str, event.shape))})")
    arrays.check_values(event, data, f"data of kind {event.kind}")
    return data
