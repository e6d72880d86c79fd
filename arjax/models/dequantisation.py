"""Levels as real values: uniform noise is added, and the sum is scaled."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean
from arjax.core.spec import EventSpec

SCALINGS = ("plain", "logit")
#: The part of the range at each end that the logit leaves out.
MARGIN = 0.05


@dataclasses.dataclass(frozen=True)
class Dequantisation:
    """y = (x + u) / V with u uniform in [0, 1), for levels x of 0, ..., V - 1 (Theis, van den Oord & Bethge, "A note on
    the evaluation of generative models", 2016, section 3.1; Ho et al., "Flow++", 2019, section 3.1).

    log P(x) >= E_u[log p(x + u)], and p(x + u) = p(y) / V for each scalar. Scores are in nats of the levels.

    Attributes:
      event: the levels, or binary data.
      scaling: "plain": the values of the flow are 2 y - 1, in [-1, 1); "logit": logit(a + (1 - 2a) y) with a = .05
        (Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, section 4.1), any real numbers.
    """

    event: EventSpec
    scaling: str = "plain"

    def __post_init__(self):
        if self.event.kind not in ("levels", "binary"):
            raise UserError(f"a flow is for real data, levels or binary data, not {self.event.kind}")
        if self.scaling not in SCALINGS:
            hint = did_you_mean(str(self.scaling), SCALINGS)
            raise UserError(f"the scaling of a flow cannot be {self.scaling!r}{hint}")

    @property
    def real_event(self) -> EventSpec:
        """The event of the real values."""
        return EventSpec(self.event.grid_shape, self.event.value_shape, "real")

    def to_real(self, key: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Real values of levels int32[B, ...], and log |d value / d (x + u)| in nats, float32[B]."""
        num_levels = self.event.num_levels
        y = (x + jax.random.uniform(key, x.shape)) / num_levels
        if self.scaling == "plain":
            value, log_slope = 2 * y - 1, jnp.full(x.shape, math.log(2), jnp.float32)
        else:
            q = MARGIN + (1 - 2 * MARGIN) * y
            value = jnp.log(q) - jnp.log1p(-q)
            log_slope = math.log(1 - 2 * MARGIN) - jnp.log(q) - jnp.log1p(-q)
        return value, (log_slope - math.log(num_levels)).reshape(len(x), -1).sum(-1)

    def to_levels(self, value: jax.Array) -> jax.Array:
        """The levels int32[B, ...] in which real values lie; those outside of the range become the nearest level."""
        if self.scaling == "plain":
            y = (value + 1) / 2
        else:
            y = (jax.nn.sigmoid(value) - MARGIN) / (1 - 2 * MARGIN)
        levels = jnp.floor(self.event.num_levels * y)
        return jnp.clip(levels, 0, self.event.num_levels - 1).astype(jnp.int32)
