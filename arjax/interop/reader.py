"""A model out of JSON and arrays that others have written: every entry is checked before it is used."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional
from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject, checked
from arjax.core.registry import Registry
from arjax.core.spec import ContextSpec, EventSpec, check_spec
from arjax.factorization import Factorization, Orders, from_order
from arjax.factorization.factorization import check_permutation
from arjax.models.base import Model
from arjax.models.kinds import FIELD_TYPES, KINDS, ModelChoice, check_dtype
from arjax.networks.denoisers import (
    BLOCK_DENOISERS,
    DENOISERS,
    BlockTransformer,
    Denoiser,
    make_block_denoiser,
    make_denoiser,
)
from arjax.networks.denoisers.any_order import AnyOrderDenoiser
from arjax.quantizers import QUANTIZERS, Quantizer


class NetworkField(NamedTuple):
    """A kind of network that may be a field of a model.

    Attributes:
      registry: knows the classes by name.
      make: `(name, event, context, num_features, dtype, **options)`.
      named: the network that the registry knows, of one that may wrap it.
    """

    registry: Registry
    make: Callable[..., Any]
    named: Callable[[Any], Any] = lambda network: network


def _unwrapped(network: Any) -> Any:
    return network.network if isinstance(network, AnyOrderDenoiser) else network


#: By the names of their entries in files. A network of `NETWORKS` stands in a model of the kind autoregressive.
NETWORK_FIELDS = {
    "denoiser": NetworkField(DENOISERS, make_denoiser, _unwrapped),
    "block_denoiser": NetworkField(BLOCK_DENOISERS, make_block_denoiser),
}


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
        parts, options = found.object("fields"), KINDS.options(KINDS.name_of(family))
        found.end()
        model = family(**self.fields(family, parts, self.field, options))
        model.check_parts()
        return model

    def fields(
        self,
        family: type,
        parts: JsonObject,
        read: Callable[[JsonObject], Any],
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """The fields of a dataclass, each of the type that it declares. Fields that are left out have a default: their
        own, or that of the option with their name, where it is a plain value.
        """
        values = {}
        for field in dataclasses.fields(family):
            place, declared = f"{parts.place}/{field.name}", _in_words(field.type)
            if field.name not in parts and field.default is not dataclasses.MISSING:
                continue
            if field.name not in parts and field.name in options and declared in _PLAIN:
                values[field.name] = options[field.name]
                continue
            value = parts.take(field.name)
            value = read(JsonObject(value, place)) if isinstance(value, dict) else _tuples(value)
            _check_declared(value, declared, place)
            values[field.name] = float(value) if declared == "float" else value
        parts.end()
        return values

    def field(self, found: JsonObject) -> Any:
        """The inverse of that of the writer."""
        readers = {"model": self.model, "conditional": self.conditional, "event": _event}
        readers |= {"factorization": self.factorization, "quantizer": _quantizer}
        readers |= {entry: functools.partial(self.network_field, field) for entry, field in NETWORK_FIELDS.items()}
        readers |= {name: functools.partial(self.plain, FIELD_TYPES[name]) for name in FIELD_TYPES}
        for kind, read in readers.items():
            if kind in found:
                value = read(found.object(kind))
                break
        else:
            models = "models" in found
            value = tuple(map(self.model, found.objects("models"))) if models else _tuples(found.take("value"))
        found.end()
        return value

    def plain(self, family: type, found: JsonObject) -> Any:
        """A dataclass of plain values and events."""
        return family(**self.fields(family, found, _event))

    def network_field(self, field: NetworkField, found: JsonObject) -> Any:
        num_features = found.count("num_features", 1)
        event, context, dtype, name, options = self.network(found)
        found.end()
        return field.make(name, event, context, num_features, dtype, **options)

    def network(self, found: JsonObject) -> tuple[EventSpec, ContextSpec, str, str, dict[str, Any]]:
        """The event, the context, the compute type, the name and the options of a network, none of them checked
        together.
        """
        event, context, dtype = _event(found.object("event")), _context(found), found.take("dtype", str)
        check_spec(event, EventSpec)
        check_dtype(dtype)
        options = found.object("network")
        name = options.take("name", str)
        return event, context, dtype, name, {key: _tuples(value) for key, value in options.rest()}

    def conditional(self, found: JsonObject) -> Conditional:
        family = CONDITIONALS.get(found.take("name", str))
        return family(**self.fields(family, found, self.part_of_conditional))

    def part_of_conditional(self, found: JsonObject) -> Any:
        value: Any
        if "conditionals" in found:
            value = tuple(map(self.conditional, found.objects("conditionals")))
        elif "model" in found:
            value = self.model(found.object("model"))
        else:
            value = self.conditional(found.object("conditional"))
        found.end()
        return value

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
        return Orders(first, pool)

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
    "Denoiser": Denoiser,
    "BlockTransformer": BlockTransformer,
    "Factorization": Factorization,
    "Quantizer": Quantizer,
}
_PLAIN = {"bool": bool, "int": int, "float": float, "str": str}


def _in_words(declared: Any) -> str:
    """The type of a field as it is written; modules with and without `from __future__ import annotations` agree."""
    if isinstance(declared, type):
        return declared.__name__
    return re.sub(r"[\w.]+\.(\w+)", r"\1", str(declared))


def _parts() -> dict[str, type]:
    registered = [registry[name] for registry in (KINDS, FIELD_TYPES) for name in registry]
    return _PARTS | {family.__name__: family for family in registered}


def _check_declared(value: Any, declared: str, place: str) -> None:
    """Raises `UserError` unless a value has the type that its field declares, such as `tuple[int, ...]`."""
    parts = _parts()
    kinds = declared.removesuffix(" | None")
    if value is None and (kinds != declared or kinds == "Any"):
        return
    element = re.fullmatch(r"tuple\[(\w+), \.\.\.\]", kinds)
    if element and element[1] in parts | _PLAIN:
        for i, each in enumerate(value if isinstance(value, tuple) else [value]):
            _check_declared(each, element[1], f"{place}/{i}")
        fine = isinstance(value, tuple)
    elif kinds in _PLAIN:
        checked(value, place, _PLAIN[kinds])
        return
    elif kinds in parts:
        fine = isinstance(value, parts[kinds])
    else:  # filled in when the model computes; or plain values that another package declares in its own way
        fine = kinds not in ("Any", "jax.Array") and not isinstance(value, tuple(parts.values()))
    if not fine:
        raise UserError(f"{place} must be of the type {declared}")


def _tuples(value: Any) -> Any:
    """JSON has lists for tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _quantizer(found: JsonObject) -> Quantizer:
    name = found.take("name", str)
    return QUANTIZERS.component(name, {option: _tuples(value) for option, value in found.rest()}).build()


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
