"""A model as JSON and named arrays, and back: its event, context, network, conditional and orders, nothing of a config.
A model that is made of models is described by its kind and its fields.

The orders are written as arrays (the sites in order, the sizes of the blocks), not by their names: orders that were
computed from training data are restored without the data.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional
from arjax.core.errors import UserError
from arjax.core.registry import Registry
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization, Orders, from_order
from arjax.models import AutoregressiveModel, Model
from arjax.models.dequantisation import Dequantisation
from arjax.models.kinds import MODEL_CLASSES
from arjax.networks import NETWORKS
from arjax.networks.denoisers import (
    BLOCK_DENOISERS,
    DENOISERS,
    BlockTransformer,
    Denoiser,
    make_block_denoiser,
    make_denoiser,
)
from arjax.networks.denoisers.any_order import AnyOrderDenoiser

Arrays = dict[str, np.ndarray]


def describe(model: Model, prefix: str = "model") -> tuple[dict[str, Any], Arrays]:
    """The parts of a model: a JSON object, and the arrays of its orders by names that begin with `prefix`.

    Raises:
      UserError: a network or a conditional that is not registered, or that has an option which is no plain value.
    """
    arrays: Arrays = {}
    return _Writer(arrays).model(model, prefix), arrays


def rebuild(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Model:
    """The inverse of `describe`.

    Raises:
      UserError: a network or a conditional that nothing has registered here, or that has other options here.
    """
    return _Reader(arrays).model(description)


class _Writer:
    """Turns the parts of a model into JSON, and puts their arrays aside."""

    def __init__(self, arrays: Arrays):
        self._arrays = arrays

    def model(self, model: Model, path: str) -> dict[str, Any]:
        if isinstance(model, AutoregressiveModel):
            return self.autoregressive(model, path)
        fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
        return {
            "kind": _name_of(MODEL_CLASSES, type(model)),
            "fields": {name: self.field(value, f"{path}/{name}") for name, value in fields.items()},
        }

    def field(self, value: Any, path: str) -> Any:
        """A field of a model that is made of others."""
        if hasattr(value, "score"):
            return {"model": self.model(value, path)}
        if isinstance(value, tuple) and value and all(hasattr(each, "score") for each in value):
            return {"models": [self.model(each, f"{path}/{i}") for i, each in enumerate(value)]}
        if isinstance(value, Conditional):
            return {"conditional": self.conditional(value, path)}
        if isinstance(value, EventSpec):
            return {"event": dataclasses.asdict(value)}
        if isinstance(value, Denoiser):
            network = value.network if isinstance(value, AnyOrderDenoiser) else value
            return {"denoiser": self.denoiser(network, DENOISERS)}
        if isinstance(value, BlockTransformer):
            return {"block_denoiser": self.denoiser(value, BLOCK_DENOISERS)}
        if isinstance(value, Factorization):
            return {"factorization": self.factorization(value, path)}
        if isinstance(value, Dequantisation):
            return {"dequantisation": dataclasses.asdict(value)}
        if value is not None and not isinstance(value, bool | int | float | str | tuple):
            raise UserError(f"a model with the field {path!r} cannot be saved: {value!r}")
        return {"value": value}

    def autoregressive(self, model: AutoregressiveModel, path: str) -> dict[str, Any]:
        network, family = model.network, type(model.network)
        name = _name_of(NETWORKS, family)
        return {
            "event": dataclasses.asdict(network.event),
            "context": {part: dataclasses.asdict(spec) for part, spec in network.context_spec.parts},
            "dtype": network.dtype,
            "network": {"name": name} | {key: getattr(network, key) for key in NETWORKS.options(name)},
            "conditional": self.conditional(model.conditional, f"{path}/conditional"),
            "factorization": self.factorization(model.factorization, f"{path}/factorization"),
            "orders": None if model.orders is None else self.orders(model.orders, f"{path}/orders"),
        }

    def denoiser(self, network: Any, registry: Registry) -> dict[str, Any]:
        name = _name_of(registry, type(network))
        return {
            "event": dataclasses.asdict(network.event),
            "context": {part: dataclasses.asdict(spec) for part, spec in network.context_spec.parts},
            "num_features": network.num_features,
            "dtype": network.dtype,
            "network": {"name": name} | {key: getattr(network, key) for key in registry.options(name)},
        }

    def conditional(self, conditional: Conditional, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {"name": _name_of(CONDITIONALS, type(conditional))}
        for field in dataclasses.fields(conditional):
            value = getattr(conditional, field.name)
            if isinstance(value, Conditional):
                value = {"conditional": self.conditional(value, f"{path}/{field.name}")}
            elif isinstance(value, tuple) and value and all(isinstance(each, Conditional) for each in value):
                value = {"conditionals": [self.conditional(each, f"{path}/{field.name}") for each in value]}
            elif isinstance(value, AutoregressiveModel):
                value = {"model": self.model(value, f"{path}/{field.name}")}
            elif value is not None and not isinstance(value, bool | int | float | str | tuple):
                raise UserError(f"{field.name} of the conditional {found['name']!r} cannot be saved: {value!r}")
            found[field.name] = value
        return found

    def factorization(self, factorization: Factorization, path: str) -> dict[str, Any]:
        sizes = (np.asarray(factorization.blocks) < factorization.num_sites).sum(1)
        self._arrays[f"{path}/order"] = np.asarray(factorization.order, np.int32)
        self._arrays[f"{path}/sizes"] = sizes.astype(np.int32)
        if factorization.parents is not None:
            self._arrays[f"{path}/parents"] = np.asarray(factorization.parents, bool)
        return {"arrays": path, "grid_shape": factorization.grid_shape}

    def orders(self, orders: Orders, path: str) -> dict[str, Any]:
        if orders.pool is not None:
            self._arrays[f"{path}/pool"] = np.asarray(orders.pool, np.int32)
        return {"arrays": path, "first": self.factorization(orders.first, f"{path}/first")}


class _Reader:
    """Turns JSON and arrays into the parts of a model."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays

    def model(self, found: Mapping[str, Any]) -> Model:
        if "kind" not in found:
            return self.autoregressive(found)
        return MODEL_CLASSES.get(found["kind"])(**{name: self.field(part) for name, part in found["fields"].items()})

    def field(self, found: Mapping[str, Any]) -> Any:
        """The inverse of that of the writer."""
        ((kind, value),) = found.items()
        if kind == "models":
            return tuple(map(self.model, value))
        read = {"model": self.model, "conditional": self.conditional, "event": _event, "value": _tuples}
        read |= {"denoiser": self.denoiser, "dequantisation": _dequantisation, "factorization": self.factorization}
        read |= {"block_denoiser": functools.partial(self.denoiser, make=make_block_denoiser)}
        return read[kind](value)

    def denoiser(self, found: Mapping[str, Any], make: Callable = make_denoiser) -> Any:
        context = ContextSpec(**{name: _event(part) for name, part in found["context"].items()})
        options = {key: _tuples(value) for key, value in found["network"].items()}
        name = options.pop("name")
        return make(name, _event(found["event"]), context, found["num_features"], found["dtype"], **options)

    def autoregressive(self, found: Mapping[str, Any]) -> AutoregressiveModel:
        context = ContextSpec(**{name: _event(part) for name, part in found["context"].items()})
        options = dict(found["network"])
        name = options.pop("name")
        options = NETWORKS.resolve(name, options)
        head = self.conditional(found["conditional"])
        network = NETWORKS.get(name)(
            event=_event(found["event"]),
            context_spec=context,
            num_features=head.num_params,
            dtype=found["dtype"],
            **options,
        )
        orders = None if found["orders"] is None else self.orders(found["orders"])
        return AutoregressiveModel(network, head, self.factorization(found["factorization"]), orders)

    def conditional(self, found: Mapping[str, Any]) -> Conditional:
        options = {}
        for key, value in found.items():
            if isinstance(value, Mapping):
                ((kind, inner),) = value.items()
                read = {"model": self.model, "conditional": self.conditional, "conditionals": self.conditionals}
                value = read[kind](inner)
            options[key] = tuple(value) if isinstance(value, list) else value
        name = options.pop("name")
        family = CONDITIONALS.get(name)
        if unknown := options.keys() - {field.name for field in dataclasses.fields(family)}:
            raise UserError(f"the conditional {name!r} has no option {min(unknown)!r} in this version")
        return family(**options)

    def conditionals(self, found: list[Any]) -> tuple[Conditional, ...]:
        return tuple(map(self.conditional, found))

    def factorization(self, found: Mapping[str, Any]) -> Factorization:
        path = found["arrays"]
        order, sizes = self._arrays[f"{path}/order"], self._arrays[f"{path}/sizes"]
        factorization = from_order(order.tolist(), sizes.tolist(), found["grid_shape"])
        parents = self._arrays.get(f"{path}/parents")
        if parents is None:
            return factorization
        return dataclasses.replace(factorization, parents=parents, connected=bool(parents.any()))

    def orders(self, found: Mapping[str, Any]) -> Orders:
        return Orders(self.factorization(found["first"]), self._arrays.get(f"{found['arrays']}/pool"))


def _tuples(value: Any) -> Any:
    """JSON has lists for tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _dequantisation(found: Mapping[str, Any]) -> Dequantisation:
    return Dequantisation(_event(found["event"]), found["scaling"])


def _event(found: Mapping[str, Any]) -> EventSpec:
    shapes = {key: tuple(found[key]) for key in ("grid_shape", "value_shape")}
    columns = tuple(map(_event, found.get("columns", ())))
    return EventSpec(**shapes, kind=found["kind"], num_levels=found["num_levels"], columns=columns)


def _name_of(registry: Any, component: type) -> str:
    name = registry.name_of(component)
    if not name:
        raise UserError(f"a model can be saved when its {registry.kind} is registered, and {component.__name__} is not")
    return name
