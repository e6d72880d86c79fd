"""The forms of a network, each one compiled program: one pass, step by step, and windows of `extend` and `keep`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.spec import EventSpec
from arjax.factorization import Factorization, from_order
from arjax.models import AutoregressiveModel
from arjax.networks import Network
from arjax.samplers.loops import StepForm
from arjax.testing.examples import other_values, random_x
from arjax.testing.models import params_of


def parallel(network: Network, params: Any, x: Any, factorization: Factorization, context: Any = None) -> jax.Array:
    """Features [B, D, F] in one pass. Jitted on the network alone: one compilation for all orderings."""
    return _parallel(network, params, x, factorization, context)  # with a default left out it would compile anew


@functools.partial(jax.jit, static_argnums=0)
def _parallel(network, params, x, factorization, context):
    features = network.apply({"params": params}, x, factorization, context)
    return features.reshape(x.shape[0], factorization.num_sites, -1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_prob(network, conditional, params, x, factorization):
    return AutoregressiveModel(network, conditional, factorization).log_prob(params, x)


def log_prob(model: AutoregressiveModel, x: np.ndarray, params: Any = None) -> np.ndarray:
    """log p(x) under the parameters (`params_of(model)`), float64[B]; one compilation for all orderings."""
    params = params_of(model) if params is None else params
    scores = _log_prob(model.network, model.conditional, params, x, model.factorization)
    return np.asarray(scores, np.float64)


def _canvas_before(t, x, garbage, factorization):
    """The values of the steps before t, and `garbage` at all sites that step t must not read."""
    x_BDv, garbage_BDv = (a.reshape(a.shape[0], factorization.num_sites, -1) for a in (x, garbage))
    return jnp.where((jnp.asarray(factorization.step) < t)[:, None], x_BDv, garbage_BDv).reshape(x.shape)


@functools.partial(jax.jit, static_argnums=0)
def stepwise(network, params, x, garbage, factorization, context=None):
    """Features [B, D, F] step by step, on a canvas with `garbage` at all sites that a step must not read."""
    form = StepForm(network, {"params": params}, factorization)

    def body(carry, t):
        return form.step(carry, _canvas_before(t, x, garbage, factorization), t, context)

    _, features_SBMF = jax.lax.scan(body, form.start(len(x), context), jnp.arange(factorization.num_steps))
    by_index = jnp.swapaxes(features_SBMF, 0, 1).reshape(x.shape[0], -1, features_SBMF.shape[-1])
    return by_index[:, jnp.asarray(factorization.index_in_blocks)]


#: Steps in one extend, and the number of its calls.
WINDOW, ROUNDS = 3, 9


@functools.partial(jax.jit, static_argnums=0)
def in_cuts(network, params, x, garbage, factorization, kept, context):
    """One program for all cuts: of each example b and round r, the first `kept[b, r]` steps of a window are kept.
    Returns t[B, R], the first step of the window; kept[B, R] as far as steps are left; features [B, R, k + 1, M, F] of
    the window and, from `step`, of the first step after those kept.
    """
    form, num_steps = StepForm(network, {"params": params}, factorization), factorization.num_steps

    def one(x, garbage, kept_R, context):
        x, garbage, context = jax.tree.map(lambda leaf: leaf[None], (x, garbage, context))

        def one_round(state, n):
            carry, t = state
            n = jnp.minimum(n, num_steps - t)
            # the values of the steps that did not happen are wrong
            canvas = _canvas_before(t + n, x, garbage, factorization)
            carries, window = form.extend(carry, canvas, t, WINDOW, context)
            carry = form.keep(carries, n)
            _, after = form.step(carry, canvas, t + n, context)
            return (carry, t + n), (t, n, jnp.concatenate([window[0], after]))

        return jax.lax.scan(one_round, (form.start(1, context), jnp.int32(0)), kept_R)[1]

    return jax.vmap(one)(x, garbage, kept, context)


@functools.partial(jax.jit, static_argnums=(0, 6))
def in_place_of(network, params, x, garbage, factorization, context, k):
    """Returns what `ahead` says before each step t: features [B, S, k, M, F] of the steps t, ..., t + k - 1, on a
    canvas with `garbage` for the steps >= t.
    """
    form = StepForm(network, {"params": params}, factorization)

    def body(carry, t):
        canvas = _canvas_before(t, x, garbage, factorization)
        return form.step(carry, canvas, t, context)[0], form.ahead(carry, canvas, t, k, context)

    _, ahead_SBkMF = jax.lax.scan(body, form.start(len(x), context), jnp.arange(factorization.num_steps))
    return jnp.swapaxes(ahead_SBkMF, 0, 1)


def sites_by_step(factorization: Factorization) -> list[np.ndarray]:
    """The sites of each step."""
    return [row[row < factorization.num_sites] for row in np.asarray(factorization.blocks)]


def swapped(factorization: Factorization, t: int, other: int) -> Factorization:
    """The factorization in which two steps have changed places."""
    blocks = sites_by_step(factorization)
    blocks[t], blocks[other] = blocks[other], blocks[t]
    return from_order(np.concatenate(blocks), [len(block) for block in blocks], factorization.grid_shape)


def dependence(
    network: Network, params: Any, factorization: Factorization, num: int = 8, context: Any = None
) -> np.ndarray:
    """bool[D, D]: whether changing x_j changes the features of site i at all, on any of `num` examples. Both passes are
    one program on batches of one size: the same row then has the same bits, wherever it stands.
    """
    event, num_sites = network.event, factorization.num_sites
    same, changed = _with_each_site_changed(event, num)
    if context is not None:
        context = jax.tree.map(lambda c: np.tile(c, (num_sites,) + (1,) * (c.ndim - 1)), context)
    before, after = (
        np.asarray(parallel(network, params, x, factorization, context)).reshape(num_sites, num, num_sites, -1)
        for x in (same, changed)
    )
    return (before != after).any((1, 3)).T


def _with_each_site_changed(event: EventSpec, num: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` examples, D times, and the same with their first site changed, with their second, ...: [D * num, ...]."""
    x, num_sites = random_x(event, num), event.num_sites
    shape = num_sites, num, num_sites, event.value_size
    same, other = (np.broadcast_to(each.reshape(shape[1:]), shape) for each in (x, other_values(event, x)))
    changed = np.where(np.eye(num_sites, dtype=bool)[:, None, :, None], other, same)
    return same.reshape(-1, *event.shape), changed.reshape(-1, *event.shape)
