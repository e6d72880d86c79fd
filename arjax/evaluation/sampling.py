"""Samples drawn on several devices: the examples are split over the mesh."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.evaluation.prompts import prompt_tokens
from arjax.evaluation.splits import spread_examples
from arjax.models import Model
from arjax.models.draws import checked_draw, draw_part, keys_of, prepared
from arjax.models.longer import draw_pieces, of_length
from arjax.parallel.sharding import BATCH_AXES, batch_sharding, replicated
from arjax.samplers import Draw, Request, Resources, Sampler, make_sampler

#: Workdir -> another run, with its `model` and its `params`.
OpenRun = Callable[[str], Any]


def draw_on_mesh(
    model: Model,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    *,
    sampler: str | Sampler = "cached",
    **options: Any,
) -> Draw:
    """Draws `num` examples, split over the data axes of a mesh: those of `model.sample`, on any mesh.

    Every device computes its own examples, whatever the sharding of the parameters. If `num` is no multiple of the size
    of the axes, more examples are drawn and the rest is dropped. All processes of a run call this together. Returns the
    draw, whole on every device.

    Args:
      params: its parameters, on the mesh.
      key: example b has the key fold_in(key, b).
      mesh: as from `make_mesh`.
      **options: as for `model.draw`.
    """
    keys, sampler, request, others = _spread(model, params, key, num, mesh, sampler, options)
    return _cut_to(num, mesh)(draw_part(model, params, keys, sampler, request, **others))


def pieces_on_mesh(
    model: Model,
    params: Any,
    key: jax.Array,
    num: int,
    mesh: Mesh,
    length: int,
    *,
    sampler: str | Sampler = "cached",
    **options: Any,
) -> Iterator[Draw]:
    """Returns the draw of `draw_on_mesh(..., length=length)` piece by piece, as `draw_in_pieces` of one device."""
    keys, sampler, request, _ = _spread(model, params, key, num, mesh, sampler, {"length": length, **options})
    return map(_cut_to(num, mesh), draw_pieces(model, params, keys, sampler, request))


def _spread(
    model: Model, params: Any, key: jax.Array, num: int, mesh: Mesh, sampler: str | Sampler, options: dict[str, Any]
) -> tuple[jax.Array, Sampler, Request, dict[str, Any]]:
    """The arguments of a draw of at least `num` examples, as many as divide over the mesh, on their devices."""
    keys, sampler = keys_of(key, num), make_sampler(sampler)
    request, others = checked_draw(model, params, keys, sampler, options)
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    rows = np.minimum(np.arange(-(-num // parts) * parts), num - 1)  # the last example once more
    of_examples = keys, request.given, request.context
    if len(rows) > num:
        of_examples = jax.tree.map(lambda leaf: leaf[rows], of_examples)
    keys, given, context = _split_over(mesh)(of_examples)
    return keys, sampler, dataclasses.replace(request, given=given, context=context), others


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
      length: that of the draw.
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


def options_of_run(
    model: Model,
    params: Any,
    dataset: Dataset,
    open_run: OpenRun,
    *,
    sampler: str | Sampler = "cached",
    prompt: str = "",
    length: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Returns the options of a draw from a run, with the arrays of its sampler, the tokens of a prompt and the end of
    texts.
    """
    sampler = prepare_sampler(sampler, model, params, dataset, open_run, length)
    given = {"given": prompt_tokens(dataset, prompt, length)} if prompt else {}
    return options | given | {"sampler": sampler, "length": length, "end": dataset.end}
