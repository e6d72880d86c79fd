"""The terms of a loss: sums over the scored examples of a batch, and gradients through draws."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from arjax.core.batch import Array, Batch, Score
from arjax.core.spec import EventSpec
from arjax.objectives.base import Loss, Mean, Metrics


def likelihood_loss(event: EventSpec, batch: Batch, log_prob_B: jax.Array) -> Loss:
    """Returns -sum_b w_b log p(x_b) / (number of scored scalars), from log p of each example in nats without masked
    sites. An example without a scored site is left out: a bound with latents would still have their divergence.
    """
    nll, counts = weighted_sum(weights_of(batch), -log_prob_B), count(event, batch)
    return Loss((Mean(nll, counts.dims),), Metrics(nll, *counts))


def score_loss(event: EventSpec, batch: Batch, score: Score) -> Loss:
    """Returns `likelihood_loss` of a score. A score without a likelihood is reported by its name, without nats."""
    loss = likelihood_loss(event, batch, score.log_prob)
    if score.kind != "none":
        return loss
    means = {name: jax.lax.stop_gradient(loss.terms[0]) for name in score.terms}
    return Loss(loss.terms, dataclasses.replace(loss.metrics, nll=None, means=means))


def weighted_sum(weight_B: Array | None, value_B: jax.Array) -> jax.Array:
    """Returns sum_b w_b value_b; None: all weights are 1. The value of an example of weight 0 may be anything."""
    return (value_B if weight_B is None else jnp.where(weight_B > 0, weight_B * value_B, 0.0)).sum()


def weights_of(batch: Batch) -> Array:
    """Returns the weights of the examples, [B]; 0 for an example without a scored site."""
    weight_B = jnp.ones(len(batch)) if batch.weight is None else batch.weight
    return weight_B if batch.mask is None else weight_B * (batch.mask > 0).reshape(len(batch), -1).any(-1)


class Scored(NamedTuple):
    """Weighted numbers of examples with a scored site, of scored sites and of scored scalars (dims), float32[] each."""

    examples: jax.Array
    sites: jax.Array
    dims: jax.Array


def count(event: EventSpec, batch: Batch) -> Scored:
    """What is scored of the batch, by its `weight` and `mask`."""
    num = len(batch)
    weight_B = jnp.ones(num, jnp.float32) if batch.weight is None else batch.weight
    sites_B = jnp.full(num, event.num_sites, jnp.float32)
    if batch.mask is not None:
        sites_B = (batch.mask > 0).reshape(num, -1).sum(-1, dtype=jnp.float32)
    sites = (weight_B * sites_B).sum()
    return Scored(jnp.asarray(weights_of(batch), jnp.float32).sum(), sites, sites * event.value_size)


# Gradients through draws by the score function (Williams, "Simple Statistical Gradient-Following Algorithms for
# Connectionist Reinforcement Learning", 1992).


def leave_one_out(value_k: jax.Array) -> jax.Array:
    """Returns the mean of the other values along the first axis, [k, ...], 0 for a single value: a baseline without
    bias (Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019).
    """
    return (value_k.sum(0) - value_k) / max(len(value_k) - 1, 1)


def with_score_function(value: jax.Array, signal: jax.Array, log_prob: jax.Array) -> jax.Array:
    """`value`, with the gradient signal * grad log_prob added to its own; all of one shape."""
    surrogate = jax.lax.stop_gradient(signal) * log_prob
    return value + surrogate - jax.lax.stop_gradient(surrogate)
