"""Mixtures of logistic distributions for real values."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS
from arjax.conditionals.location_scale_mixture import LocationScaleMixture


@CONDITIONALS.register("logistic_mixture")
@dataclasses.dataclass(frozen=True)
class LogisticMixture(LocationScaleMixture):
    """p(x) = sum_k w_k logistic(x; m_k, s_k), with logistic(x; m, s) = e^-z / (s (1 + e^-z)^2) and z = (x - m) / s.

    For integer levels take `discretized_logistic_mixture`, which integrates this density over each level.
    """

    NAME = "logistic_mixture"

    def log_standard(self, z):
        """-z - 2 log(1 + e^-z)."""
        return -z - 2 * jax.nn.softplus(-z)

    def curvature(self, z):
        """tanh(z / 2) / z, 1/2 at 0."""
        return jnp.where(z > 1e-3, jnp.tanh(z / 2) / jnp.maximum(z, 1e-3), 0.5)

    def noise(self, key, shape, temperature):
        """A logistic T times as wide."""
        return temperature * jax.random.logistic(key, shape)

    def distances(self):
        """Up to 24 scales."""
        return np.linspace(-24, 24, 49)
