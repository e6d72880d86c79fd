"""Draws: what a user asks for, checked once and made arrays; and the keys, values and statistics of draws in parts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.temperature import as_temperature
from arjax.core.arrays import as_array, as_sites, filled_behind_end
from arjax.core.errors import UserError, say_once
from arjax.core.options import LARGEST, check_size, is_integer, opt
from arjax.core.programs import check_memory
from arjax.core.spec import EventSpec
from arjax.models.checks import as_context, as_values, check_end, check_key, check_params, is_one_context
from arjax.models.extras import examples_of_part, sampled_part
from arjax.samplers import PLAIN_DRAW, SAMPLERS, Cached, Draw, DrawOptions, Resources, Sampler, example_keys

Placed = Callable[[Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Request(DrawOptions):
    """The options of a draw as `draw_examples` takes them: `given` of each example, [B, *grid, *value] in the type of
    the event (0 where a site is not observed), `observed` as numpy bool[*grid], and the context of each example.

    Attributes:
      shared: whether all examples have the same given values and the same context.
    """

    shared: bool = opt(False)


def checked_draw(
    model: Any,
    params: Any,
    keys: jax.Array,
    sampler: Sampler,
    options: DrawOptions | None,
    place: Placed | None,
    short: Mapping[str, Any],
) -> tuple[jax.Array, Request, dict[str, Any]]:
    """Returns the keys and the options of a draw, checked and in their places, and the options that only this kind of
    model has. The arguments are those of `Model.draw`.
    """
    options, others = options_of_draw(options, short, model)
    check_params(model.param_shapes, params)
    check_draws(model, sampler, options)
    num, event = num_keys(keys), model.event
    check_memory(num * event.num_dims * event.dtype.itemsize, f"{num:,} examples take")
    given, observed, shared = None, None, False
    if (options.given is None) != (options.observed is None):
        raise UserError("`given` values and the mask of `observed` sites go together: pass both or neither")
    if options.observed is not None:
        observed = as_sites(event, options.observed, "`observed`")
        given = canvas_of(event, num, options.given, observed)
        shared = np.shape(options.given) == event.shape and is_one_context(model.context_spec, options.context)
    elif "given" in model.takes:
        given = jnp.zeros((num, *event.shape), event.dtype)
    of_examples = keys, given, as_context(model.context_spec, options.context, num, one_for_all=True)
    keys, given, context = place(of_examples) if place else of_examples
    truncation = {name: getattr(options, name) for name in ("top_k", "top_p", "min_p")}
    temperature, end = as_temperature(options.temperature), check_end(event, options.end)
    return keys, Request(given, observed, context, temperature, **truncation, end=end, shared=shared), others


def draw_part(model: Any, params: Any, keys: jax.Array, sampler: Sampler, options: DrawOptions, **others: Any) -> Draw:
    """Returns the draw of a model or of a part of one, of checked arguments. If the kind cannot stop at an end, the
    sites behind the first one are filled with it, except for observed ones: up to there the draw has the distribution
    of one that stops. A statistic `log_prob` would be that of the whole sequence, and is left out.
    """
    if options.end is None or "end" in model.takes:
        return model.draw_examples(params, keys, sampler, options, **others)
    draw = model.draw_examples(params, keys, sampler, dataclasses.replace(options, end=None), **others)
    stats = {name: values for name, values in draw.stats.items() if name != "log_prob"}
    return Draw(filled_behind_end(draw.x, options.end, options.observed), stats)


def plain_request(context: Any = None, temperature: Any = 1.0) -> Request:
    """Returns the options of the draw of a part that takes no others."""
    return Request(context=context, temperature=temperature)


def options_of_draw(
    options: DrawOptions | None, short: Mapping[str, Any], model: Any = None
) -> tuple[DrawOptions, dict[str, Any]]:
    """Returns the options of a draw, given as one value or one by one, and those that only the kind of the model has;
    raises `UserError` for both.
    """
    fields = {field.name for field in dataclasses.fields(DrawOptions)}
    one_by_one, others = DrawOptions.of(short, frozenset() if model is None else model.takes - fields - {"sampler"})
    if options is not None and len(short) > len(others):
        raise UserError("the options of a draw are one value or keyword arguments, not both")
    return one_by_one if options is None else options, others


@functools.singledispatch
def check_draws(model: Any, sampler: Sampler, options: DrawOptions = PLAIN_DRAW) -> None:
    """Raises `UserError` for a sampler or options of draws that a model cannot take: before it is trained, too."""
    if "sampler" not in model.takes and sampler != Cached():
        raise UserError(f"{type(model).__name__} draws in its own way: leave sample.sampler at cached")
    refuse(model, options)


def refuse(model: Any, options: DrawOptions) -> None:
    """Raises `UserError` for options of a draw that a kind of model does not take, unless they are off."""
    as_temperature(options.temperature)
    for name in options.used():
        if name not in model.takes and name not in ("context", "end"):
            raise UserError(f"{type(model).__name__} cannot draw with {name}: this kind of model has no such option")


def opened(sampler: Sampler, model: Any, open_run: Callable[[str], Any]) -> Sampler:
    """Returns the sampler with the other runs that it needs to draw from a model, see `Sampler.opened`."""
    if part := sampled_part(model):
        return opened(sampler, model.named_parts[part], open_run)
    return sampler.opened(model, open_run)


def prepared(sampler: Sampler, model: Any, params: Any, resources: Resources) -> Sampler:
    """Returns the sampler with the arrays that it needs to draw from a model, see `Sampler.prepare`."""
    part = sampled_part(model)
    if not part:
        return sampler.prepare(model, params, resources) if "conditionals" in model.traits else sampler

    def examples(split: str, num: int) -> Any:
        return examples_of_part(model, params, resources.examples(split, num))

    of_part = dataclasses.replace(resources, examples=examples)
    return prepared(sampler, model.named_parts[part], params[part], of_part)


def keys_of(key: jax.Array, num: int) -> jax.Array:
    """Returns the keys of `num` examples drawn under one key; raises `UserError` for other arguments."""
    if not is_integer(num) or num < 1:
        raise UserError(f"the number of samples must be a whole number, at least 1, not {num!r}")
    check_size(num, LARGEST, "the number of samples")
    check_key(key)
    return example_keys(key, num)


@jax.jit
def step_keys(keys_B: jax.Array, t: int | jax.Array) -> jax.Array:
    """Returns other keys of the same examples, such as those of a step: fold_in(keys[b], t)."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys_B, t)


def tell_temperature(sampler: Sampler, temperature: Any) -> None:
    """Says on stderr that a temperature has no effect, where the sampler looks for probable values."""
    if not sampler.WARMS and not isinstance(temperature, jax.Array) and temperature != 1.0:
        say_once(f"the sampler {SAMPLERS.name_of(type(sampler))!r} finds the same values at any temperature")


def num_keys(keys: Any) -> int:
    """Returns B; raises `UserError` unless these are B random keys."""
    if not isinstance(keys, jax.Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != 1:
        raise UserError(f"the keys of a draw are as from jax.random.split(jax.random.key(0), 8), not {keys!r}")
    if not len(keys):
        raise UserError("a draw needs at least one key")
    return len(keys)


def canvas_of(event: EventSpec, num: int, given: Any, observed: np.ndarray) -> jax.Array:
    """Returns the values of the observed sites, and 0 elsewhere, [num, *event.shape]."""
    given = as_array(given, "given")
    if given.shape not in (event.shape, (num, *event.shape)):
        raise UserError(f"`given` has shape {given.shape}, but {num} examples have shape {(num, *event.shape)}")
    given, remedy = given if given.shape != event.shape else given[None], "a missing value is not observed"
    given = as_values(event, given, "given", observed, remedy=remedy)
    return jnp.broadcast_to(given, (num, *event.shape))


def added_stats(first: Mapping[str, jax.Array], second: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the statistics of a draw behind another one that belongs to the same examples: those of the second, with
    those of the first added. The member of a mixture is no count: it is left out where both draws chose one.
    """
    both = first.keys() & second.keys()
    return {name: value + first[name] if name in both else value for name, value in second.items()
            if not (name == "member" and name in both)}  # fmt: skip
