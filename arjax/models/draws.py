"""Draws: what a user asks for, checked once and made arrays; and keys and statistics of draws from parts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.numerics import as_temperature
from arjax.core.arrays import as_array, as_sites, filled_behind_end
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import LARGEST, check_names, check_size, is_integer
from arjax.core.programs import check_memory
from arjax.core.spec import EventSpec
from arjax.models.checks import as_context, as_values, check_end, check_key, check_params, is_one_context
from arjax.models.extras import examples_of_part, sampled_part
from arjax.samplers import PLAIN_DRAW, SAMPLERS, Cached, Draw, Request, Resources, Sampler, example_keys
from arjax.samplers.request import OPTIONS


def checked_draw(
    model: Any, params: Any, keys: jax.Array, sampler: Sampler, options: Mapping[str, Any]
) -> tuple[Request, dict[str, Any]]:
    """Returns the request of a draw, checked and as arrays, and the options that only this kind of model has."""
    more = model.takes.difference(OPTIONS, ("sampler",))
    check_names("draw", options, {*OPTIONS, *more, "sampler"})
    request = Request(**{name: value for name, value in options.items() if name in OPTIONS})
    check_params(model.param_shapes, params)
    check_draws(model, sampler, request)
    num, event = num_keys(keys), model.event
    if request.length:
        event = dataclasses.replace(event, grid_shape=(int(request.length),))
    check_memory(num * event.num_dims * event.dtype.itemsize, f"{num:,} examples take")
    given, observed, is_one = given_values(event, num, request)
    if given is None and "given" in model.takes:
        given = jnp.zeros((num, *event.shape), event.dtype)
    return dataclasses.replace(
        request,
        given=given,
        observed=observed,
        context=as_context(model.context_spec, request.context, num, one_for_all=True),
        temperature=as_temperature(request.temperature),
        end=check_end(event, request.end),
        shared=is_one and not request.length and is_one_context(model.context_spec, request.context),
    ), {name: value for name, value in options.items() if name in more}


def given_values(event: EventSpec, num: int, request: Request) -> tuple[jax.Array | None, np.ndarray | None, bool]:
    """Returns the values of the observed sites with 0 elsewhere, [num, *event.shape], these sites bool[*grid], and
    whether one value was given for all examples; None where nothing is observed.
    """
    given, observed = request.given, request.observed
    with_length = request.length and observed is not None
    alone = observed is not None if given is None else observed is None and not event.is_sequence
    refuse(
        (with_length, "a draw with a length begins with the `given` values: leave out `observed`"),
        (alone, "`given` values and the mask of `observed` sites go together: pass both or neither"),
    )
    if given is None:
        return None, None, False
    if observed is None:
        given, observed = _prompt(event, num, as_array(given, "given"))
    observed, given = as_sites(event, observed, "`observed`"), as_array(given, "given")
    shapes = event.shape, (num, *event.shape)
    refuse((given.shape not in shapes, f"`given` has shape {given.shape}, but {num} examples have shape {shapes[1]}"))
    is_one = given.shape == event.shape
    rows, remedy = given[None] if is_one else given, "a missing value is not observed"
    values = as_values(event, rows, "given", observed, remedy=remedy)
    return jnp.broadcast_to(values, (num, *event.shape)), observed, is_one


def _prompt(event: EventSpec, num: int, given: Any) -> tuple[Any, np.ndarray]:
    """Returns the first values of sequences with zeros behind them, and the sites of these values."""
    one, size = given.ndim == 1 + len(event.value_shape), event.num_sites
    prompt = given.shape[1 - one] if given.ndim > 1 - one else 0
    shape, fits = event.value_shape, 0 < prompt < size and given.shape == (*(num,)[one:], prompt, *event.value_shape)
    form = f"have shape {('P', *shape)} or {(num, 'P', *shape)} with 0 < P < {size}"
    sites = f"the first sites of {num} sequences of length {size}"
    refuse((not fits, f"`given` has shape {given.shape}, but {sites} {form}"))
    behind = [(0, size - prompt if axis == 1 - one else 0) for axis in range(given.ndim)]
    pad = jnp.pad if isinstance(given, jax.Array) else np.pad
    return pad(given, behind), np.arange(size) < prompt


def draw_part(model: Any, params: Any, keys: jax.Array, sampler: Sampler, options: Request, **others: Any) -> Draw:
    """Returns the draw of a model or a part, of checked arguments. If the kind cannot stop at an end, the unobserved
    sites behind the first end are filled with it, and the statistic `log_prob`, of the whole sequence, is left out.
    """
    if options.end is None or "end" in model.takes:
        return model.draw_examples(params, keys, sampler, options, **others)
    draw = model.draw_examples(params, keys, sampler, dataclasses.replace(options, end=None), **others)
    stats = {name: values for name, values in draw.stats.items() if name != "log_prob"}
    return Draw(filled_behind_end(draw.x, options.end, options.observed), stats)


@functools.singledispatch
def check_draws(model: Any, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    """Raises `UserError` for a sampler or options of draws that a model cannot take; also called before a training."""
    fixed = "sampler" not in model.takes and sampler != Cached()
    refuse((fixed, f"{type(model).__name__} draws in one way: leave sample.sampler at cached"))
    check_taken(model, options)


def check_taken(model: Any, options: Request) -> None:
    """Raises `UserError` for options of a draw that a kind of model does not take, unless they are off."""
    as_temperature(options.temperature)
    kind, known = type(model).__name__, {*model.takes, "context", "end"}
    refuse(*[(name not in known, f"{kind} cannot draw with {name}: it has no such option") for name in options.used()])


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
    wrong = not is_integer(num) or num < 1
    refuse((wrong, f"the number of samples must be a whole number, at least 1, not {num!r}"))
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
    refuse((not len(keys), "a draw needs at least one key"))
    return len(keys)


def added_stats(first: Mapping[str, jax.Array], second: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the statistics of the second draw plus those of the first; without `member` where both chose one."""
    both = first.keys() & second.keys()
    return {name: value + first[name] if name in both else value for name, value in second.items()
            if not (name == "member" and name in both)}  # fmt: skip
