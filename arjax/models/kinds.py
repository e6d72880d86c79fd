"""Kinds of models by name, the recipe of a model, and the one function that makes a model of its recipe."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from arjax.conditionals import CONDITIONALS
from arjax.conditionals.base import usual_conditional
from arjax.core import arrays
from arjax.core.errors import UserError, nearest, refuse
from arjax.core.options import check_names, checked_arguments
from arjax.core.programs import checked_pytree
from arjax.core.registry import Registry
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec
from arjax.core.values import is_value, read_typed
from arjax.factorization import (
    Factorization,
    Orders,
    from_order,
    graph_needs_data,
    make_factorization,
    make_orders,
    needs_data,
    orders_need_data,
)
from arjax.factorization.factorization import check_permutation
from arjax.models.base import Model
from arjax.models.checks import check_likelihood

#: Classes of models. Each has `make(recipe, *, options...) -> model`, `NETWORKS` and `EXAMPLES`, see `Model`.
KINDS = Registry("kind of model", hidden=("recipe",), builder=lambda kind: kind.make)

DTYPES = ("float32", "bfloat16")

#: Training examples [N, *grid, *value], or a function that returns them when an order or a graph is read off them.
Examples = np.ndarray | Callable[[], np.ndarray]
#: The attribute of a model that `make` has made with its recipe; it is not a part of the pytree.
_RECIPE = "_recipe"


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """The choices that make a model: its kind, its network ("" where the kind has none), their options as plain values,
    and by name the models that it is made of: their choices, or whole models.
    """

    kind: str = "autoregressive"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""
    network_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, ModelChoice | Recipe | Model] = dataclasses.field(default_factory=dict)


class Example(NamedTuple):
    """A small model of a kind for the laws: its choices, and data of few values, as the laws enumerate them."""

    choice: ModelChoice
    event: EventSpec
    context: ContextSpec = NO_CONTEXT

    @classmethod
    def of(cls, kind: str, event: EventSpec, network: str, sizes: Any, context=NO_CONTEXT, **options: Any) -> Example:
        """Returns an example of a kind with a network of these sizes and with these options."""
        return cls(ModelChoice(kind, options, network, sizes), event, context)


class RecipeJson(TypedDict):
    """A recipe as JSON; `network` holds the name and the options, or is null."""

    event: EventSpec
    context: dict[str, EventSpec]
    local: tuple[str, ...]
    dtype: str
    kind: str
    options: dict[str, Any]
    network: dict[str, Any] | None
    parts: dict[str, RecipeJson]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that makes a model: plain data, which `make` reads.

    Attributes:
      dtype: compute type of the networks.
      examples: training examples, for orders and graphs that are read off them.
      arrays: the orders of the model and of its parts, such as "factorization/order" int[D], the sites in their order,
        "factorization/sizes" int[S], the sizes of the steps, and "prior/factorization/order" of the part `prior`. None:
        the options and the examples make them.
    """

    event: EventSpec
    context: ContextSpec = NO_CONTEXT
    choice: ModelChoice = dataclasses.field(default_factory=ModelChoice)
    dtype: str = "float32"
    examples: Examples | None = None
    arrays: Mapping[str, Any] | None = None
    #: The parts that were made so far, by name.
    _made: dict[str, Model] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    _keys: set[str] = dataclasses.field(default_factory=set, init=False, repr=False, compare=False)

    def network(self) -> tuple[str, dict[str, Any]]:
        """Returns the name of the network and all its options."""
        if not self.choice.network:
            needed = KINDS.get(self.choice.kind).NETWORKS.kind
            raise UserError(f"the kind of model {self.choice.kind!r} needs a {needed}")
        return self.choice.network, dict(self.choice.network_options)

    def only(self, *names: str) -> None:
        """Refuses parts of other names."""
        other = next((name for name in self.choice.parts if name not in names), None)
        has = f"the kind of model {self.choice.kind!r} has {', '.join(names) or 'no parts'}"
        refuse((other is not None, f"{has}, not {other!r}"))

    def part(
        self,
        name: str,
        event: EventSpec | None = None,
        context: ContextSpec | None = None,
        examples: Examples | None = None,
        *,
        key: str = "",
        check: Callable[[Any], None] = lambda part: None,
        several_orders: bool = False,
        needs_context: bool = True,
    ) -> Any:
        """Returns the model of a part, of one order and with a likelihood. `event`, `context` and `examples` are by
        default those of the whole; `key`, by default the name, is that of its parameters. `check` refuses a model that
        cannot be this part, `needs_context` one without the context. `several_orders` allows several.
        """
        kind, parts = self.choice.kind, self.choice.parts
        there = ", ".join(map(str, parts)) or "none"
        refuse((name not in parts, f"the kind of model {kind!r} needs the part {name!r} (there are: {there})"))
        event, context = self.event if event is None else event, self.context if context is None else context
        examples = self.examples if examples is None and event == self.event else examples
        try:
            part = self._part(parts[name], key or name, event, context, examples)
            check_likelihood(part, "it")
            check(part)
            lacks_context = part.context_spec != context and (needs_context or part.context_spec)
            has_orders = part.orders is not None and not several_orders
            refuse(
                (part.event != event, f"it must be of {event.in_words}, not of {part.event.in_words}"),
                (lacks_context, f"its context must be {context!r}, not {part.context_spec!r}"),
                (has_orders, "a part is trained and scored under one order: leave out its orders"),
            )
        except UserError as error:
            error.args = (f"the {name} of the kind {kind!r}: {error}",)
            raise
        self._made[name] = part
        self._keys.add(key or name)
        return part

    def _part(
        self, part: Any, key: str, event: EventSpec, context: ContextSpec, examples: Examples | None = None
    ) -> Model:
        if isinstance(part, Model):
            return part
        if isinstance(part, ModelChoice):
            part = Recipe(event, context, part, self.dtype)
        if not isinstance(part, Recipe):
            raise UserError(f"a part is a ModelChoice or a model, not {part!r}")
        if self.arrays is not None:
            prefix = f"{key}/"
            within = {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}
            part = dataclasses.replace(part, arrays=within)
        return make(dataclasses.replace(part, examples=examples))

    def inner(self, key: str, event: EventSpec, choice: ModelChoice) -> Model:
        """Returns a model that the options of the kind describe; `key` is the name of its parameters."""
        return self._part(choice, key, event, self.context, self.examples)

    def all_examples(self) -> np.ndarray:
        """Returns the training examples, [N, *grid, *value]."""
        assert self.examples is not None, "there are training examples"
        return checked_examples(self.event, self.examples() if callable(self.examples) else self.examples)

    @functools.cached_property
    def _examples_by_site(self) -> np.ndarray | None:
        """Training examples [N, D, size of a value]."""
        if self.examples is None:
            return None
        examples = self.all_examples()
        return examples.reshape(len(examples), self.event.num_sites, -1)

    def factorization(self, ordering: str, partition: str, graph: str = "") -> Factorization:
        """Returns the order of the call strings, or that of the arrays where there are arrays."""
        if self.arrays is not None:
            return self._stored_factorization("factorization")
        examples = self._examples_by_site if needs_data(ordering) or graph_needs_data(graph) else None
        return make_factorization(self.event.grid_shape, ordering, partition, examples, graph)

    def orders(self, orders: str, partition: str) -> Orders | None:
        """Returns the distribution of a call string over orders, or that of the arrays; None for "", one order."""
        if not orders:
            return None
        if self.arrays is None:
            examples = self._examples_by_site if orders_need_data(orders) else None
            return make_orders(orders, self.event.grid_shape, partition, examples)
        first = self._stored_factorization("orders/first")
        if "orders/pool" not in self.arrays:
            return Orders(first)
        pool = self.array("orders/pool", np.int32, 2)
        refuse((not len(pool), "the array 'orders/pool' has no orders"))
        for order in pool:
            check_permutation(order, first.num_sites)
        if "orders/weights" not in self.arrays:
            return Orders(first, pool)
        weights = self.array("orders/weights", np.float32, 1)
        fits = len(weights) - len(pool) in (0, 1) and (weights > 0).all() and abs(weights.sum() - 1) <= 1e-3
        refuse((not fits, f"the array 'orders/weights' must hold the probabilities of {len(pool)} orders"))
        return Orders(first, pool, weights)

    def _stored_factorization(self, path: str) -> Factorization:
        order, sizes = (self.array(f"{path}/{name}", np.int32, 1) for name in ("order", "sizes"))
        factorization = from_order(order, sizes, self.event.grid_shape)
        if f"{path}/parents" not in (self.arrays or {}):
            return factorization
        parents = self.array(f"{path}/parents", np.bool_, 2)
        fits = parents.shape == (len(order),) * 2 and not (parents & ~np.asarray(factorization.mask())).any()
        refuse((not fits, f"the array {path + '/parents'!r} is no graph of edges from earlier steps"))
        return dataclasses.replace(factorization, parents=parents, connected=bool(parents.any()))

    def array(self, name: str, dtype: type[np.generic], ndim: int) -> np.ndarray:
        """Returns a stored array of this type and rank."""
        arrays = self.arrays or {}
        refuse((name not in arrays, f"there is no array {name!r}"))
        array, form = np.asarray(arrays[name]), f"the type {dtype.__name__} and {ndim} axes"
        fits = np.can_cast(array.dtype, dtype, "same_kind") and array.ndim == ndim
        refuse((not fits, f"the array {name!r} must have {form}, not {array.dtype}{list(array.shape)}"))
        return array.astype(dtype)

    def as_json(self) -> dict[str, Any]:
        """Returns the recipe without its arrays and examples in values of JSON."""
        choice, parts = self.choice, dict[str, Any](self.choice.parts)
        for name, value in {**choice.options, **choice.network_options}.items():
            if value is not None and not is_value(value):
                raise UserError(f"a model with the option {name}={value!r} cannot be saved: it is no plain value")
        return {
            "event": dataclasses.asdict(self.event),
            "context": {name: dataclasses.asdict(part) for name, part in self.context.parts},
            "local": list(self.context.local),
            "dtype": self.dtype,
            "kind": choice.kind,
            "options": dict(choice.options),
            "network": {"name": choice.network, **choice.network_options} if choice.network else None,
            "parts": {name: part.as_json() for name, part in parts.items()},
        }

    @classmethod
    def from_json(cls, value: Any, arrays: Mapping[str, np.ndarray]) -> Recipe:
        """Returns the recipe of `as_json`, with its arrays."""
        return dataclasses.replace(_as_recipe(read_typed(RecipeJson, value, "model")), arrays=arrays)


def _as_recipe(content: RecipeJson) -> Recipe:
    context = ContextSpec(local=content["local"], **dict[str, Any](content["context"]))
    parts = {name: _as_recipe(part) for name, part in content["parts"].items()}
    network = {"name": ""} if content["network"] is None else dict(content["network"])
    name = read_typed(str, network.pop("name", None), "model/network/name")
    choice = ModelChoice(content["kind"], content["options"], name, network, parts)
    return Recipe(content["event"], context, choice, content["dtype"])


def make(recipe: Recipe) -> Model:
    """Returns the model of a recipe: the one way in which models are made."""
    check_spec(recipe.event, EventSpec)
    check_spec(recipe.context, ContextSpec)
    refuse((recipe.dtype not in DTYPES, f"dtype must be one of {', '.join(DTYPES)}, not {recipe.dtype!r}"))
    recipe = dataclasses.replace(recipe, choice=_completed(recipe.choice, recipe.event))
    choice = recipe.choice
    model = KINDS.get(choice.kind).make(recipe, **choice.options)
    model = checked_pytree(model, f"the kind of model {choice.kind!r}")
    lost = ", ".join(sorted(recipe._keys - model.named_parts.keys()))
    refuse((lost, f"`named_parts` of the kind of model {choice.kind!r} lacks {lost}: files store parts by these names"))
    completed = dataclasses.replace(choice, parts=recipe._made)
    object.__setattr__(model, _RECIPE, dataclasses.replace(recipe, choice=completed, examples=None, arrays=None))
    return model


def _completed(choice: ModelChoice, event: EventSpec) -> ModelChoice:
    """Returns the choice with all options of the kind, of its call strings and of the network."""
    family, options = KINDS.get(choice.kind), KINDS.resolve(choice.kind, choice.options)
    for name, registry in family.CALLS.items():
        call = options[name] or (usual_conditional(event) if registry is CONDITIONALS else "")
        options[name] = registry.read(call).as_call if call else ""
    networks, network_options = family.NETWORKS, dict(choice.network_options)
    needless = f"the kind of model {choice.kind!r} has no network of its own, but {choice.network!r} is named"
    refuse((choice.network and networks is None, f"{needless}: leave it out, or give it to a part"))
    if choice.network:
        network_options = networks.resolve(choice.network, choice.network_options)
    return dataclasses.replace(choice, options=options, network_options=network_options)


def recipe_of(model: Model) -> Recipe:
    """Returns the recipe of a model that `make` has made, with the arrays of its orders."""
    return dataclasses.replace(_recipe_of(model), arrays=dict(arrays_of(model)))


def _recipe_of(model: Model) -> Recipe:
    recipe: Any = getattr(model, _RECIPE, None)
    by_hand = f"this {type(model).__name__} has no recipe, as it was put together or changed by hand"
    remedy = "make it with make_model, or with `make` of a Recipe with the orders as its `arrays`"
    refuse((recipe is None, f"{by_hand}: {remedy}"))
    parts = {name: _recipe_of(part) for name, part in recipe.choice.parts.items()}
    return dataclasses.replace(recipe, choice=dataclasses.replace(recipe.choice, parts=parts))


def arrays_of(model: Model) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of a model, of its orders above all, and of its parts, with the names that a `Recipe` has."""
    for field in dataclasses.fields(model):
        yield from _arrays(getattr(model, field.name), field.name)
    for name, part in model.named_parts.items():
        for inner, array in arrays_of(part):
            yield f"{name}/{inner}", array


def _arrays(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, Factorization):
        yield f"{path}/order", np.asarray(value.order, np.int32)
        yield f"{path}/sizes", (np.asarray(value.blocks) < value.num_sites).sum(1).astype(np.int32)
        yield from _arrays(value.parents, f"{path}/parents")
    elif isinstance(value, Orders):
        for name in ("first", "pool", "weights"):
            yield from _arrays(getattr(value, name), f"{path}/{name}")
    elif isinstance(value, np.ndarray | jax.Array):
        yield path, np.asarray(value)


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
    """Returns a model of any kind from names, by its `Recipe`; mistakes are refused before anything compiles:

        make_model(event, "made", hidden_sizes=(500,), ordering="random(seed=1)")
        make_model(event, "made", kind="flow", num_blocks=5)
        make_model(event, kind="mixture", parts={"a": ModelChoice(network="made"), "b": ModelChoice(network="gru")})

    `network` is a name, "" where the parts have the networks, or a `ModelChoice`, which names all but event, context,
    dtype and data. `data`, for orderings and graphs that are read off them, are training examples [N, *grid, *value] or
    a function that returns them. The options are those of the kind, see its `make`, and those of the network.
    """
    check_spec(event, EventSpec)
    if isinstance(network, str):
        network = _chosen(kind, network, options, parts or {})
    else:
        beside = options or parts is not None or kind != ModelChoice.kind
        refuse(
            (not isinstance(network, ModelChoice), f"unknown network {network!r}: give its name, or a ModelChoice"),
            (beside, "a ModelChoice names its kind, its parts and its options: leave them out beside it"),
        )
    if data is not None and not callable(data):
        data = checked_examples(event, data)
    return make(Recipe(event, context, network, dtype, data))


def _chosen(kind: str, network: str, options: Mapping[str, Any], parts: Mapping[str, Any]) -> ModelChoice:
    """Returns the choice with the options divided between the kind and the network; refuses misspelt ones."""
    of_kind, networks = KINDS.options(kind), KINDS.get(kind).NETWORKS
    of_network = networks.options(network) if network and networks is not None else {}
    arguments = {"kind", "parts", "context", "dtype", "data", *of_kind}
    for name in options:
        if name not in (*of_kind, *of_network) and nearest(name, [*of_network, *arguments]) in arguments:
            check_names("make_model", [name], arguments)
    kind_options = {name: value for name, value in options.items() if name in of_kind}
    others = {name: value for name, value in options.items() if name not in of_kind}
    if others:
        refuse((not network, f"the kind of model {kind!r} has no option {min(others)!r}, and no network is named"))
    return ModelChoice(kind, kind_options, network, others, parts)


def checked_examples(event: EventSpec, data: Any) -> np.ndarray:
    """Returns training examples [N, *grid, *value], which must be examples of the event."""
    data, wanted = np.asarray(arrays.as_array(data, "data")), f"(N, {', '.join(map(str, event.shape))})"
    fits = data.shape[1:] == event.shape and len(data)
    refuse((not fits, f"data has shape {data.shape}, but must have {wanted}"))
    arrays.check_values(event, data, "the examples")
    return data
