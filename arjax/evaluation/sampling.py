"""Samples drawn on several devices: the examples are split over the mesh."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from arjax.models import AutoregressiveModel
from arjax.models.checks import as_context, is_one_context
from arjax.models.sampling import keys_of
from arjax.parallel.sharding import BATCH_AXES, batch_sharding, replicated
from arjax.samplers import Draw


def draw_on_mesh(
    model: AutoregressiveModel,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    *,
    given: Any = None,
    context: Any = None,
    **options: Any,
) -> Draw:
    """`num` examples, split over the data axes of a mesh: those of `model.sample`, on any mesh.

    Every device computes its own examples, whatever the sharding of the parameters. Where `num` is no multiple of the
    size of the axes, more examples are drawn and the rest is dropped. All processes of a run call this together.

    Args:
      model: the model.
      params: its parameters, on the mesh.
      key: example b has the key fold_in(key, b).
      num: the number of examples.
      mesh: as from `make_mesh`.
      given: values to clamp, of one example or of each.
      context: of one example or of each.
      **options: those of `model.draw`.

    Returns:
      The draw, whole on every device.

    Raises:
      UserError: as `model.draw`.
    """
    keys_of(key, num)  # checks `num` before it is rounded up: messages name it
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    drawn = -(-num // parts) * parts

    rows = jnp.minimum(jnp.arange(drawn), num - 1)  # the last example once more
    if not is_one_context(model.context_spec, context):
        context = jax.tree.map(lambda array: array[rows], as_context(model.context_spec, context, num))
    if given is not None:
        each = jnp.shape(given) == (num, *model.event.shape)
        options["given"] = jnp.asarray(given)[rows] if each else given
    split = jax.jit(lambda tree: tree, out_shardings=batch_sharding(mesh))
    found = model.draw(params, keys_of(key, drawn), context=context, place=split, **options)
    return _first(found, num, mesh)


def _first(found: Draw, num: int, mesh: Mesh) -> Draw:
    """The first examples of a draw, on all devices."""
    cut = functools.partial(jax.tree.map, lambda leaf: leaf[:num])
    return jax.jit(cut, out_shardings=replicated(mesh))(found)
