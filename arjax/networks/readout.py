"""The layers of a network that return its features. Modules name their layers or parameters that return features in
`READOUT`, and those that map a context as a whole straight to features in `FROM_CONTEXT`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

_collecting = contextvars.ContextVar("collecting", default=False)


def is_collecting() -> bool:
    """Whether the parameters are made for `readout_paths`, which knows them by identity: a jitted function hides it."""
    return _collecting.get()


def readout_paths(init: Callable[[jax.Array], Any], *also: str) -> frozenset[str]:
    """Returns the paths of the parameters of readouts, such as "readout/out/kernel". `init` makes the parameters of a
    model from a key; nothing is computed. With `also="FROM_CONTEXT"`, the layers that modules name there are included.
    """
    paths: set[str] = set()

    def traced(key: jax.Array) -> Any:
        readouts: list[jax.Array] = []
        places: set[tuple[str, ...]] = set()  # in the network whose parameters are being made
        depth = 0

        def collect(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            nonlocal depth
            depth += 1
            result, module = method(*args, **kwargs), context.module
            depth -= 1
            if module.scope is not None:
                names = [name for attribute in ("READOUT", *also) for name in getattr(module, attribute, ())]
                places.update((*module.path, name) for name in names)
            if not depth:  # a scan over steps first makes other parameters
                params = module.variables.get("params", {}) if places else {}
                readouts.extend(leaf for place in places for leaf in jax.tree.leaves(_inside(params, place)))
                places.clear()
            return result

        with nn.intercept_methods(collect):
            params = init(key)
        marked = set(map(id, readouts))
        leaves = jax.tree_util.tree_leaves_with_path(params)
        paths.update(path_of(path) for path, leaf in leaves if id(leaf) in marked)
        return params

    context = contextvars.copy_context()
    context.run(_collecting.set, True)
    context.run(jax.eval_shape, traced, jax.random.key(0))
    return frozenset(paths)


def with_zero_features(params: Any, paths: frozenset[str]) -> Any:
    """Returns the parameters with zeros at the paths, so that all features are 0. Of normalised weights, g v / |v|,
    only g is 0: with both at 0, neither would have a gradient.
    """

    def zeros(path: Any, leaf: jax.Array) -> jax.Array:
        name = path_of(path)
        is_direction = name.endswith("/kernel") and f"{name.removesuffix('kernel')}scale" in paths
        return jnp.zeros_like(leaf) if name in paths and not is_direction else leaf

    return jax.tree_util.tree_map_with_path(zeros, params)


def _inside(params: Any, place: tuple[str, ...]) -> Any:
    """Returns the parameters at a place, {} if there are none."""
    for name in place:
        params = params.get(name, {})
    return params


def path_of(path: Any) -> str:
    """Returns the path of a parameter as one string."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
