"""Draws of any length from a model of sequences: beyond its window the carry goes on, or the window slides.

Networks whose carry has the same size at any length and that know no positions (the trait "unbounded") go on. All
others slide their window: its last part is read as a prompt, at the first positions, and the rest of the window is
drawn behind it. Windows of a long text begin anywhere in it, so such a model has learned that. The noise of site t is a
function of the key of the example and t, so a shorter draw is the beginning of a longer one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.restricted import truncate
from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError, refuse
from arjax.core.options import is_integer
from arjax.core.traits import require
from arjax.factorization import make_factorization
from arjax.models.checks import check_end
from arjax.models.draws import checked_draw, tell_temperature
from arjax.models.queries import evidence_first
from arjax.networks import NETWORKS
from arjax.networks.base import chunk_of
from arjax.samplers import Cached, Draw, Request, Sampler, Steps, make_sampler
from arjax.samplers.base import keys_of_steps, placed
from arjax.samplers.loops import StepForm, num_calls

#: Sites that one call of the compiled program draws.
PIECE = 32
#: The part of a window that is read again when it slides, of networks that read many sites in one pass, and of others.
OVERLAP, OVERLAP_OF_STEPS = 1 / 4, 1 / 6


def draw_in_pieces(
    model: Any, params: Any, keys: jax.Array, length: int, *, sampler: str | Sampler = "cached", **options: Any
) -> Iterator[Draw]:
    """Returns the draw of `model.draw(params, keys, length=length, ...)` piece by piece: `x` [B, n, *value] each, and
    the cost of the piece. The pieces stop early where all examples have ended.
    """
    sampler = make_sampler(sampler)
    of_length(model, length)
    request, _ = checked_draw(model, params, keys, sampler, {"length": length, **options})
    return draw_pieces(model, params, keys, sampler, request)


def join_pieces(drawn: Iterable[Draw], request: Request) -> Draw:
    """Returns the whole draw from its pieces, filled up with the end token where all examples have ended."""
    x_of, stats_of = zip(*drawn, strict=True)
    x = jnp.concatenate(x_of, axis=1)
    if x.shape[1] < request.length:
        x = jnp.pad(x, ((0, 0), (0, request.length - x.shape[1])), constant_values=request.end)
    return Draw(x, jax.tree.map(lambda *counts: sum(counts), *stats_of))


def to_draw_from(model: Any, request: Request) -> Any:
    """Returns the model with the conditional that is drawn from."""
    conditional = truncate(model.conditional, request.top_k, request.top_p, request.min_p)
    return dataclasses.replace(model, conditional=conditional)


def of_length(model: Any, length: int) -> Any:
    """Returns the model that draws sequences of `length` sites: over a grid of that length, if its network goes on,
    else the model itself. Raises `UserError` for no length, no model of sequences, or none in raster order.
    """
    if not is_integer(length) or length < 1:
        raise UserError(f"the length of a draw must be a whole number, at least 1, not {length!r}")
    model = _in_raster_order(require(model, "length", "a draw with a length"))
    longer = model.__class__, model.network, model.conditional, int(length)
    return _lengthened(*longer) if _goes_on(model) else model


def checked_length(model: Any, request: Request) -> Any:
    """Returns the model of the length of a request; raises `UserError` if its window would slide and must not."""
    model = of_length(model, request.length)
    end, size, grids = check_end(model.event, request.end), model.event.num_sites, model.context_spec.grids
    if request.length > size and not _goes_on(model):
        window = f"a draw of {request.length} sites would slide the window of {size} that this network was trained on"
        names = ", ".join(name for name, _ in grids.parts)
        refuse(
            (end is not None, f"{window}, and examples with an end begin at their beginning: draw at most {size}"),
            (grids, f"{window}, and lose its place in the context ({names}): draw at most {size}"),
        )
    return model


def _goes_on(model: Any) -> bool:
    """Returns whether the network is the same over a longer sequence."""
    return "unbounded" in model.network.traits


def _in_raster_order(model: Any) -> Any:
    """Returns the model, with its orders, under raster order; raises `UserError` if it has no such order."""
    event, factorization = model.event, model.factorization
    if not event.is_sequence:
        raise UserError(f"a draw has a length where examples are sequences; those of this model are {event.in_words}")
    raster = np.arange(event.num_sites)[:, None]
    if not np.array_equal(np.asarray(factorization.blocks), raster):
        turned = model.orders is None or factorization.block_size > 1
        form = "model.ordering=raster and model.partition=sites"
        refuse((turned, f"a draw of another length goes along the sequence: it needs a model of {form}"))
        factorization = evidence_first(model, *np.eye(event.num_sites, dtype=bool))
    return dataclasses.replace(model, factorization=factorization)


@functools.lru_cache(maxsize=32)
def _lengthened(kind: Any, network: Any, conditional: Any, length: int) -> Any:
    """Returns the same model over another number of sites; raises `UserError` if its parameters are not the same."""
    of_size = lambda size: kind(  # noqa: E731
        network.clone(parent=None, event=dataclasses.replace(network.event, grid_shape=(size,))),
        conditional,
        jax.tree.map(jnp.asarray, make_factorization((size,))),
    )
    short, longer = of_size(network.event.num_sites), of_size(length)
    differ, name = short.param_shapes != longer.param_shapes, NETWORKS.name_of(type(network))
    refuse((differ, f"the network {name!r} has the trait 'unbounded', but its parameters depend on the length"))
    return longer


def draw_pieces(model: Any, params: Any, keys: jax.Array, sampler: Sampler, request: Request) -> Iterator[Draw]:
    """Returns the draw of a checked request in pieces, or in one where a sampler cannot go on from a carry."""
    tell_temperature(sampler, request.temperature)
    model = dataclasses.replace(to_draw_from(of_length(model, request.length), request), orders=None)
    prompt = 0 if request.observed is None else int(request.observed.sum())
    request = dataclasses.replace(request, length=0)
    if not _goes_on(model):
        rest = _windows(model, params, keys, sampler, request, prompt)
    elif isinstance(sampler, Cached) and type(sampler).draw is Cached.draw:  # a subclass may draw in a way of its own
        rest = _carried(model, params, keys, sampler, request, prompt)
    else:
        return (sampler(model, params, keys, request) for _ in range(1))  # when it is asked for
    return _with_prompt(rest, request.given, prompt)


def _with_prompt(rest: Iterator[Draw], canvas: jax.Array, prompt: int) -> Iterator[Draw]:
    """Yields the pieces, the first one with the prompt before it."""
    for n, (x, stats) in enumerate(rest):
        yield Draw(jnp.concatenate([canvas[:, :prompt], x], 1) if prompt and not n else x, stats)


def _windows(
    model: Any, params: Any, keys: jax.Array, sampler: Sampler, request: Request, prompt: int
) -> Iterator[Draw]:
    """Yields pieces behind the prompt, each of which is drawn behind the last sites before it in a window."""
    canvas, length = request.given, request.given.shape[1]
    size, chunk = model.event.num_sites, StepForm(model.network, None, model.factorization).chunk
    overlap = int(size * (OVERLAP if chunk_of(model.network) > 1 else OVERLAP_OF_STEPS))
    if isinstance(sampler, Cached) and not sampler.chunk and 1 < overlap < chunk:
        sampler = dataclasses.replace(sampler, chunk=overlap)
    # The windows are those of a draw without a prompt, from the first one that holds a site behind it.
    start = max(-(-(prompt - size + 1) // (size - overlap)), 0) * (size - overlap)
    seen, known = canvas[:, start : min(start + size, length)], prompt - start
    window = jnp.pad(seen, [(0, 0), (0, size - seen.shape[1]), *[(0, 0)] * (seen.ndim - 2)])
    while True:
        stop = min(start + size, length)
        observed = np.arange(size) < known
        of_window = dataclasses.replace(request, given=window, observed=observed, first=start, stop=stop - start)
        x, stats = sampler(model, params, keys, of_window)
        yield Draw(x[:, known : stop - start], stats)
        if stop == length:
            return
        window, start, known = jnp.roll(x, overlap, axis=1), stop - overlap, overlap


def _carried(
    model: Any, params: Any, keys: jax.Array, sampler: Cached, request: Request, prompt: int
) -> Iterator[Draw]:
    """Yields pieces behind the prompt, each of which goes on from the carry of the one before."""
    (num, length), end = request.given.shape[:2], request.end
    model = dataclasses.replace(model, conditional=sampler.head(model.conditional))
    size, chunk = min(PIECE, length), sampler.chunk or StepForm(model.network, None, model.factorization).chunk
    carry, canvas = begin(model, params, request, prompt, chunk), request.given
    calls = num_calls(carry, prompt, chunk)
    ended = jnp.zeros(num, bool) if end is None else (canvas[:, :prompt] == end).any(1)
    request = dataclasses.replace(request, observed=None, given=None)
    for start in range(prompt, length, size):
        drawn = min(size, length - start)
        carry, canvas, x = go_on(model, params, keys, carry, canvas, request, jnp.int32(start), size)
        x, steps = x[:, size - drawn :], jnp.full(num, drawn, jnp.int32)
        if end is not None:
            x, steps, ended = _with_ends(x, ended, end)
        yield Draw(x, {"network_calls": jnp.full(num, calls + drawn, jnp.int32), "steps": steps})
        calls = 0
        if end is not None and bool(ended.all()):
            return


@jax.jit
def _with_ends(x: jax.Array, ended: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Values [B, n] with the end token behind ends, their numbers up to it, int32[B], and which examples have ended."""
    counts = up_to_end(x, end) & ~ended[:, None]
    return jnp.where(counts, x, end).astype(x.dtype), counts.sum(1).astype(jnp.int32), ended | (x == end).any(1)


@functools.partial(jax.jit, static_argnames="chunk")
def begin(model: Any, params: Any, request: Request, prompt: jax.Array, chunk: int) -> Any:
    """Returns the carry behind the first `prompt` steps; one program for prompts of all lengths."""
    chunk = min(chunk, model.factorization.num_steps)
    return StepForm.of(model, params).read_prompt(request.given, request.context, prompt, chunk)


@functools.partial(jax.jit, static_argnames="num")
def go_on(
    model: Any,
    params: Any,
    keys: jax.Array,
    carry: Any,
    canvas: jax.Array,
    request: Request,
    start: jax.Array,
    num: int,
) -> tuple[Any, jax.Array, jax.Array]:
    """Makes `num` steps, or those that are left. Returns the carry, the canvas, and the last `num` values."""
    form, steps = StepForm.of(model, params), Steps(model, params, keys, request)
    keys_nB = keys_of_steps(keys, start + jnp.arange(num))  # alone: those of all steps are many

    def draw(t: jax.Array, state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        carry, canvas = state
        carry, features = form.step(carry, canvas, t, request.context)
        flat = canvas.reshape(*canvas.shape[:2], -1)
        values = jax.vmap(steps.value, (0, None, 0, 0))(keys_nB[t - start], t, flat, features)
        return carry, placed(form.factorization, canvas, t, values)

    last = jnp.minimum(start + num, form.factorization.num_steps)
    carry, canvas = jax.lax.fori_loop(start, last, draw, (carry, canvas))
    return carry, canvas, jax.lax.dynamic_slice_in_dim(canvas, last - num, num, axis=1)
