"""The sections of a config that name a component: its name or its kind, and all its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from arjax.config.base import base_config
from arjax.core.errors import UserError
from arjax.core.registry import Registry, did_you_mean
from arjax.core.values import as_tuples, as_typed


def dataset_config(name: str, **options: Any) -> ConfigDict:
    """The config of a data set: its name and all its options, at their defaults where not given."""
    from arjax.data import DATASETS

    return _component_config(DATASETS, name, options)


def network_config(name: str, kind: str = "autoregressive", /, **options: Any) -> ConfigDict:
    """The config of a network: its name and all its hyper-parameters, at their defaults where not given.

    `kind`: of the model; chains have denoisers. Raises `UserError` for a kind whose parts have the networks.
    """
    from arjax.models import KINDS

    registry = KINDS.get(kind).NETWORKS
    if registry is None:
        raise UserError(f"the kind of model {kind!r} has no network of its own, only parts may have networks")
    return _component_config(registry, name, options)


def model_config(kind: str, **options: Any) -> ConfigDict:
    """The section `model`: a kind of model and all its options, at their defaults where not given.

    Raises:
      UserError: an unknown kind or option, or a value of another type.
    """
    from arjax.models import KINDS

    return _component_config(KINDS, kind, options, "kind")


def part(
    network: str = "", model: ConfigDict | Mapping[str, Any] | None = None, parts: Any = None, **options: Any
) -> ConfigDict:
    """A model that another one is made of: its sections `model`, `network` and `parts`, as those of a config.

    Args:
      network: name of its network; `options` are its options. "" where its parts have networks.
      model: options of the kind autoregressive, such as `{"conditional": "gaussian"}`, or a `model_config`.
      parts: its own parts by name.

    Raises:
      UserError: an unknown name or option, or a value of another type.
    """
    own = model if isinstance(model, ConfigDict) else model_config("autoregressive", **(model or {}))
    net = network_config(network, own.kind, **options) if network else ConfigDict({"name": ""}).lock()
    return ConfigDict({"model": own, "network": net, "parts": dict(parts or {})}).lock()


def optimizer_config(name: str, **options: Any) -> ConfigDict:
    """The section `optimizer`: the fields that every config has, and the other options of the rule at their defaults.

    Raises:
      UserError: an unknown optimizer or option, or a value of another type.
    """
    from arjax.training.optimizer import own_options

    section = base_config().optimizer.to_dict() | {"name": name} | own_options(name)
    for key, value in options.items():
        if key not in section:
            raise UserError(f"the optimizer {name!r} has no option {key!r}{did_you_mean(key, section)}")
        section[key] = as_typed(value, section[key], f"the option {key!r} of the optimizer {name!r}")
    return ConfigDict(section).lock()


def small_network_config(name: str) -> ConfigDict:
    """The config of a network as small as its family's own tests use it, for smoke runs."""
    from arjax.networks import NETWORKS

    return network_config(name, **NETWORKS.get(name).SMALL)


def _component_config(registry: Registry, name: str, options: dict[str, Any], field: str = "name") -> ConfigDict:
    values = registry.resolve(name, options)
    for key, value in values.items():
        assert value is not None, f"option {key!r} of {registry.kind} {name!r} is None: it could not be overridden"
    return ConfigDict({field: name} | {key: as_tuples(value) for key, value in values.items()}).lock()
