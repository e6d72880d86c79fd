"""Mixtures of Gaussians for real values."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS
from arjax.conditionals.location_scale_mixture import LocationScaleMixture


@CONDITIONALS.register("gaussian_mixture")
@dataclasses.dataclass(frozen=True)
class GaussianMixture(LocationScaleMixture):
    """p(x) = sum_k w_k N(x; m_k, s_k^2): with NADE, RNADE (Uria, Murray & Larochelle, "RNADE: The Real-valued Neural
    Autoregressive Density-estimator", 2013, equation 6).
    """

    NAME = "gaussian_mixture"

    def log_standard(self, z):
        """-z^2 / 2 - log(2 pi) / 2."""
        return -0.5 * jnp.square(z) - 0.5 * math.log(2 * math.pi)

    def curvature(self, z):
        """1 everywhere: the ascent to the mode is the mean shift."""
        return jnp.ones_like(z)

    def noise(self, key, shape, temperature):
        """A Gaussian of T times the variance."""
        return jnp.sqrt(temperature) * jax.random.normal(key, shape)

    def distances(self):
        """Up to 8 scales."""
        return np.linspace(-8, 8, 49)
