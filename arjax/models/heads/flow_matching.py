"""The flow-matching head: an ordinary differential equation moves noise to a value, given the features of its site.

Lipman et al., "Flow Matching for Generative Modeling" (2023), with the straight paths of Liu, Gong & Liu, "Flow
Straight and Fast" (2023); the density by the change of variables along the path (Chen et al., "Neural Ordinary
Differential Equations", 2018, equation 8), with the exact divergence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.models.base import repeated
from arjax.models.heads.base import Head

#: A state of the equation, a pytree, as a function of the time and the state: its derivative.
Field = Callable[[jax.Array, Any], Any]
#: Times enter the network in units in which the fastest of its sinusoids turns by 10 radians from noise to value: a
#: field that changes slowly needs few steps of a solver.
TIME_SCALE = 0.01
#: A sharper solution, against which the error is measured, has so many times the steps, or this part of the tolerance.
SHARPER, FINER = 2, 0.1
#: Of a user; the solver still follows the equation more closely at `FINER` of it in float32.
LEAST_TOLERANCE = 1e-7


@CONDITIONALS.register("flow_matching")
@dataclasses.dataclass(frozen=True, eq=False)
class FlowMatchingHead(Head):
    """dx/dt = v(x, t, features) from noise x(0) to the value x(1).

    log p(x(1)) = log N(x(0); 0, 1) - integral of div v. The divergence is the exact trace of the Jacobian, by one
    forward-mode derivative for each entry of a value. The number is exact up to the error of the solver, which
    reports state as the difference from a sharper solution.

    The training loss is the regression of v on x - z along the straight path (1 - t) z + t x, at `draws` random times.

    Attributes:
      steps: of the classical Runge-Kutta method of order 4, of equal size.
      tolerance: where it is not 0, steps are chosen such that the error of each is below it, relative and absolute,
        by Tsitouras' method of order 5 of the library diffrax; `steps` is not read. It needs `arjax[ode]`.
    """

    steps: int = 32
    tolerance: float = opt(0.0, least=0, below=1)

    training_loss: ClassVar[str] = "flow_matching"

    def check_options(self) -> None:
        if 0 < self.tolerance < LEAST_TOLERANCE:
            raise UserError(
                f"the tolerance of the conditional 'flow_matching' must be 0 or from {LEAST_TOLERANCE:g} to 1, not "
                f"{self.tolerance!r}"
            )
        if self.tolerance:
            _diffrax()

    def velocity(self, t: jax.Array, x: jax.Array, contexts: dict[str, jax.Array]) -> jax.Array:
        """v of rows [N, 1, *value_shape] at times [] or [N], of the same shape."""
        return self.apply(x, TIME_SCALE * jnp.broadcast_to(t, (len(x),)), contexts)

    def _with_divergence(self, contexts: dict[str, jax.Array]) -> Field:
        """The derivatives of the rows, [N, 1, *value_shape], and of log p along their paths, [N]."""
        basis = jnp.eye(self.size).reshape(self.size, 1, 1, *self.value_shape)

        def field(t: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            x, _ = state

            def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
                direction = jnp.broadcast_to(direction, x.shape)
                v, change = jax.jvp(lambda each: self.velocity(t, each, contexts), (x,), (direction,))
                return v, (change * direction).reshape(len(x), -1).sum(-1)

            v, parts_dN = jax.vmap(along, out_axes=(None, 0))(basis)
            return v, -parts_dN.sum(0)

        return field

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """log p(value | features) in nats, [...]: exact up to the error of the solver."""
        x, contexts = self.rows(features, value), self.contexts(features)

        def solved(x: jax.Array, contexts: dict[str, jax.Array]) -> jax.Array:
            start = x, jnp.zeros(len(x))
            z, change_N = self._solve(self._with_divergence(contexts), start, 1.0, 0.0)
            log_normal = -0.5 * (z**2 + jnp.log(2 * jnp.pi))
            return log_normal.reshape(len(x), -1).sum(-1) - change_N

        return self._by_row(solved, x, contexts).reshape(features.shape[:-1])

    def loss(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """The squared error of the velocity, [...]: a sum over the entries of a value, a mean over `draws` times."""
        x, contexts = self.rows(features, value), self.contexts(features)
        time_key, key = jax.random.split(self.noise_key)
        # evenly spread over the draws of a value
        t_KN = (jnp.arange(self.draws)[:, None] + jax.random.uniform(time_key, (self.draws, len(x)))) / self.draws
        t_N = t_KN.reshape(-1)
        x, contexts = repeated((x, contexts), self.draws)
        z = jax.random.normal(key, x.shape)
        part = t_N.reshape(-1, *[1] * (x.ndim - 1))
        error = self.velocity(t_N, (1 - part) * z + part * x, contexts) - (x - z)
        return (error**2).reshape(self.draws, -1, self.size).sum(-1).mean(0).reshape(features.shape[:-1])

    def scaled_draw(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        def solved(z: jax.Array, contexts: dict[str, jax.Array]) -> jax.Array:
            return self._solve(lambda t, x: self.velocity(t, x, contexts), z, 0.0, 1.0)

        z = self.noise(key, features, temperature)
        return self.drawn(features, self._by_row(solved, z, self.contexts(features)))

    def sharper(self) -> FlowMatchingHead:
        """With twice the steps, or a tenth of the tolerance."""
        return dataclasses.replace(self, steps=SHARPER * self.steps, tolerance=FINER * self.tolerance)

    def _by_row(self, solved: Callable, x: jax.Array, contexts: dict[str, jax.Array]) -> jax.Array:
        """All rows at once, or each with steps of its own: then a number does not depend on the others of a batch."""
        if not self.tolerance:
            return solved(x, contexts)
        return jax.vmap(lambda *row: solved(*jax.tree.map(lambda leaf: leaf[None], row))[0])(x, contexts)

    def _solve(self, field: Field, state: Any, start: float, end: float) -> Any:
        """The state at the time `end` of the equation that begins with `state` at `start`."""
        if not self.tolerance:
            return runge_kutta(field, state, start, end, self.steps)
        diffrax = _diffrax()
        term = diffrax.ODETerm(lambda t, y, _: field(t, y))
        steps = diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance)
        solution = diffrax.diffeqsolve(term, diffrax.Tsit5(), start, end, None, state, stepsize_controller=steps)
        return jax.tree.map(lambda leaf: leaf[-1], solution.ys)


def runge_kutta(field: Field, state: Any, start: float, end: float, steps: int) -> Any:
    """The state at `end`, by the classical method of order 4 with steps of equal size."""
    h = (end - start) / steps
    field = jax.jit(field)  # traced once for its four calls

    def moved(state: Any, slope: Any, by: float) -> Any:
        return jax.tree.map(lambda y, k: y + by * k, state, slope)

    def step(state: Any, i: jax.Array) -> tuple[Any, None]:
        t = start + i * h
        first = field(t, state)
        second = field(t + h / 2, moved(state, first, h / 2))
        third = field(t + h / 2, moved(state, second, h / 2))
        last = field(t + h, moved(state, third, h))
        after = lambda y, a, b, c, d: y + h / 6 * (a + 2 * b + 2 * c + d)  # noqa: E731
        return jax.tree.map(after, state, first, second, third, last), None

    return jax.lax.scan(step, state, jnp.arange(steps))[0]


def _diffrax() -> Any:
    try:
        import diffrax
    except ImportError as error:
        raise UserError(
            "a tolerance of the conditional 'flow_matching' needs the library diffrax: pip install 'arjax[ode]', or "
            "leave the tolerance at 0 and set steps"
        ) from error
    return diffrax
