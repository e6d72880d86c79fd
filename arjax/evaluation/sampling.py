"""Samples drawn on several devices: the examples are split over the mesh."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from arjax.core.arrays import as_array
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.evaluation.splits import spread_examples
from arjax.models import Model
from arjax.models.checks import as_context, is_one_context
from arjax.models.draws import keys_of, options_of_draw, prepared
from arjax.models.longer import joined, of_length, pieces
from arjax.parallel.sharding import BATCH_AXES, batch_sharding, replicated
from arjax.samplers import Draw, DrawOptions, Resources, Sampler, make_sampler

#: Workdir -> another run, with its `model` and its `params`.
OpenRun = Callable[[str], Any]


def draw_on_mesh(
    model: Model,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    options: DrawOptions | None = None,
    *,
    sampler: str | Sampler = "cached",
    length: int = 0,
    **short: Any,
) -> Draw:
    """`num` examples, split over the data axes of a mesh: those of `model.sample`, on any mesh.

    Every device computes its own examples, whatever the sharding of the parameters. Where `num` is no multiple of the
    size of the axes, more examples are drawn and the rest is dropped. All processes of a run call this together.
    Returns the draw, whole on every device.

    Args:
      params: its parameters, on the mesh.
      key: example b has the key fold_in(key, b).
      mesh: as from `make_mesh`.
      options: of the draw, as one value, or `short` one by one, as for `model.draw`; `given` and `context` of one
        example or of each.
      length: sites of each example, of a model of sequences, see `pieces_on_mesh`; 0: as many as it was trained on.
    """
    options, others = options_of_draw(options, short, model)
    if length:
        drawn = pieces_on_mesh(model, params, key, num, mesh, length, options, sampler=sampler, **others)
        return joined(drawn, length, options.end)
    keys, options = _on_mesh(model, key, num, mesh, options)
    draw = model.draw(params, keys, options, sampler=sampler, place=_split_over(mesh), **others)
    return _cut_to(num, mesh)(draw)


def pieces_on_mesh(
    model: Model,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    length: int,
    options: DrawOptions | None = None,
    *,
    sampler: str | Sampler = "cached",
    **short: Any,
) -> Iterator[Draw]:
    """`num` sequences of `length` sites, piece by piece as they are drawn; see `arjax.models.longer.pieces`.

    The arguments are those of `draw_on_mesh`, but `given` holds the first sites, of one example or of each.
    """
    keys, options = _on_mesh(model, key, num, mesh, options_of_draw(options, short)[0])
    drawn = pieces(model, params, keys, length, options, sampler=sampler, place=_split_over(mesh))
    return map(_cut_to(num, mesh), drawn)


def _on_mesh(model: Model, key: jax.Array, num: int, mesh: Mesh, options: DrawOptions) -> tuple[jax.Array, DrawOptions]:
    """The keys of at least `num` examples, as many as divide over the mesh, and the options of a draw of so many."""
    keys_of(key, num)  # checks `num` before it is rounded up: messages name it
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    drawn = -(-num // parts) * parts

    rows = np.minimum(np.arange(drawn), num - 1)  # the last example once more
    if not is_one_context(model.context_spec, options.context):
        context = as_context(model.context_spec, options.context, num)
        options = dataclasses.replace(options, context=jax.tree.map(lambda array: array[rows], context))
    if options.given is not None:
        given = as_array(options.given, "given")
        each = jnp.ndim(given) == 1 + len(model.event.shape) and len(given) == num
        options = dataclasses.replace(options, given=jnp.asarray(given)[rows] if each else given)
    return keys_of(key, drawn), options


@functools.lru_cache(maxsize=16)
def _split_over(mesh: Mesh) -> Callable[[Any], Any]:
    """One function for all draws on a mesh, compiled once for each of their shapes."""
    return jax.jit(lambda tree: tree, out_shardings=batch_sharding(mesh))


@functools.lru_cache(maxsize=16)
def _cut_to(num: int, mesh: Mesh) -> Callable[[Draw], Draw]:
    """Cuts a draw to its first examples, on all devices: one function for all of its pieces, compiled once a shape."""
    cut = functools.partial(jax.tree.map, lambda leaf: leaf[:num])
    return jax.jit(cut, out_shardings=replicated(mesh))


def prepare_sampler(
    sampler: str | Sampler, model: Model, params: Any, dataset: Dataset, open_run: OpenRun, length: int = 0
) -> Sampler:
    """A sampler with the arrays that it needs beside those of the model, from the data of a run and other runs.

    Args:
      open_run: workdir -> another run, with its `model` and its `params`.
      length: that of the draw, see `draw_on_mesh`.
    """

    def examples(split: str, num: int) -> Batch:
        return spread_examples(dataset, split, num, "this sampler")

    sampler = make_sampler(sampler)
    if not length:
        return prepared(sampler, model, params, Resources(examples, open_run))
    stepwise = require(model, "length", "a draw with a length")

    def opened(workdir: str) -> Any:
        other = open_run(workdir)
        if "unbounded" not in stepwise.network.traits:
            return other  # proposes within windows
        if "unbounded" not in other.model.network.traits:
            raise UserError(
                f"the network of the draft {workdir!r} does not go on behind its window, as that of the model"
            )
        return SimpleNamespace(model=of_length(other.model, length), params=other.params)

    return sampler.prepare(of_length(stepwise, length), params, Resources(examples, opened))
