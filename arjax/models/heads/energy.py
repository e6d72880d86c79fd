"""The energy head: a generator of values, trained by a proper score of its draws. It has no likelihood.

Shao et al., "Continuous Autoregressive Language Models" (2025), section 3; the score is that of Gneiting & Raftery,
"Strictly Proper Scoring Rules, Prediction, and Estimation" (2007), equation 21.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.models.base import repeated
from arjax.models.heads.base import Head


@CONDITIONALS.register("energy")
@dataclasses.dataclass(frozen=True, eq=False)
class EnergyHead(Head):
    """x = g(z, features) with Gaussian noise z, one pass of the network for a value.

    The score of a value y is E|x - y|^beta - E|x - x'|^beta / 2 of independent draws x and x', the lower the better. On
    average over y it is lowest for the true distribution (0 < beta < 2), but it is no log-likelihood. It is estimated
    without bias, from `draws` draws in training and from `score_draws` outside.
    """

    draws: int = opt(4, least=2)
    beta: float = opt(1.0, above=0, below=2)
    score_draws: int = opt(16, least=2)

    score_kind: ClassVar[str] = "none"
    training_loss: ClassVar[str] = "energy"
    NETWORK: ClassVar[dict[str, Any]] = {"use_time": False}

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        raise UserError(
            "the conditional 'energy' has no likelihood: `model.score` gives its energy score, whose kind is none; for "
            "likelihoods take diffusion (a bound) or flow_matching"
        )

    def loss(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns the energy score of a value, [...]."""
        y, num = self.rows(features, value), self.draws if self.train else self.score_draws
        contexts = repeated(self.contexts(features), num)
        z = jax.random.normal(self.noise_key, (num * len(y), *y.shape[1:]))
        x_KNd = self.apply(z, jnp.zeros(len(z)), contexts).reshape(num, len(y), self.size)
        to_value_KN = self._power(x_KNd - y.reshape(1, len(y), self.size))
        apart_N = jnp.zeros(len(y))
        for shift in range(1, num):  # all ordered pairs of different draws
            apart_N = apart_N + self._power(x_KNd - jnp.roll(x_KNd, shift, axis=0)).sum(0)
        score_N = to_value_KN.mean(0) - 0.5 * apart_N / (num * (num - 1))
        return score_N.reshape(features.shape[:-1])

    def _power(self, difference: jax.Array) -> jax.Array:
        """|difference|^beta over the last axis."""
        square = (difference**2).sum(-1)
        return jnp.where(square > 0, jnp.where(square > 0, square, 1.0) ** (self.beta / 2), 0.0)

    def scaled_draw(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        z = self.noise(key, features, temperature)
        return self.drawn(features, self.apply(z, jnp.zeros(len(z)), self.contexts(features)))
