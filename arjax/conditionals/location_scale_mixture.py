"""Mixtures of one symmetric distribution, shifted and scaled: of Gaussians, of logistics, of Student's t."""

from __future__ import annotations

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import numerics
from arjax.conditionals.base import CONDITIONALS, Conditional
from arjax.conditionals.gaussian import log_normal
from arjax.core.options import opt

#: Steps of the ascent to the mode; each closes a fixed part of the distance.
_MODE_STEPS = 60

Parameters = tuple[jax.Array, jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class LocationScaleMixture(Conditional):
    """p(x) = sum_k w_k f((x - m_k) / s_k) / s_k, a mixture for each scalar of the value, independently of the others.

    The network gives log w (up to a constant), m and log s. Subclasses give f, which is symmetric and falls from 0 on.
    """

    components: int = 10
    value_shape: tuple[int, ...] = ()
    min_log_scale: float = numerics.log_scale_floor()

    DATA = ("real",)
    NEEDS = "real data"

    @abc.abstractmethod
    def log_standard(self, z: jax.Array) -> jax.Array:
        """log f(z) for z >= 0."""

    @abc.abstractmethod
    def curvature(self, z: jax.Array) -> jax.Array:
        """-f'(z) / (z f(z)) for z >= 0: how strongly a component pulls towards its mean."""

    @abc.abstractmethod
    def noise(self, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array) -> jax.Array:
        """Draws from f, widened for a temperature."""

    @abc.abstractmethod
    def distances(self) -> np.ndarray:
        """Points -r, ..., r for quadrature of f: about one scale apart where it bends, less than e^-24 beyond r."""

    @property
    def num_params(self) -> int:
        return 3 * self.components * math.prod(self.value_shape)

    def _parameters(self, features: jax.Array) -> Parameters:
        """Returns log-weights, means and log-scales, float32[K, ..., *value_shape] each."""
        shape = (*features.shape[:-1], *self.value_shape, 3, self.components)
        parameters = jnp.moveaxis(features.astype(jnp.float32).reshape(shape), (-2, -1), (0, 1))
        log_weights = jax.nn.log_softmax(parameters[0], axis=0)
        return log_weights, parameters[1], numerics.bounded_log_scale(parameters[2], self.min_log_scale)

    def _log_density(self, parameters: Parameters, x: jax.Array) -> jax.Array:
        """Returns log p of each scalar, x [..., *value_shape] (or with further leading axes)."""
        log_weights, means, log_scales = (
            p.reshape(p.shape[0], *[1] * (x.ndim - p.ndim + 1), *p.shape[1:]) for p in parameters
        )
        z = jnp.abs(x - means) * jnp.exp(-log_scales)  # the density is symmetric, and e^-|z| cannot overflow
        return jax.nn.logsumexp(log_weights + self.log_standard(z) - log_scales, axis=0)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        return self._sum(self._log_density(self._parameters(features), value))

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws float32[..., *value_shape]: a component from its weights^(1/T), then a value of it, widened by T."""
        log_weights, means, log_scales = self._parameters(features)
        key_component, key_noise = jax.random.split(key)
        component = jax.random.categorical(key_component, numerics.tempered(log_weights, temperature, axis=0), axis=0)
        mean, log_scale = (jnp.take_along_axis(p, component[None], axis=0)[0] for p in (means, log_scales))
        return mean + jnp.exp(log_scale) * self.noise(key_noise, mean.shape, numerics.as_temperature(temperature))

    def entropy(self, features: jax.Array) -> jax.Array:
        """Returns the differential entropy in nats, [...], by quadrature between points around every component."""
        parameters = self._parameters(features)
        _, means, log_scales = parameters
        distances = self.distances().astype(np.float32).reshape(-1, *[1] * means.ndim)
        points = means + jnp.exp(log_scales) * distances
        points = points.reshape(-1, *means.shape[1:])
        return self._sum(numerics.entropy_by_quadrature(lambda x: self._log_density(parameters, x), points))

    def mode(self, features: jax.Array) -> jax.Array:
        """Where the density is highest: the best of an ascent from each component's mean. Each step maximises a
        quadratic bound of the log-density, x = sum_k a_k m_k / sum_k a_k with a_k = P(k | x) c(z_k) / s_k^2, c the
        curvature, so the density never falls.
        """
        parameters = self._parameters(features)
        log_weights, means, log_scales = (p[:, None] for p in parameters)  # component, starting point

        def ascend(_, x: jax.Array) -> jax.Array:
            z = jnp.abs(x - means) * jnp.exp(-log_scales)
            posterior = log_weights + self.log_standard(z) - log_scales
            share = jax.nn.softmax(posterior + jnp.log(self.curvature(z)) - 2 * log_scales, axis=0)
            return (share * means).sum(0)

        x = jax.lax.fori_loop(0, _MODE_STEPS, ascend, parameters[1])
        best = self._log_density(parameters, x).argmax(0)
        return jnp.take_along_axis(x, best[None], axis=0)[0]


@CONDITIONALS.register("gaussian_mixture")
@dataclasses.dataclass(frozen=True)
class GaussianMixture(LocationScaleMixture):
    """p(x) = sum_k w_k N(x; m_k, s_k^2): with NADE, RNADE (Uria, Murray & Larochelle, "RNADE: The Real-valued Neural
    Autoregressive Density-estimator", 2013, equation 6).
    """

    def log_standard(self, z):
        return log_normal(z)

    def curvature(self, z):
        """1 everywhere: the ascent to the mode is the mean shift."""
        return jnp.ones_like(z)

    def noise(self, key, shape, temperature):
        """A Gaussian of T times the variance."""
        return jnp.sqrt(temperature) * jax.random.normal(key, shape)

    def distances(self):
        """Up to 8 scales."""
        return np.linspace(-8, 8, 49)


@CONDITIONALS.register("logistic_mixture")
@dataclasses.dataclass(frozen=True)
class LogisticMixture(LocationScaleMixture):
    """p(x) = sum_k w_k logistic(x; m_k, s_k), with logistic(x; m, s) = e^-z / (s (1 + e^-z)^2) and z = (x - m) / s.

    For integer levels take `discretized_logistic_mixture`.
    """

    def log_standard(self, z):
        return -z - 2 * jax.nn.softplus(-z)

    def curvature(self, z):
        """tanh(z / 2) / z, 1/2 at 0."""
        return jnp.where(z > 1e-3, jnp.tanh(z / 2) / jnp.maximum(z, 1e-3), 0.5)

    def noise(self, key, shape, temperature):
        return temperature * jax.random.logistic(key, shape)

    def distances(self):
        """Up to 24 scales."""
        return np.linspace(-24, 24, 49)


#: Largest |x - m| / s that is distinguished from larger ones: its square fits float32.
_FARTHEST = 1e18


@CONDITIONALS.register("student_t_mixture")
@dataclasses.dataclass(frozen=True)
class StudentTMixture(LocationScaleMixture):
    """p(x) = sum_k w_k t(x; m_k, s_k), where t has `dof` = n degrees of freedom (Student, "The probable error of a
    mean", 1908): t(x; m, s) is proportional to (1 + z^2 / n)^-(n + 1)/2 / s, z = (x - m) / s.

    An outlier costs (n + 1) log|z| nats, where it costs a Gaussian z^2 / 2.
    """

    # Up to 2 the variance is infinite, and below tails are longer than float32 integrates; far above it is a Gaussian.
    dof: float = opt(4.0, least=2, most=1000)

    def log_standard(self, z):
        """log G((n + 1) / 2) - log G(n / 2) - log(n pi) / 2 - (n + 1) / 2 log(1 + z^2 / n), G the gamma function."""
        n, z = self.dof, jnp.minimum(z, _FARTHEST)
        constant = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - 0.5 * math.log(n * math.pi)
        return constant - (n + 1) / 2 * jnp.log1p(jnp.square(z) / n)

    def curvature(self, z):
        """(n + 1) / (n + z^2): far components hardly pull."""
        return (self.dof + 1) / (self.dof + jnp.square(jnp.minimum(z, _FARTHEST)))

    def noise(self, key, shape, temperature):
        """A t of T times the variance: as of a Gaussian, which it is in the limit."""
        return jnp.sqrt(temperature) * jax.random.t(key, self.dof, shape)

    def distances(self):
        """Up to e^(24 / n), as P(|z| > r) falls as r^-n, but no less than a Gaussian needs; ever farther apart."""
        reach = math.exp(max(24 / self.dof, math.log(30)))
        return np.sinh(np.linspace(-1, 1, 49) * math.asinh(reach))
