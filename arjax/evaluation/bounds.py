"""Scores of a split that take more work than the usual one: bounds of k samples, and of draws in k steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.evaluation.splits import ScoreOfBatch, Scoring, SplitScorer, scored_examples, split_of, spread_examples
from arjax.evaluation.summaries import in_nats, ratio_of_means
from arjax.models import AutoregressiveModel, Model
from arjax.models.extras import report_of_examples, sampled_bound
from arjax.samplers import rounds
from arjax.samplers.parallel import MEASURED

#: (model, params, batch, key, *options) -> a bound of each example, float32[B] nats; a function of a module, so that it
#: compiles once.
LogProb = Callable[..., jax.Array]
#: Examples of which a kind may report more, at most.
REPORTED = 2000


def split_bound(
    model: Model, params: Any, dataset: Dataset, split: str, log_prob: LogProb, *options: Hashable, scoring: Scoring
) -> tuple[np.ndarray, np.ndarray]:
    """Returns -log_prob in nats, in units of the data, and the scored sites of each example with one, float64[N]."""
    scorer = SplitScorer(_score_of(log_prob, options), dataset, scoring, _key_of_transform)
    rows = scorer.rows((model, params), split_of(dataset, split))
    scored_N = rows["sites"] > 0
    return (rows["log_scale"] - rows["log_prob"])[scored_N], rows["sites"][scored_N]


@functools.lru_cache(maxsize=16)
def _score_of(log_prob: LogProb, options: tuple[Hashable, ...]) -> ScoreOfBatch:
    """The score of a batch for `SplitScorer`, with the model as a part of the parameters."""

    def score(params: Any, batch: Batch, key: jax.Array, log_scale_D: jax.Array) -> dict[str, jax.Array]:
        model, params = params
        batch = Batch(jnp.asarray(batch.x, model.event.dtype), batch.context, batch.mask)
        log_prob_B = log_prob(model, params, batch, jax.random.split(key)[1], *options)
        counted_BD = jnp.ones((len(batch), model.event.num_sites), bool)
        if batch.mask is not None:
            counted_BD = jnp.asarray(batch.mask).reshape(counted_BD.shape) > 0
        log_scale_B = jnp.where(counted_BD, log_scale_D, 0).sum(-1)
        return {"log_prob": log_prob_B, "sites": counted_BD.sum(-1), "log_scale": log_scale_B}

    return score


def _key_of_transform(key: jax.Array) -> jax.Array:
    """The first half of the key of a batch is for its transform; the second half draws the bound."""
    return jax.random.split(key)[0]


def sampled_scores(
    model: Model, params: Any, dataset: Dataset, split: str, samples: int, scoring: Scoring
) -> dict[str, Any]:
    """Returns the bound of `sampled_bound` over a split, in nats and in bits per scored scalar, and the entries that
    the kind of model reports about the scored ones of the first `REPORTED` examples.
    """
    bound = sampled_bound(model, samples)
    log_prob = bound.log_prob, *bound.options
    nats_N, sites_N = split_bound(bound.model, params, dataset, split, *log_prob, scoring=scoring)
    scores = in_nats(bound.name, nats_N)
    per_dim = (number / (math.log(2) * model.event.value_size) for number in ratio_of_means(nats_N, sites_N))
    scores |= zip((f"{bound.name}_bits_per_dim", f"{bound.name}_bits_per_dim_stderr"), per_dim, strict=True)
    numbers = np.arange(min(REPORTED, len(dataset.splits[split])))
    batch = scored_examples(dataset, split, numbers, scoring.key)
    return scores | bound.entries | report_of_examples(model, params, batch, scoring.key)


def k_step_scores(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    split: str,
    *,
    steps: int,
    schedule: str = "uniform",
    choose: str = "random",
    examples: int = 0,
    scoring: Scoring = Scoring(),  # noqa: B008, frozen
) -> dict[str, Any]:
    """Returns the nats of a split under the samples of `parallel(steps=K)` with a rule `choose`, or a bound of them:
    the mean over examples of -sum_r log p(the sites of round r | the sites of the rounds before).

    "random": an upper bound for the mixture of all orders, each drawn in these rounds (Jensen). Each example has one
    random order, which `seed` and its place among the scored examples determine. With a round for each step, this is
    the mean of the exact nats over the orders (Hoogeboom et al., "Autoregressive Diffusion Models", 2022, equation 3
    and section 3.3).

    "order", "entropy", "margin" and "top1": the values of an example determine its rounds, so the sum is log p of the
    samples themselves, see `log_prob_by_rule`. It is as exact as the conditional is.

    "confidence" is refused with more than one round: the probability of the choices of all rounds (the first term of a
    bound, Peng et al., "Path Planning for Masked Diffusion Model Sampling", 2025) is not computed.

    The entries are `k_step_bound_nats` and `k_step_bound_stderr` (over the examples) for "random"; `k_step_nll_nats`,
    `k_step_nll_stderr`, `k_step_choose` and `k_step_kind`, the kind of the conditional, for the others; and `k_steps`.
    The scores of strings take the padding as given: they have the latter names, and are estimates, for every rule.

    Args:
      model: of all orders, whose network predicts several steps ahead.
      steps, schedule: the number of rounds K and the rule for their sizes, see `arjax.samplers.rounds`.
      examples: the number of scored examples, see `Dataset.thinned`; the sizes are measured on all.
      scoring: its seed draws the orders, and the noise of a conditional whose log p is drawn.
    """
    losses_S = None
    if schedule == "optimal":
        rows = spread_examples(dataset, "validation", MEASURED, "the schedule 'optimal'")
        losses_S = rounds.measure_losses(model, params, rows)
    sizes = rounds.make_sizes(schedule, model.factorization.num_steps, steps, losses_S)
    scored = dataset.thinned(examples)
    rule = (choose,) if choose in rounds.RULES else ()
    log_prob = rounds.log_prob_by_rule if rule else {"random": _k_step_bound}.get(choose, _in_model_order)
    nats_N, _ = split_bound(model, params, scored, split, log_prob, tuple(sizes), *rule, scoring=scoring)
    if choose == "random" and dataset.end is None:
        return in_nats("k_step_bound", nats_N) | {"k_steps": len(sizes)}
    kind = model.score_kind if dataset.end is None else "estimate"
    return in_nats("k_step_nll", nats_N) | {"k_steps": len(sizes), "k_step_choose": choose, "k_step_kind": kind}


def check_k_steps(model: AutoregressiveModel, steps: int, choose: str) -> None:
    """Raises `UserError` unless samples in `steps` rounds have a score under the rule `choose`."""
    rounds.check_rounds(model, "config.evaluate.steps")
    rounds.check_rounds_fit("config.evaluate.steps", steps, model.factorization.num_steps)
    if choose in rounds.RULES:
        rounds.check_single_sites(model, f"config.evaluate.choose={choose!r}")
        rounds.check_rule(model, choose, "config.evaluate.choose")
    if choose == "confidence" and steps > 1:
        raise UserError(
            "config.evaluate.choose='confidence' has no score with more than one round: the drawn values choose the "
            "sites of a round, from noise that all rounds share, and the probability of such a choice is not computed; "
            "take choose='top1' or choose='entropy', whose samples have an exact likelihood"
        )


def _k_step_bound(
    model: AutoregressiveModel, params: Any, batch: Batch, key: jax.Array, sizes: tuple[int, ...]
) -> jax.Array:
    assert model.orders is not None, "`check_rounds` refuses a model of one order"
    orders = jax.vmap(model.orders.draw_of_all)(jax.random.split(key, len(batch)))
    return rounds.k_step_log_prob(model, params, batch, orders, sizes, jax.random.fold_in(key, len(batch)))


def _in_model_order(
    model: AutoregressiveModel, params: Any, batch: Batch, key: jax.Array, sizes: tuple[int, ...]
) -> jax.Array:
    """Scores the order of the model. In a single round the order does not matter, so this serves every rule."""
    every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(batch), *jnp.shape(leaf))), model.factorization)
    return rounds.k_step_log_prob(model, params, batch, every, sizes, key)
