"""Rounds of several steps, each predicted from the steps before the round alone: sizes, costs in nats, and losses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import Conditional, bound
from arjax.conditionals.blocks import scores_blocks
from arjax.conditionals.restricted import untruncated
from arjax.core.arrays import is_present
from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.factorization import Factorization
from arjax.networks.base import require_ahead
from arjax.samplers.base import example_keys
from arjax.samplers.loops import StepForm

#: The schedules that follow from the numbers of steps and rounds alone; `optimal` follows from measured losses.
SCHEDULES = ("uniform", "cosine", "optimal")


def cosine_sizes(num_steps: int, rounds: int) -> tuple[int, ...]:
    """Few steps first: S cos(pi r / 2K) steps are left after r of K rounds (Chang et al., "MaskGIT: Masked Generative
    Image Transformer", 2022, section 3.2), and at least one is drawn in each.
    """
    left = num_steps * np.cos(np.pi / 2 * np.arange(rounds + 1) / rounds)
    done = num_steps - np.rint(left).astype(int)
    for r in range(1, rounds):  # at least one in this round, and one left for each that follows
        done[r] = min(max(done[r], done[r - 1] + 1), num_steps - (rounds - r))
    return _sizes(done)


def optimal_sizes(losses_S: Sequence[float] | np.ndarray, rounds: int) -> tuple[int, ...]:
    """Returns the sizes n_1, ..., n_K that minimise sum_r n_r L(n_1 + ... + n_(r-1)), where L(t) (`losses_S`, in nats)
    is the loss of a step given t steps (Hoogeboom et al., "Autoregressive Diffusion Models", 2022, section 3.3).
    """
    losses_S = np.asarray(losses_S, np.float64)
    num_steps = len(losses_S)
    place = np.arange(num_steps + 1)
    # cost[i, j]: of drawing the steps i, ..., j - 1 at once
    cost = np.where(place > place[:-1, None], (place - place[:-1, None]) * losses_S[:, None], np.inf)
    best = np.where(place == 0, 0.0, np.inf)  # of having drawn so many steps
    origin = np.zeros((rounds, num_steps + 1), int)
    for r in range(rounds):
        total = best[:-1, None] + cost
        origin[r], best = total.argmin(0), total.min(0)
    done = [num_steps]
    for r in reversed(range(rounds)):
        done.append(int(origin[r, done[-1]]))
    return _sizes(np.array(done[::-1]))


def non_increasing(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the non-increasing sequence nearest to some values in weighted squares (Ayer et al., 1955): a site costs
    less on average the more are known, and a schedule would otherwise pick the lucky places of the noise.
    """
    from scipy.optimize import isotonic_regression  # takes long to import

    return isotonic_regression(values, weights=weights, increasing=False).x


def make_sizes(schedule: str, num_steps: int, steps: int, losses_S: np.ndarray | None = None) -> tuple[int, ...]:
    """Returns the sizes of a schedule of so many rounds, at most S, over S steps; `optimal` needs the losses."""
    if schedule == "optimal":
        assert losses_S is not None
        return optimal_sizes(losses_S, steps)
    return cosine_sizes(num_steps, steps) if schedule == "cosine" else _sizes(np.arange(steps + 1) * num_steps // steps)


def check_rounds_fit(owner: str, rounds: int, num_steps: int) -> None:
    """Raises `UserError` for more rounds than steps; the message begins with `owner`."""
    fewer = f"{rounds} rounds, but the model has {num_steps} steps, at least one a round"
    refuse((rounds > num_steps, f"{owner} asks for {fewer}"))


def _sizes(done: np.ndarray) -> tuple[int, ...]:
    """Returns the sizes from the numbers of steps that are drawn after 0, 1, ..., K rounds."""
    return tuple(int(size) for size in np.diff(done))


#: Numbers of known steps at which losses are measured, at most; between them they are interpolated.
MOST_POINTS = 64
#: Orders of each example by which losses are measured.
NUM_ORDERS = 4
#: Examples that are computed together.
TOGETHER = 32


def check_rounds(model: Any, owner: str) -> None:
    """Raises `UserError` unless a model predicts each step from any set of others; the message begins with `owner`."""
    if model.orders is not None:
        require_ahead(model.network)
    has_all = model.orders is not None and model.orders.has_all
    refuse((not has_all, f"{owner} needs a model of all orders: train it with model.orders=uniform"))


def check_single_sites(model: Any, owner: str) -> None:
    """Raises `UserError` unless each step of a model has one site; the message begins with `owner`."""
    size = model.factorization.block_size
    refuse((size > 1, f"{owner} chooses among single sites, and steps here have up to {size}: take choose='order'"))


def step_log_prob(
    head: Conditional, factorization: Factorization, x: jax.Array, features_kMF: jax.Array, sites_kM: jax.Array
) -> jax.Array:
    """Returns log p of the sites of k steps of one example x[*grid, *value], [k, M] in nats; anything in padding."""
    num_sites = factorization.num_sites
    values = x.reshape(num_sites, *x.shape[len(factorization.grid_shape) :])[jnp.minimum(sites_kM, num_sites - 1)]
    if scores_blocks(head, factorization):
        return head.block_log_prob(features_kMF, values, sites_kM < num_sites)
    # all sites in one call: those of a head that draws have noise of their own
    features_NF, values_N = (rows.reshape(-1, *rows.shape[2:]) for rows in (features_kMF, values))
    return head.at(sites_kM.reshape(-1)).log_prob(features_NF, values_N).reshape(sites_kM.shape)


def log_prob_ahead(
    model: Any,
    params: Any,
    example: Batch,
    factorization: Factorization,
    points: tuple[int, ...],
    k: int,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the nats of one example in the k steps from each of P increasing `points` on, given the steps before that
    alone, and the number of their sites, float32[P, k] each. Masked sites and steps that do not exist count 0.
    """
    form, num_sites = StepForm.of(model, params), factorization.num_sites
    form = dataclasses.replace(form, factorization=factorization)
    x, counted_D = jnp.asarray(example.x), _counted(example, num_sites)
    canvas, context = x[None], jax.tree.map(lambda leaf: leaf[None], example.context) or None
    most = max((b - a for a, b in zip((0, *points), points, strict=False)), default=1) or 1

    def score(state: tuple[Any, jax.Array], t: jax.Array) -> tuple[tuple[Any, jax.Array], tuple[jax.Array, jax.Array]]:
        carry, before = state
        carry = form.advance(carry, canvas, before, t - before, most, context)
        features = form.ahead(carry, canvas, t, k, context)[0]
        steps_k = t + jnp.arange(k)
        sites_kM = jnp.take(jnp.asarray(factorization.blocks), steps_k, axis=0, mode="clip")
        counts = (sites_kM < num_sites) & (steps_k < factorization.num_steps)[:, None]
        counts = counts & counted_D[jnp.minimum(sites_kM, num_sites - 1)]
        head = bound(model.conditional, params, key=jax.random.fold_in(key, t))
        log_prob = step_log_prob(head, factorization, x, features, sites_kM)
        return (carry, t), (jnp.where(counts, log_prob, 0.0).sum(-1), counts.sum(-1, dtype=jnp.float32))

    return jax.lax.scan(score, (form.start(1, context), jnp.int32(0)), jnp.array(points, jnp.int32))[1]


def _counted(example: Batch, num_sites: int) -> jax.Array:
    """Returns the sites of one example that its mask marks, bool[D]."""
    return jnp.ones(num_sites, bool) if example.mask is None else (jnp.asarray(example.mask) > 0).reshape(-1)


def k_step_log_prob(
    model: Any, params: Any, batch: Batch, orders: Factorization, sizes: tuple[int, ...], key: jax.Array | None = None
) -> jax.Array:
    """Returns the sum over K rounds of log p(the steps of the round | the steps before the round), [B] in nats: on
    average over orders a bound on log p of their mixture. `orders` has one for each example. Where log p is drawn, its
    noise follows from the key, or is always the same without one.
    """
    starts = tuple(int(start) for start in np.cumsum((0, *sizes[:-1])))
    within = np.arange(max(sizes)) < np.array(sizes)[:, None]

    def one(example: Batch, order: Factorization, key: jax.Array) -> jax.Array:
        log_prob, _ = log_prob_ahead(model, params, example, order, starts, max(sizes), key)
        return jnp.where(within, log_prob, 0.0).sum()

    return jax.vmap(one)(batch, orders, _noise_keys(key, len(batch)))


def _noise_keys(key: jax.Array | None, num: int) -> jax.Array:
    """Returns the keys of the noise of as many examples; None: always the same ones."""
    return example_keys(jax.random.key(0) if key is None else key, num)


def _top1(head: Conditional, features: jax.Array) -> jax.Array:
    """Returns log p of the most probable value, [...]."""
    return head.log_prob(features, head.mode(features))


def _margin(head: Conditional, features: jax.Array) -> jax.Array:
    """Returns p of the most probable value minus p of the second one, in which one scalar differs, [...]."""
    first, second = jnp.moveaxis(jax.lax.top_k(head.log_table(features), 2)[0], -1, 0)
    drop = (second - first).max(tuple(range(first.ndim - len(head.value_shape), first.ndim)))
    return -jnp.exp(_top1(head, features)) * jnp.expm1(drop)


#: Rules that choose the sites of a round by the distributions of the open sites alone, before any value is drawn: how
#: sure they are of each site, from its distribution and features. The highest go first.
RULES: dict[str, Callable[[Conditional, jax.Array], jax.Array]] = {
    "entropy": lambda head, features: -head.entropy(features),
    "margin": _margin,
    "top1": _top1,
}


def check_rule(model: Any, choose: str, owner: str) -> None:
    """Raises `UserError` for a rule that has nothing to read; the message begins with `owner`."""
    unlisted = choose in ("confidence", "margin", "top1") and not untruncated(model.conditional).has_table
    refuse((unlisted, f"{owner}={choose!r} needs a list of probabilities: take choose='entropy' or choose='random'"))


def certainties(choose: str, head: Conditional, sites_kM: jax.Array, features_kMF: jax.Array) -> jax.Array:
    """Returns how sure a rule is of the site of each of k steps of one site, float32[k]."""
    return jax.vmap(lambda sites, features: RULES[choose](head.at(sites), features))(sites_kM, features_kMF)[:, 0]


def by_score(score_k: jax.Array, t: jax.Array, num_steps: int) -> jax.Array:
    """Returns the places of the steps of one example, int[S]: those before t, then the highest of `score_k` first."""
    place_S = jnp.arange(num_steps)
    score_S = jnp.where(place_S < t, jnp.inf, score_k[jnp.maximum(place_S - t, 0)])
    return jnp.argsort(-score_S, stable=True)


def log_prob_by_rule(
    model: Any, params: Any, batch: Batch, key: jax.Array | None, sizes: tuple[int, ...], choose: str
) -> jax.Array:
    """Returns log p(x) under the sampler `parallel` with one of the `RULES` in rounds of these sizes, [B] in nats: the
    sum over K rounds of log p(the sites of the round | the sites of the rounds before). The values determine the
    rounds, so no others lead to x. A masked site takes its turn and does not count; missing values come last.
    """
    factorization, num_steps, most = model.factorization, model.factorization.num_steps, max(sizes)
    form, head = StepForm.of(model, params), bound(model.conditional, params)
    ends_K = np.cumsum(sizes)
    rounds_K2 = jnp.array(np.stack([ends_K - sizes, sizes], 1), jnp.int32)  # the first place of a round, and its size

    def one(example: Batch, key: jax.Array) -> jax.Array:
        x = jnp.asarray(example.x)
        canvas, context = x[None], jax.tree.map(lambda leaf: leaf[None], example.context) or None
        present_D = is_present(x, x.ndim - len(factorization.grid_shape)).reshape(-1)
        counted_D = _counted(example, factorization.num_sites) & present_D

        def score(state: tuple[Any, ...], round_2: jax.Array) -> tuple[tuple[Any, ...], jax.Array]:
            (carry, step_order_S, before), (t, n) = state, round_2
            ordered = form.reordered(step_order_S)
            carry = ordered.advance(carry, canvas, before, t - before, most, context)
            features = ordered.ahead(carry, canvas, t, num_steps, context)[0]
            sites_kM = jnp.asarray(factorization.blocks)[jnp.take(step_order_S, t + jnp.arange(num_steps), mode="clip")]
            score_k = jnp.where(present_D[sites_kM[:, 0]], certainties(choose, head, sites_kM, features), -jnp.inf)
            by_score_S = by_score(score_k, t, num_steps)
            chosen_n = jnp.take(by_score_S, t + jnp.arange(most), mode="clip") - t
            scoring = bound(model.conditional, params, key=jax.random.fold_in(key, t))
            log_prob_n = step_log_prob(scoring, factorization, x, features[chosen_n], sites_kM[chosen_n])[:, 0]
            counts_n = (jnp.arange(most) < n) & counted_D[sites_kM[chosen_n, 0]]
            return (carry, step_order_S[by_score_S], t), jnp.where(counts_n, log_prob_n, 0.0).sum()

        first = form.start(1, context), jnp.arange(num_steps), jnp.int32(0)
        return jax.lax.scan(score, first, rounds_K2)[1].sum()

    return jax.vmap(one)(batch, _noise_keys(key, len(batch)))


def measure_losses(model: Any, params: Any, batch: Batch) -> np.ndarray:
    """Returns the mean loss of a site given t steps of a random order, in nats, float64[S] for t = 0, ..., S - 1,
    smoothed such that it never rises, and interpolated between at most `MOST_POINTS` measured steps.
    """
    num_steps = model.factorization.num_steps
    points = np.unique(np.linspace(0, num_steps - 1, min(num_steps, MOST_POINTS)).round())
    steps = tuple(int(t) for t in points)
    scores = [log_prob_of_rest(model, params, batch, steps, seed) for seed in range(NUM_ORDERS)]
    log_prob_P, sites_P = (np.sum(part, (0, 1)) for part in zip(*scores, strict=True))
    refuse((not (sites_P > 0).all(), "losses cannot be measured: the masks of the examples leave nothing to score"))
    return np.interp(np.arange(num_steps), points, non_increasing(-log_prob_P / sites_P, sites_P))


def log_prob_of_rest(
    model: Any, params: Any, batch: Batch, points: tuple[int, ...], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the log-probabilities of all steps after t of a random order for each example, each given the first t
    alone, at P points t, float64[N, P], and the number of their sites, float64[N, P].
    """
    batch = Batch(jnp.asarray(batch.x).astype(model.event.dtype), batch.context, batch.mask)
    keys = jax.random.split(jax.random.key(seed), len(batch))
    log_prob, counts = _of_rest(model, params, batch, keys, points)
    return np.asarray(log_prob, np.float64), np.asarray(counts, np.float64)


@functools.partial(jax.jit, static_argnames="points")
def _of_rest(model, params, batch: Batch, keys: jax.Array, points: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    def one(pair: tuple[Batch, jax.Array]) -> tuple[jax.Array, ...]:
        example, key = pair
        order = model.orders.draw_of_all(key)
        noise_key = jax.random.fold_in(key, 1)
        scores = log_prob_ahead(model, params, example, order, points, model.factorization.num_steps, noise_key)
        return tuple(part.sum(-1) for part in scores)

    return jax.lax.map(one, (batch, keys), batch_size=TOGETHER)
