"""A model as JSON and named arrays, and back: its event, context, network, conditional and orders, nothing of a config.
A model that is made of models is described by its kind and its fields.

The orders are written as arrays (the sites in order, the sizes of the blocks), not by their names: orders that were
computed from training data are restored without the data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional
from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject
from arjax.core.registry import Registry
from arjax.core.spec import EventSpec
from arjax.factorization import Factorization, Orders
from arjax.interop.reader import NETWORK_FIELDS, Reader
from arjax.models.base import Model
from arjax.models.kinds import FIELD_TYPES, KINDS, is_model
from arjax.quantizers import QUANTIZERS, Quantizer

Arrays = dict[str, np.ndarray]


def describe(model: Model, prefix: str = "model") -> tuple[dict[str, Any], Arrays]:
    """The parts of a model: a JSON object, and the arrays of its orders by names that begin with `prefix`.

    Raises:
      UserError: a network or a conditional that is not registered, or that has an option which is no plain value.
    """
    arrays: Arrays = {}
    return _Writer(arrays).model(model, prefix), arrays


def rebuild(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Model:
    """The inverse of `describe`. All `arrays` belong to the model.

    Raises:
      UnknownNameError: a `UserError`: a network or a conditional that nothing has registered here.
      UserError: an entry or an array that is missing, unknown, or of another type; options that are others here, or
        parts that do not fit.
    """
    reader = Reader(arrays)
    model = reader.model(JsonObject(description, "model"))
    if unknown := arrays.keys() - reader.used:
        raise UserError(f"the tensor {min(unknown)!r} belongs to no part of the model")
    return model


class _Writer:
    """Turns the parts of a model into JSON, and puts their arrays aside."""

    def __init__(self, arrays: Arrays):
        self._arrays = arrays

    def model(self, model: Model, path: str) -> dict[str, Any]:
        """The description that the kind gives of itself."""
        return model.described(self, path)

    def by_fields(self, model: Model, path: str) -> dict[str, Any]:
        """The name of the kind, and the fields of the dataclass."""
        fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
        return {
            "kind": _name_of(KINDS, type(model)),
            "fields": {name: self.field(value, f"{path}/{name}") for name, value in fields.items()},
        }

    def field(self, value: Any, path: str) -> Any:
        """A field of a model: models, components with a name, orders, or plain values."""
        if is_model(value):
            return {"model": self.model(value, path)}
        if isinstance(value, tuple) and value and all(map(is_model, value)):
            return {"models": [self.model(each, f"{path}/{i}") for i, each in enumerate(value)]}
        if isinstance(value, Conditional):
            return {"conditional": self.conditional(value, path)}
        if isinstance(value, EventSpec):
            return {"event": dataclasses.asdict(value)}
        if isinstance(value, Factorization):
            return {"factorization": self.factorization(value, path)}
        for entry, networks in NETWORK_FIELDS.items():
            network = networks.named(value)
            if networks.registry.name_of(type(network)):
                about = self.network(network, networks.registry)
                return {entry: about | {"num_features": network.num_features}}
        if isinstance(value, Quantizer):
            return {"quantizer": {"name": _name_of(QUANTIZERS, type(value))} | dataclasses.asdict(value)}
        if name := FIELD_TYPES.name_of(type(value)):
            return {name: dataclasses.asdict(value)}
        if value is not None and not isinstance(value, bool | int | float | str | tuple):
            raise UserError(f"a model with the field {path!r} cannot be saved: {value!r}")
        return {"value": value}

    def network(self, network: Any, registry: Registry) -> dict[str, Any]:
        """A network of a registry, with its event and context."""
        name = _name_of(registry, type(network))
        return {
            "event": dataclasses.asdict(network.event),
            "context": {part: dataclasses.asdict(spec) for part, spec in network.context_spec.parts},
            **({"local": network.context_spec.local} if network.context_spec.local else {}),
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
            elif is_model(value):
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


def _name_of(registry: Any, component: type) -> str:
    name = registry.name_of(component)
    if not name:
        raise UserError(f"a model can be saved when its {registry.kind} is registered, and {component.__name__} is not")
    return name
