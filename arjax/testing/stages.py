"""The laws of stages: parts that fit their events, a cut that inverts, and limits that hold and are tight."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from arjax.core.arrays import check_context, check_values
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.stages import Stages, make_stages
from arjax.testing.examples import several
from arjax.testing.laws import Law, LawTest, NotSupported, by_name, in_cases, refusals, require

#: Small enough to enumerate, of every kind, with values of one and two scalars.
STAGED_EVENTS = (
    EventSpec((4,), (), "levels", 5),
    EventSpec((2,), (), "levels", 40),
    EventSpec((2, 2), (), "levels", 5),
    EventSpec((4, 4)),
    EventSpec((2,), (2,), "levels", 4),
    EventSpec((4,), (), "tokens", 5),
    EventSpec((4, 2), (), "real"),
)


@LawTest
def stages_laws(call: str, *, events: Sequence[EventSpec] = STAGED_EVENTS) -> list[Law]:
    """A pytest test of registered stages, each law on each of the events; events that the stages refuse are skipped,
    with the refusal as the reason. For example `test_my_stages = stages_laws("my_stages(size=2)")`.
    """
    checks = by_name(check_fit, check_inverse, check_limits)

    by_words = {event.in_words: event for event in events}

    def check_one(check: Callable[[Stages, np.ndarray], None], words: str) -> None:
        with refusals():
            stages = make_stages(call, by_words[words])
        check(stages, several(by_words[words], 50))

    return in_cases(checks, by_words, check_one)


def _of_parts(stages: Stages, x: np.ndarray, function: Callable[[int, list[jax.Array]], Any]) -> tuple[Any, list]:
    """The parts of x, and a function of the number and the earlier parts of each stage: one compiled program."""

    @jax.jit
    def stages_and_joined(x: jax.Array) -> tuple[Any, list]:
        parts = list(stages.split(x))
        return parts, [function(k, parts[:k]) for k in range(len(stages.events))]

    return jax.tree.map(np.asarray, stages_and_joined(x))


def check_fit(stages: Stages, x: np.ndarray) -> None:
    """Parts and contexts are values of their events; a local part has a grid that fits; each stage has its context."""
    num = len(stages.events)
    parts, contexts = _of_parts(stages, x, stages.context)
    require(len(parts) == num == len(stages.contexts) > 1, "there are two stages at least, each with an event")
    require(not stages.contexts[0], "the first stage has no earlier parts to read")
    for k, (event, part) in enumerate(zip(stages.events, parts, strict=True)):
        require(part.shape == (len(x), *event.shape), f"part {k} has the shape {part.shape}, not that of its event")
        require(part.dtype == event.dtype, f"part {k} is of type {part.dtype}, not {event.dtype}")
        _require_fine(functools.partial(check_values, event, part, "the part"), f"part {k}")
        _check_one_context(stages.contexts[k], event, contexts[k], len(x))
    if stages.exact:
        require(sum(event.num_dims for event in stages.events) >= stages.event.num_dims, "scalars are lost")


def _check_one_context(spec: ContextSpec, event: EventSpec, context: dict, num: int) -> None:
    require(sorted(context) == [name for name, _ in spec.parts], f"the context {sorted(context)} is not {spec!r}")
    for name, part in spec.parts:
        value = np.asarray(context[name])
        require(value.shape == (num, *part.shape), f"the context {name!r} has the shape {value.shape}")
        _require_fine(functools.partial(check_context, part, value, "it"), f"the context {name!r}")
        pairs = zip(event.grid_shape, part.grid_shape, strict=False)
        fits = all(a % b == 0 or b % a == 0 for a, b in pairs)
        require(name not in spec.local or fits, f"the grid {part.grid_shape} does not fit that of {event.grid_shape}")


def _require_fine(check: Callable[[], None], what: str) -> None:
    try:
        check()
    except UserError as refusal:
        require(False, f"{what}: {refusal}")


def check_inverse(stages: Stages, x: np.ndarray) -> None:
    """`join` is the inverse of `split`, example by example and site by site of a mask."""
    parts, again = jax.tree.map(np.asarray, jax.jit(lambda x: (stages.split(x), stages.join(stages.split(x))))(x))
    require(np.array_equal(again, x), "x is not what its parts are joined to")
    if not stages.exact:
        require(np.array_equal(parts[-1], x), "the last part of a cut that is not exact is x")
    try:
        marks = np.arange(stages.event.num_sites).reshape(1, *stages.event.grid_shape)
        stage_masks = jax.jit(stages.masks)(marks)
    except UserError:
        return
    for k, (event, mask) in enumerate(zip(stages.events, stage_masks, strict=True)):
        require(mask.shape == (1, *event.grid_shape), f"the mask of part {k} has the shape {mask.shape}")
    every = np.concatenate([np.asarray(mask).ravel() for mask in stage_masks])
    require(np.array_equal(np.unique(every), marks.ravel()), "a site of x belongs to no part")


def check_limits(stages: Stages, x: np.ndarray) -> None:
    """The limits hold for all data and are tight: after any earlier parts of an exact cut, as many combinations of
    values occur as the limits allow, so no probability is lost.
    """
    if not stages.event.num_levels:
        raise NotSupported("real values have no limits")
    parts, limits = _of_parts(stages, x, lambda k, before: stages.limits(k, before, len(x)))
    for k, (event, part) in enumerate(zip(stages.events, parts, strict=True)):
        require((limits[k] is not None) == stages.limited(k), f"limited({k}) says the opposite of limits")
        low, high = (0, event.num_levels - 1) if limits[k] is None else limits[k]
        low, high = (np.broadcast_to(bound, part.shape) for bound in (low, high))
        require(((low <= part) & (part <= high)).all(), f"a value of part {k} lies outside of its limits")
        require(((low >= 0) & (high < event.num_levels)).all(), f"limits of part {k} lie outside of its event")
        if not stages.exact:
            continue
        before = np.concatenate([np.zeros((len(x), 1), int), *(each.reshape(len(x), -1) for each in parts[:k])], 1)
        _, first, group = np.unique(before, axis=0, return_index=True, return_inverse=True)
        pairs = np.unique(np.concatenate([group.reshape(-1, 1), part.reshape(len(x), -1)], 1), axis=0)
        for g, count in enumerate(np.bincount(pairs[:, 0])):
            allowed = math.prod((high - low + 1)[first[g]].ravel().tolist())
            require(count == allowed, f"part {k} has {count} values behind the same parts, and its limits {allowed}")
