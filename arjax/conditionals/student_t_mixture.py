"""Mixtures of Student's t distributions for real values with outliers."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS
from arjax.conditionals.location_scale_mixture import LocationScaleMixture
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

#: Up to 2 the variance is infinite, and below tails are longer than float32 integrates; far above, a t is a Gaussian.
LEAST_DOF, LARGEST_DOF = 2.0, 1000.0
#: Largest |x - m| / s that is distinguished from larger ones: its square fits float32.
_FARTHEST = 1e18


@CONDITIONALS.register("student_t_mixture")
@dataclasses.dataclass(frozen=True)
class StudentTMixture(LocationScaleMixture):
    """p(x) = sum_k w_k t(x; m_k, s_k), where t has `dof` = n degrees of freedom (Student, "The probable error of a
    mean", 1908): t(x; m, s) is proportional to (1 + z^2 / n)^-(n + 1)/2 / s, z = (x - m) / s.

    Tails fall as |z|^-(n + 1): an outlier costs (n + 1) log|z| nats, where it costs a Gaussian z^2 / 2.
    """

    dof: float = 4.0

    NAME = "student_t_mixture"

    @classmethod
    def for_event(cls, event: EventSpec, components: int = 10, min_log_scale: float = -7.0, dof: float = 4.0) -> Self:
        """Mixtures of t distributions of `dof` degrees of freedom, 2 to 1000; `UserError` for data that is not real."""
        family = super().for_event(event, components, min_log_scale)
        is_number = isinstance(dof, numbers.Real) and not isinstance(dof, bool)
        if not is_number or not LEAST_DOF <= dof <= LARGEST_DOF:
            raise UserError(f"dof of the conditional {cls.NAME!r} must be a number from 2 to 1000, not {dof!r}")
        return dataclasses.replace(family, dof=float(dof))

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
