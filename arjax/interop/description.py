"""A model as JSON and named arrays, and back: its event, context, network, conditional and orders, nothing of a config.
A model that is made of models is described by its kind and its fields.

The orders are written as arrays (the sites in order, the sizes of the blocks), not by their names: orders that were
computed from training data are restored without the data.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional
from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject, checked
from arjax.core.registry import Registry
from arjax.core.spec import ContextSpec, EventSpec, check_spec
from arjax.core.values import as_tuples
from arjax.factorization import Factorization, Orders, from_order
from arjax.factorization.factorization import check_permutation
from arjax.models.base import Model
from arjax.models.kinds import FIELD_TYPES, KINDS, ModelChoice, check_dtype, is_model
from arjax.networks import NETWORKS, denoisers
from arjax.networks.denoisers.any_order import AnyOrderDenoiser
from arjax.quantizers import QUANTIZERS, Quantizer

Arrays = dict[str, np.ndarray]


#: The kinds of networks that may be fields of a model, by the names of their entries in files: the registry, and the
#: maker `(name, event, context, num_features, dtype, **options)`. A network of `NETWORKS` stands in a model of the kind
#: autoregressive.
NETWORK_FIELDS: dict[str, tuple[Registry, Callable[..., Any]]] = {
    "denoiser": (NETWORKS, denoisers.make_denoiser),
    "block_denoiser": (NETWORKS, denoisers.make_block_denoiser),
}


def describe(model: Model, prefix: str = "model") -> tuple[dict[str, Any], Arrays]:
    """The parts of a model: a JSON object, and the arrays of its orders by names that begin with `prefix`.

    Raises `UserError` for a network or a conditional that is not registered, or has an option that is no plain value.
    """
    arrays: Arrays = {}
    return model.described(_Writer(arrays), prefix), arrays


def rebuild(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Model:
    """The inverse of `describe`. All `arrays` belong to the model.

    Raises `UserError` for an entry or an array that is missing, unknown, or of another type; options that are others
    here, or parts that do not fit; `UnknownNameError` for a network or a conditional that nothing has registered here.
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
            return {"model": value.described(self, path)}
        if isinstance(value, tuple) and value and all(map(is_model, value)):
            return {"models": [each.described(self, f"{path}/{i}") for i, each in enumerate(value)]}
        if isinstance(value, Conditional):
            return {"conditional": self.conditional(value, path)}
        if isinstance(value, tuple) and value and all(isinstance(each, Conditional) for each in value):
            return {"conditionals": [self.conditional(each, path) for each in value]}
        if isinstance(value, EventSpec):
            return {"event": dataclasses.asdict(value)}
        if isinstance(value, Factorization):
            return {"factorization": self.factorization(value, path)}
        network = value.network if isinstance(value, AnyOrderDenoiser) else value
        for entry, (registry, _) in NETWORK_FIELDS.items():
            if registry.name_of(type(network)):
                return {entry: self.network(network, registry) | {"num_features": network.num_features}}
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
        """Its name and its fields, of which plain values stand as they are."""
        found: dict[str, Any] = {"name": _name_of(CONDITIONALS, type(conditional))}
        for field in dataclasses.fields(conditional):
            part = self.field(getattr(conditional, field.name), f"{path}/{field.name}")
            found[field.name] = part.get("value", part)
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
        if orders.weights is not None:
            self._arrays[f"{path}/weights"] = np.asarray(orders.weights, np.float32)
        return {"arrays": path, "first": self.factorization(orders.first, f"{path}/first")}


def _name_of(registry: Any, component: type) -> str:
    if name := registry.name_of(component):
        return name
    raise UserError(f"a model can be saved when its {registry.kind} is registered, and {component.__name__} is not")


class Reader:
    """Turns JSON and arrays into the parts of a model. Whoever wrote the file may have written anything: every entry is
    checked, and parts are put together only where the parts of a new model would be.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays
        self.used: set[str] = set()  # names of the arrays that were read

    def model(self, found: JsonObject) -> Model:
        """The inverse of the writer's; so are the other methods."""
        kind = found.take("kind", str) if "kind" in found else ModelChoice.kind
        return KINDS.get(kind).restored(self, found)

    def by_fields(self, family: type, found: JsonObject) -> Model:
        parts = found.object("fields")
        found.end()
        model = family(**self.fields(family, parts, self.field))
        model.check_parts()
        return model

    def fields(self, family: type, parts: JsonObject, read: Callable[[JsonObject], Any]) -> dict[str, Any]:
        """The fields of a dataclass, each of the type that it declares. Those with a default may be left out."""
        values = {}
        for field in dataclasses.fields(family):
            place, declared = f"{parts.place}/{field.name}", _in_words(field.type)
            if field.name not in parts and field.default is not dataclasses.MISSING:
                continue
            value = parts.take(field.name)
            value = read(JsonObject(value, place)) if isinstance(value, dict) else as_tuples(value)
            _check_declared(value, declared, place)
            values[field.name] = float(value) if declared == "float" else value
        parts.end()
        return values

    def field(self, found: JsonObject) -> Any:
        """The inverse of that of the writer."""
        readers = {"model": self.model, "conditional": self.conditional, "event": _event}
        readers |= {"factorization": self.factorization, "quantizer": _quantizer}
        readers |= {entry: functools.partial(self.made_network, make) for entry, (_, make) in NETWORK_FIELDS.items()}
        readers |= {name: functools.partial(self.plain, FIELD_TYPES[name]) for name in FIELD_TYPES}
        kind = next((kind for kind in readers if kind in found), "")
        if kind:
            value = readers[kind](found.object(kind))
        elif "models" in found:
            value = tuple(map(self.model, found.objects("models")))
        elif "conditionals" in found:
            value = tuple(map(self.conditional, found.objects("conditionals")))
        else:
            value = as_tuples(found.take("value"))
        found.end()
        return value

    def plain(self, family: type, found: JsonObject) -> Any:
        """A dataclass of plain values and events."""
        return family(**self.fields(family, found, _event))

    def made_network(self, make: Callable[..., Any], found: JsonObject) -> Any:
        num_features = found.count("num_features", 1)
        event, context, dtype, name, options = self.network(found)
        found.end()
        return make(name, event, context, num_features, dtype, **options)

    def network(self, found: JsonObject) -> tuple[EventSpec, ContextSpec, str, str, dict[str, Any]]:
        """Event, context, compute type, name and options of a network, none of them checked together."""
        event, context, dtype = _event(found.object("event")), _context(found), found.take("dtype", str)
        check_spec(event, EventSpec)
        check_dtype(dtype)
        options = found.object("network")
        name = options.take("name", str)
        return event, context, dtype, name, {key: as_tuples(value) for key, value in options.rest()}

    def conditional(self, found: JsonObject) -> Conditional:
        family = CONDITIONALS.get(found.take("name", str))
        return family(**self.fields(family, found, self.field))

    def factorization(self, found: JsonObject) -> Factorization:
        path, grid_shape = found.take("arrays", str), tuple(found.items("grid_shape", int))
        found.end()
        order, sizes = self.array(f"{path}/order", "int32", 1), self.array(f"{path}/sizes", "int32", 1)
        factorization = from_order(order, sizes, grid_shape)
        if f"{path}/parents" not in self._arrays:
            return factorization
        parents = self.array(f"{path}/parents", "bool", 2)
        step_D = np.asarray(factorization.step)
        if parents.shape != (len(order),) * 2 or (parents & ~(step_D[None, :] < step_D[:, None])).any():
            raise UserError(f"the tensor {path + '/parents'!r} is no graph of edges from earlier steps")
        return dataclasses.replace(factorization, parents=parents, connected=bool(parents.any()))

    def orders(self, found: JsonObject, name: str) -> Orders | None:
        """The entry of that name, which may be null."""
        several = found.take(name, dict, type(None))
        if several is None:
            return None
        found = JsonObject(several, f"{found.place}/{name}")
        path, first = found.take("arrays", str), self.factorization(found.object("first"))
        found.end()
        if f"{path}/pool" not in self._arrays:
            return Orders(first)
        pool = self.array(f"{path}/pool", "int32", 2)
        if not len(pool):
            raise UserError(f"the tensor {path + '/pool'!r} has no orders")
        for order in pool:
            check_permutation(order, first.num_sites)
        if f"{path}/weights" not in self._arrays:
            return Orders(first, pool)
        weights = self.array(f"{path}/weights", "float32", 1)
        if len(weights) - len(pool) not in (0, 1) or not (weights > 0).all() or abs(weights.sum() - 1) > 1e-3:
            raise UserError(f"the tensor {path + '/weights'!r} is no list of the probabilities of {len(pool)} orders")
        return Orders(first, pool, weights)

    def array(self, name: str, dtype: str, ndim: int) -> np.ndarray:
        """The array of that name; raises `UserError` where it is missing, of another type or another rank."""
        if name not in self._arrays:
            raise UserError(f"there is no tensor {name!r}")
        array = self._arrays[name]
        if array.dtype != dtype or array.ndim != ndim:
            raise UserError(f"the tensor {name!r} must have the type {dtype} and {ndim} axes, not {array.dtype}")
        self.used.add(name)
        return array


#: The parts that a field may declare beside models of each kind; a field of another type takes plain values.
_PARTS = {
    "Conditional": Conditional,
    "Model": Model,
    "EventSpec": EventSpec,
    "Denoiser": denoisers.Denoiser,
    "BlockTransformer": denoisers.BlockTransformer,
    "Factorization": Factorization,
    "Quantizer": Quantizer,
}
_PLAIN = {"bool": bool, "int": int, "float": float, "str": str}


def _in_words(declared: Any) -> str:
    """The type of a field as it is written; modules with and without `from __future__ import annotations` agree."""
    if isinstance(declared, type):
        return declared.__name__
    return re.sub(r"[\w.]+\.(\w+)", r"\1", str(declared))


def _check_declared(value: Any, declared: str, place: str) -> None:
    """Raises `UserError` unless a value has the type that its field declares, such as `tuple[int, ...]`."""
    registered = [registry[name] for registry in (KINDS, FIELD_TYPES) for name in registry]
    parts = _PARTS | {family.__name__: family for family in registered}
    kinds = declared.removesuffix(" | None")
    if value is None and (kinds != declared or kinds == "Any"):
        return
    if kinds in _PLAIN:
        checked(value, place, _PLAIN[kinds])
        return
    element = re.fullmatch(r"tuple\[(\w+), \.\.\.\]", kinds)
    if element and element[1] in parts | _PLAIN:
        for i, each in enumerate(value if isinstance(value, tuple) else [value]):
            _check_declared(each, element[1], f"{place}/{i}")
        fine = isinstance(value, tuple)
    elif kinds in parts:
        fine = isinstance(value, parts[kinds])
    else:  # filled in when the model computes; or plain values that another package declares in its own way
        fine = kinds not in ("Any", "Array") and not isinstance(value, tuple(parts.values()))
    if not fine:
        raise UserError(f"{place} must be of the type {declared}")


def _quantizer(found: JsonObject) -> Quantizer:
    name = found.take("name", str)
    return QUANTIZERS.component(name, {option: as_tuples(value) for option, value in found.rest()}).build()


def _context(found: JsonObject) -> ContextSpec:
    parts = found.object("context")
    specs: dict[str, Any] = {name: _event(JsonObject(part, f"{parts.place}/{name}")) for name, part in parts.rest()}
    return ContextSpec(local=tuple(found.items("local", str)) if "local" in found else (), **specs)


def _event(found: JsonObject) -> EventSpec:
    shapes = {key: tuple(found.items(key, int)) for key in ("grid_shape", "value_shape")}
    columns = tuple(map(_event, found.objects("columns"))) if "columns" in found else ()
    event = EventSpec(**shapes, kind=found.take("kind", str), num_levels=found.count("num_levels"), columns=columns)
    found.end()
    return event
