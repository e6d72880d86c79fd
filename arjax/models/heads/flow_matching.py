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
from arjax.conditionals.gaussian import log_normal
from arjax.models.base import repeated
from arjax.models.heads.base import Head

#: A state of the equation, a pytree, as a function of the time and the state: its derivative.
Field = Callable[[jax.Array, Any], Any]
#: Times enter the network in units in which the fastest of its sinusoids turns by 10 radians from noise to value: a
#: field that changes slowly needs few steps of a solver.
TIME_SCALE = 0.01


@CONDITIONALS.register("flow_matching")
@dataclasses.dataclass(frozen=True, eq=False)
class FlowMatchingHead(Head):
    """dx/dt = v(x, t, features) from noise x(0) to the value x(1).

    log p(x(1)) = log N(x(0); 0, 1) - integral of div v, the exact trace of the Jacobian. The number is exact up to the
    error of the solver, which reports state as the difference from a sharper solution. The training loss is the
    regression of v on x - z along the straight path (1 - t) z + t x, at `draws` random times. The solver takes `steps`
    equal steps of the classical Runge-Kutta method of order 4.
    """

    steps: int = 32

    training_loss: ClassVar[str] = "flow_matching"

    def velocity(self, t: jax.Array, x: jax.Array, contexts: dict[str, jax.Array]) -> jax.Array:
        """v of rows [N, 1, *value_shape] at times [] or [N], of the same shape."""
        return self.apply(x, TIME_SCALE * jnp.broadcast_to(t, (len(x),)), contexts)

    def _with_divergence(self, contexts: dict[str, jax.Array]) -> Field:
        """Returns the derivatives of the rows, [N, 1, *value_shape], and of log p along their paths, [N]."""
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
        """Returns log p(value | features) in nats, [...]: exact up to the error of the solver."""
        x, field = self.rows(features, value), self._with_divergence(self.contexts(features))
        z, change_N = runge_kutta(field, (x, jnp.zeros(len(x))), 1.0, 0.0, self.steps)
        log_p_N = log_normal(z).reshape(len(x), -1).sum(-1) - change_N
        return log_p_N.reshape(features.shape[:-1])

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
        z, contexts = self.noise(key, features, temperature), self.contexts(features)
        x = runge_kutta(lambda t, x: self.velocity(t, x, contexts), z, 0.0, 1.0, self.steps)
        return self.drawn(features, x)

    def sharper(self) -> FlowMatchingHead:
        """With twice the steps."""
        return dataclasses.replace(self, steps=2 * self.steps)


def runge_kutta(field: Field, state: Any, start: float, end: float, steps: int) -> Any:
    """Returns the state at `end`, by the classical method of order 4 with steps of equal size."""
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
