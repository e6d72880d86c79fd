"""Objectives of models whose likelihood has a bound: latent variables (evidence lower bound, IWAE) and chains."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt
from arjax.core.scores import log_mean
from arjax.core.traits import require
from arjax.models.base import Params, inherited
from arjax.models.chains import Chain
from arjax.models.latent import LatentModel, Weights
from arjax.objectives.base import OBJECTIVES, Loss, Mean, Metrics, Objective, ObjectiveState, Step
from arjax.objectives.terms import count, leave_one_out, likelihood_loss, weighted_sum, weights_of, with_score_function


class LatentObjective(Objective[LatentModel]):
    """A bound from `samples` latents of each example, an option of subclasses."""

    samples: int
    KIND: ClassVar[str] = "latent"

    def check(self, model: LatentModel) -> None:
        model = require(model, "latents", f"the objective {self.name!r}")
        self.check_parts_loss(model)
        subject = f"the objective {self.name!r}"
        of_parts = "discrete latents of the model itself, not of its parts: the latents of its parts have to be real"
        alone = "discrete latents: the gradient of each draw is compared with the others"
        refuse(
            ("discrete_latents" in inherited(model), f"{subject} follows the draws of {of_parts}"),
            (not model.reparameterised and self.samples < 2, f"{subject} needs samples of at least 2 for {alone}"),
        )


def _loss(model: LatentModel, batch: Batch, value_B: jax.Array, bound_B: jax.Array, weights: Weights) -> Loss:
    """-sum_b w_b value_b / (number of scored scalars); the bound and its terms are reported."""
    # an example of which nothing is scored has no latents to learn from
    total = functools.partial(weighted_sum, weights_of(batch))
    counts = count(model.event, batch)
    kl_B = (weights.log_posterior - weights.log_prior).mean(0)
    terms = {"kl_nats": kl_B, "reconstruction_nats": -weights.reconstruction.mean(0)}
    means = {name: Mean(total(jax.lax.stop_gradient(term)), counts.examples) for name, term in terms.items()}
    metrics = Metrics(jax.lax.stop_gradient(-total(bound_B)), *counts, means=means)
    return Loss((Mean(-total(value_B), counts.dims),), metrics)


def _with_score_function(model: LatentModel, value_B: jax.Array, signal_kB: jax.Array, weights: Weights) -> jax.Array:
    """The value, with the gradient that flows through the draws of discrete latents: signal_k grad log q(z_k | x)."""
    if model.reparameterised:
        return value_B  # it flows through the values of the latents
    zeros_kB = jnp.zeros_like(weights.log_posterior)
    return value_B + with_score_function(zeros_kB, signal_kB, weights.log_posterior).sum(0)


@OBJECTIVES.register("elbo")
@dataclasses.dataclass(frozen=True)
class Elbo(LatentObjective):
    """loss = -(E_q[log p(x | z)] - beta KL(q(z | x) | p(z))) / (number of scored scalars).

    Kingma & Welling, "Auto-Encoding Variational Bayes" (2014), equation 3; beta as in Higgins et al., "beta-VAE"
    (2017), equation 4; it grows from 0 over the part `warmup` of the run, and the reported bound has beta = 1. The
    gradient flows through the draws of real latents; for discrete ones it is that of the score function, with the mean
    of the other samples as the baseline (Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!",
    2019).
    """

    beta: float = opt(1.0, least=0)
    warmup: float = opt(0.0, least=0, most=1)
    samples: int = 1

    def loss(self, model: LatentModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        weights = model.weights(params, batch, step.key, self.samples, train=True)
        beta = self.beta * (jnp.minimum(step.progress / self.warmup, 1.0) if self.warmup else 1.0)
        value_kB = weights.reconstruction - beta * (weights.log_posterior - weights.log_prior)
        signal_kB = (value_kB - leave_one_out(value_kB)) / self.samples
        value_B = _with_score_function(model, value_kB.mean(0), signal_kB, weights)
        return _loss(model, batch, value_B, weights.log_weight.mean(0), weights)


@OBJECTIVES.register("iwae")
@dataclasses.dataclass(frozen=True)
class Iwae(LatentObjective):
    """loss = -log 1/k sum_i p(x, z_i) / q(z_i | x) / (number of scored scalars), k `samples` z_i of q(z | x).

    Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders" (2016), equation 8 and its gradient, equation 14.
    Of discrete latents the signal of each draw is compared with the bound in which the geometric mean of the other
    weights stands for its own (Mnih & Rezende, "Variational Inference for Monte Carlo Objectives", 2016, equation 10).
    """

    samples: int = opt(5, least=2)

    def check(self, model: LatentModel) -> None:
        super().check(model)
        if "biased" in model.traits:
            raise UserError("the objective 'iwae' takes exponentials of scores, no bounds with chains: take elbo")

    def loss(self, model: LatentModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        weights = model.weights(params, batch, step.key, self.samples, train=True)
        log_w_kB = weights.log_weight
        bound_B = log_mean(log_w_kB)
        one_kk = jnp.eye(self.samples, dtype=bool)[..., None]
        others_kkB = jnp.where(one_kk, leave_one_out(log_w_kB)[None], log_w_kB[:, None])
        signal_kB = bound_B - log_mean(others_kkB)  # for discrete latents
        return _loss(model, batch, _with_score_function(model, bound_B, signal_kB, weights), bound_B, weights)


@OBJECTIVES.register("denoising")
@dataclasses.dataclass(frozen=True)
class Denoising(Objective[Chain]):
    """The loss of a chain at `train_steps` random steps of each example.

    `bound`: the negative bound, in nats per dimension, as `teacher_forcing`; its terms are reported as `prior`,
    `diffusion` and `reconstruction`. `simple`, for Gaussian chains with a fixed schedule: the mean squared error of the
    predicted noise per dimension, the bound without its weights (Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic
    Models", 2020, equation 14); it is reported as `simple`, and the nats are those of the bound.
    """

    KIND: ClassVar[str] = "gaussian_chain"

    weighting: str = opt("bound", choices=("bound", "simple"))

    def check(self, model: Chain) -> None:
        require(model, "noise_levels", "the objective 'denoising'")
        if self.weighting == "simple":
            has_error = "noise_error" in model.traits
            of_schedule = "a learned noise schedule is trained by the bound: the simple loss is least without noise"
            refuse(
                (not has_error, "the simple loss is an error of predicted noise, and this chain has none: take bound"),
                (has_error and model.process.schedule == "learned", of_schedule),
            )

    def loss(self, model: Chain, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        score, error_B = model.estimate(params, batch, key=step.key, num=model.train_steps, train=True)
        bound = likelihood_loss(model.event, batch, score.log_prob)
        values, dims = score.terms if self.weighting == "bound" else {"simple": error_B}, bound.metrics.dims
        means = {name: Mean(weighted_sum(batch.weight, value_B), dims) for name, value_B in values.items()}
        terms = bound.terms if self.weighting == "bound" else (means["simple"],)
        return Loss(terms, dataclasses.replace(bound.metrics, means=means))
