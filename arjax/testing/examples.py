"""Inputs of the laws: small events of every kind of data, contexts, and random examples of them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from arjax.core.spec import ContextSpec, EventSpec, class_label, vector
from arjax.testing.laws import NotSupported

_COLUMNS = (("real", 0), ("tokens", 3), ("binary", 2), ("levels", 4), ("real", 0), ("tokens", 5))
#: Events on six sites of every kind of data, with scalar and vector values, on a line and on a grid.
EVENTS = {
    "binary": EventSpec((2, 3)),
    "levels_vector": EventSpec((6,), (2,), "levels", 4),
    "tokens": EventSpec((3, 2), (), "tokens", 5),
    "real": EventSpec((2, 3), (), "real", 0),
    "columns": EventSpec((6,), kind="columns", columns=tuple(EventSpec((), (), *column) for column in _COLUMNS)),
}
#: A line of tokens; one part of every other kind: classes, vectors, frames, images of vectors of levels; and local
#: parts on the grid of `EVENTS["tokens"]` and on a coarser one.
CONTEXTS = {
    "sequence": ContextSpec("sequence", 4, 3),
    "several": ContextSpec(
        style=class_label(3),
        z=vector(2),
        sound=EventSpec((3,), (2,), "real"),
        image=EventSpec((2, 2), (2,), "levels", 3),
    ),
    "local": ContextSpec(
        coarse=EventSpec((3, 1), (), "levels", 3),
        same=EventSpec((3, 2), (), "tokens", 4),
        style=class_label(3),
        local=("coarse", "same"),
    ),
}
#: Examples in one pass: the batch of `dependence`, 8 examples for each of 6 sites, so that all laws share programs.
BATCH = 8 * 6


def random_x(event: EventSpec, num: int, seed: int = 0) -> np.ndarray:
    """`num` random examples of an event."""
    if event.columns:
        columns = [random_x(column, num, seed + i) for i, column in enumerate(event.columns)]
        return np.stack(columns, 1, dtype=np.float32)
    return event.noise(np.random.default_rng(seed), num)


def with_holes(event: EventSpec, x: np.ndarray, seed: int = 2) -> np.ndarray:
    """Returns real examples or columns without a random third of the sites; the first has all, the second none."""
    missing = np.random.default_rng(seed).random((len(x), *event.grid_shape)) < 1 / 3
    missing[0], missing[1] = False, True
    return np.where(missing.reshape(*missing.shape, *[1] * len(event.value_shape)), np.nan, x).astype(event.dtype)


def random_context(spec: ContextSpec, num: int) -> dict[str, np.ndarray] | None:
    """`num` random contexts by their parts, or None."""
    return {name: random_x(part, num, seed=9) for name, part in spec.parts} or None


def other_values(event: EventSpec, x: np.ndarray) -> np.ndarray:
    """Examples like x, each value of which is another one."""
    other = (x + 1) % event.num_levels if event.num_levels else x + 1
    for i, column in enumerate(event.columns):
        if column.num_levels:
            other[:, i] %= column.num_levels
    return other


def another_part(spec: ContextSpec, context: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The context with one of its parts changed everywhere."""
    return context | {name: other_values(dict(spec.parts)[name], context[name])}


def several(event: EventSpec, num: int) -> np.ndarray:
    """All examples of an event where they are finitely many, else `num` random ones."""
    return all_values(event) if event.is_discrete else random_x(event, num)


def all_values(event: EventSpec, grid: bool = True) -> np.ndarray:
    """Every possible example, [levels^dims, *grid, *value]; without `grid` every value of one site."""
    if not event.is_discrete:
        raise NotSupported("real values cannot be enumerated")
    shape = event.shape if grid else event.value_shape
    num_dims = int(np.prod(shape))
    digits = np.indices((event.num_levels,) * num_dims).reshape(num_dims, -1).T
    return digits.reshape(-1, *shape).astype(np.int32)


def random_like(shapes: Any, seed: int = 1) -> Any:
    """Returns parameters of these shapes without zeros, about twice as large as at initialisation: every path matters,
    and no distribution is near uniform.
    """
    rng = np.random.default_rng(seed)

    def leaf(path: Any, shape: Any) -> np.ndarray:
        noise, name = rng.normal(size=shape.shape), path[-1].key
        if name.endswith("scale"):  # of a normalisation
            return np.asarray(1 + 0.1 * noise, np.float32)
        if len(shape.shape) < 2 or name.endswith("bias"):
            return np.asarray(0.1 * noise, np.float32)
        return np.asarray(2 * noise / np.sqrt(shape.shape[-2]), np.float32)

    return jax.tree.map_with_path(leaf, shapes)
