"""Mixtures of Laplace distributions."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS
from arjax.conditionals.location_scale_mixture import LocationScaleMixture


@CONDITIONALS.register("laplace_mixture")
@dataclasses.dataclass(frozen=True)
class LaplaceMixture(LocationScaleMixture):
    """p(x) = sum_k w_k exp(-|x - m_k| / s_k) / (2 s_k), for each scalar of the value."""

    def log_standard(self, z):
        """log f(z) for z >= 0."""
        return -z - math.log(2)

    def curvature(self, z):
        """-f'(z) / (z f(z)), with which the mode is searched."""
        return 1 / jnp.maximum(z, 1e-3)

    def noise(self, key, shape, temperature):
        """Laplace noise of scale `temperature`."""
        return temperature * jax.random.laplace(key, shape)

    def distances(self):
        """Points for the integral of the entropy: about one scale apart, with almost all of the mass between them."""
        return np.linspace(-24, 24, 49)
