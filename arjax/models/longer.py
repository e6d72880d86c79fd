"""Draws of any length from a model of sequences: beyond its window the carry goes on, or the window slides.

Networks whose carry has the same size at any length and that know no positions (the trait "unbounded") go on: over a
longer sequence they are the same network, with the same parameters. All others slide their window: its last part is
read as a prompt, at the first positions, and the rest of the window is drawn behind it. Windows of a long text begin
anywhere in it, so such a model has learned that.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import truncate
from arjax.core.arrays import as_array, up_to_end
from arjax.core.errors import UserError
from arjax.core.options import is_integer
from arjax.core.traits import require
from arjax.factorization import make_factorization
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.checks import as_context, as_values, check_end, check_params
from arjax.models.draws import num_keys, options_of_draw, tell_temperature
from arjax.models.queries import evidence_first
from arjax.networks import NETWORKS
from arjax.networks.base import ChunkedNetwork, chunk_of
from arjax.samplers import Cached, Draw, DrawOptions, Sampler, make_sampler
from arjax.samplers.stream import begin, go_on

#: Sites that one call of the compiled program draws.
PIECE = 32
#: The part of a window that is read again when it slides: of networks that read many sites in one pass, and of others,
#: for which that takes as long as drawing them.
OVERLAP, OVERLAP_OF_STEPS = 1 / 4, 1 / 6


def draw_longer(
    model: Any,
    params: Any,
    keys: jax.Array,
    length: int,
    options: DrawOptions | None = None,
    *,
    sampler: str | Sampler = "cached",
    overlap: int = 0,
    place: Callable[[Any], Any] | None = None,
    **short: Any,
) -> Draw:
    """Draws a sequence of `length` sites for each of the B keys: `x` [B, length, *value], and statistics of the draw.

    The noise of site t is a function of the key of the example and t, as in `model.draw`: the first sites are those of
    an ordinary draw under the same keys, and a shorter draw is the beginning of a longer one. Statistics add up. Where
    there is an `end`, the draw stops when all examples have ended. The arguments and refusals are those of `pieces`.
    """
    options, _ = options_of_draw(options, short)
    drawn = pieces(model, params, keys, length, options, sampler=sampler, overlap=overlap, place=place)
    return joined(drawn, length, options.end)


def joined(drawn: Iterable[Draw], length: int, end: int | None) -> Draw:
    """The draw of `length` sites from its pieces, filled up with the end token where all examples have ended."""
    x_of, stats_of = zip(*drawn, strict=True)
    x = jnp.concatenate(x_of, axis=1)
    if x.shape[1] < length:
        x = jnp.pad(x, ((0, 0), (0, length - x.shape[1])), constant_values=end)
    return Draw(x, jax.tree.map(lambda *counts: sum(counts), *stats_of))


def pieces(
    model: Any,
    params: Any,
    keys: jax.Array,
    length: int,
    options: DrawOptions | None = None,
    *,
    sampler: str | Sampler = "cached",
    overlap: int = 0,
    place: Callable[[Any], Any] | None = None,
    **short: Any,
) -> Iterator[Draw]:
    """The draw of `draw_longer` piece by piece, as it is drawn: `x` [B, n, *value] each, and the cost of the piece.

    Joined along the second axis they are the sequences; they stop early where all examples have ended.

    Args:
      model: an `AutoregressiveModel` of sequences in raster order, one site a step.
      params, keys: its parameters, and random keys, [B].
      length: sites of each sequence, prompt included; more or fewer than the model was trained on.
      options: as one value, or `short` one by one: `DrawOptions` without `observed`. `given` are the first sites, [P,
        *value] or [B, P, *value] with P < length; a window that slides reads the last ones.
      sampler: a call string, or a sampler that fits `of_length(model, length)`. Of networks that go on, others than
        `cached` and `greedy` draw all in one piece.
      overlap: sites at the end of a window that are read again when it slides, so that each site is drawn given at
        least so many before it; 0: a quarter of a window, or a sixth where the network reads them one by one. Of no
        meaning for networks that go on.
      place: as for `model.draw`.

    Raises:
      UserError: no model of sequences in raster order; a context with positions, or an end token, where the window
        would slide; or as `model.draw`.
    """
    options, sampler, num = options_of_draw(options, short)[0], make_sampler(sampler), num_keys(keys)
    if options.observed is not None:
        raise UserError("a draw with a length begins with the `given` values: leave out `observed`")
    check_params(model.param_shapes, params)
    conditional = truncate(model.conditional, options.top_k, options.top_p, options.min_p)
    model = dataclasses.replace(of_length(model, length), conditional=conditional)
    sampler.check(model)
    model = dataclasses.replace(model, orders=None)
    end = check_end(model.event, options.end)
    canvas, prompt = _canvas(model.event, num, options.given, length)
    of_examples = keys, canvas, as_context(model.context_spec, options.context, num, one_for_all=True)
    keys, canvas, context = place(of_examples) if place else of_examples
    rest = _Rest(model, params, keys, options.resolved(context=context, end=end), sampler)
    tell_temperature(sampler, rest.options.temperature)
    if "unbounded" not in model.network.traits:
        overlap = _overlap(model, length, end, overlap)
        return _with_prompt(_windows(rest, canvas, prompt, length, overlap), canvas, prompt)
    if isinstance(sampler, Cached) and type(sampler).draw is Cached.draw:  # a subclass may draw in a way of its own
        return _with_prompt(_carried(rest, canvas, prompt, sampler), canvas, prompt)
    return _at_once(rest, canvas, prompt)


def of_length(model: Any, length: int) -> Any:
    """The model that draws sequences of `length` sites: over a grid of that length, under one order, where its network
    goes on, else the model itself, in raster order. Raises `UserError` for no length, no model of sequences, or none in
    that order.
    """
    if not is_integer(length) or length < 1:
        raise UserError(f"the length of a draw must be a whole number, at least 1, not {length!r}")
    model = _in_raster_order(require(model, "length", "a draw with a length"))
    return _lengthened(model.network, model.conditional, int(length)) if "unbounded" in model.network.traits else model


def check_length(model: Any, length: int, end: int | None) -> None:
    """Raises `UserError` where the model cannot draw so many sites, or its draws have no such end; as `pieces`."""
    model = of_length(model, length)
    if "unbounded" not in model.network.traits:
        _overlap(model, length, check_end(model.event, end), 0)


def _in_raster_order(model: Any) -> Any:
    """The model, with its orders, under that one; raises `UserError` where it has no such order."""
    event, factorization = model.event, model.factorization
    if len(event.grid_shape) != 1 or event.columns:
        raise UserError(f"a draw has a length where examples are sequences; those of this model are {event.in_words}")
    raster = np.arange(event.num_sites)[:, None]
    if not np.array_equal(np.asarray(factorization.blocks), raster):
        if model.orders is None or factorization.block_size > 1:
            raise UserError(
                "a draw of another length goes along the sequence, one site after another: it needs a model of "
                "model.ordering=raster and model.partition=sites"
            )
        factorization = evidence_first(model, *np.eye(event.num_sites, dtype=bool))
    return dataclasses.replace(model, factorization=factorization)


@functools.lru_cache(maxsize=32)
def _lengthened(network: Any, conditional: Any, length: int) -> Any:
    """The same model over another number of sites; raises `UserError` where its parameters are not the same."""
    of_size = lambda size: AutoregressiveModel(  # noqa: E731
        network.clone(parent=None, event=dataclasses.replace(network.event, grid_shape=(size,))),
        conditional,
        jax.tree.map(jnp.asarray, make_factorization((size,))),
    )
    short, longer = of_size(network.event.num_sites), of_size(length)
    if short.param_shapes != longer.param_shapes:
        name = NETWORKS.name_of(type(network))
        raise UserError(
            f"the network {name!r} has the trait 'unbounded', but its parameters depend on the length of the sequence"
        )
    return longer


def _canvas(event: Any, num: int, given: Any, length: int) -> tuple[jax.Array, int]:
    """The prompt and zeros behind it, [num, length, *value], and the number of its sites."""
    canvas = np.zeros((num, length, *event.value_shape), event.dtype)
    if given is None:
        return jnp.asarray(canvas), 0
    given = as_array(given, "given")
    one = given.ndim == 1 + len(event.value_shape)
    given = given[None] if one else given
    prompt = given.shape[1] if given.ndim > 1 else 0
    if given.shape != (1 if one else num, prompt, *event.value_shape) or prompt >= length:
        raise UserError(
            f"`given` has shape {given.shape[one:]}, but the first sites of {num} sequences of length {length} have "
            f"shape {('P', *event.value_shape)} or {(num, 'P', *event.value_shape)} with P < {length}"
        )
    canvas[:, :prompt] = as_values(dataclasses.replace(event, grid_shape=(prompt,)), given, "given") if prompt else 0
    return jnp.asarray(canvas), prompt


@dataclasses.dataclass(frozen=True)
class _Rest:
    """What all pieces of a draw share."""

    model: Any
    params: Any
    keys: jax.Array
    options: DrawOptions
    sampler: Sampler

    def draw(self, canvas: jax.Array, observed: jax.Array | None, first: int = 0, stop: int | None = None) -> Draw:
        options = dataclasses.replace(self.options, observed=observed)
        return self.sampler(self.model, self.params, self.keys, canvas, options, first=first, stop=stop)


def _with_prompt(rest: Iterator[Draw], canvas: jax.Array, prompt: int) -> Iterator[Draw]:
    """The pieces, the first one with the prompt before it."""
    for n, (x, stats) in enumerate(rest):
        yield Draw(jnp.concatenate([canvas[:, :prompt], x], 1) if prompt and not n else x, stats)


def _at_once(rest: _Rest, canvas: jax.Array, prompt: int) -> Iterator[Draw]:
    """The whole draw as one piece."""
    yield rest.draw(canvas, jnp.arange(canvas.shape[1]) < prompt if prompt else None)


def _carried(rest: _Rest, canvas: jax.Array, prompt: int, sampler: Cached) -> Iterator[Draw]:
    """Pieces behind the prompt, each of which goes on from the carry of the one before."""
    (num, length), options = canvas.shape[:2], rest.options
    model = dataclasses.replace(rest.model, conditional=sampler.head(rest.model.conditional))
    shared, size = (model, rest.params), min(PIECE, length)
    chunk = sampler.chunk or chunk_of(model.network)
    progress, calls = begin(*shared, canvas, prompt, options.context, options.end, chunk), -(-prompt // chunk)
    for start in range(prompt, length, size):
        drawn, before = min(size, length - start), progress.ended
        how = options.context, options.temperature, options.end
        progress, x = go_on(*shared, rest.keys, progress, *how, size)
        x, steps = x[:, size - drawn :], jnp.full(num, drawn, jnp.int32)
        if options.end is not None:
            steps = _steps_before_end(x, before, options.end)
        yield Draw(x, {"network_calls": jnp.full(num, calls + drawn, jnp.int32), "steps": steps})
        calls = 0
        if options.end is not None and bool(progress.ended.all()):
            return


@jax.jit
def _steps_before_end(x: jax.Array, ended: jax.Array, end: jax.Array) -> jax.Array:
    """How many of some further values [B, n] stand before the end of their example or are it, int32[B]."""
    return jnp.where(ended, 0, up_to_end(x, end).sum(1)).astype(jnp.int32)


def _overlap(model: Any, length: int, end: int | None, overlap: int) -> int:
    """How many sites a window that slides reads again; raises `UserError` where it cannot slide."""
    size, network = model.event.num_sites, model.network
    if not is_integer(overlap) or not 0 <= overlap < max(size, 2):
        raise UserError(f"the overlap of windows of {size} sites must be a whole number from 0 to {size - 1}")
    if length > size:
        window = f"a draw of {length} sites would slide the window of {size} that this network was trained on"
        if end is not None:
            raise UserError(f"{window}, and examples with an end begin at their beginning: draw at most {size}")
        if model.context_spec.grids:
            names = ", ".join(name for name, _ in model.context_spec.grids.parts)
            raise UserError(f"{window}, and lose its place in the context ({names}): draw at most {size}")
    return overlap or int(size * (OVERLAP if isinstance(network, ChunkedNetwork) else OVERLAP_OF_STEPS))


def _windows(rest: _Rest, canvas: jax.Array, prompt: int, length: int, overlap: int) -> Iterator[Draw]:
    """Pieces behind the prompt, each of which is drawn behind the last sites before it in a window."""
    size, chunk = rest.model.event.num_sites, chunk_of(rest.model.network)
    if isinstance(rest.sampler, Cached) and not rest.sampler.chunk and 1 < overlap < chunk:
        rest = dataclasses.replace(rest, sampler=dataclasses.replace(rest.sampler, chunk=overlap))
    # The windows are those of a draw without a prompt, from the first one that holds a site behind it.
    start = max(-(-(prompt - size + 1) // (size - overlap)), 0) * (size - overlap)
    seen, known = canvas[:, start : min(start + size, length)], prompt - start
    window = jnp.pad(seen, [(0, 0), (0, size - seen.shape[1]), *[(0, 0)] * (seen.ndim - 2)])
    while True:
        stop = min(start + size, length)
        x, stats = rest.draw(window, np.arange(size) < known, start, stop - start)
        yield Draw(x[:, known : stop - start], stats)
        if stop == length:
            return
        window, start, known = jnp.roll(x, overlap, axis=1), stop - overlap, overlap
