"""A conditional for ordered levels: the number of heads among coins of one probability."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from arjax.conditionals import CONDITIONALS, Conditional


@CONDITIONALS.register("binomial")
@dataclasses.dataclass(frozen=True)
class Binomial(Conditional):
    """p(k) = C(n, k) p^k (1 - p)^(n - k) with p = sigmoid(logit) and n = V - 1, for each scalar of the value."""

    num_levels: int
    value_shape: tuple[int, ...] = ()

    DATA = ("binary", "levels")
    NEEDS = "ordered levels"

    @property
    def num_params(self):
        """One logit per scalar."""
        return math.prod(self.value_shape)

    def log_table(self, features):
        """log p of each level of each scalar, [..., *value_shape, V]."""
        logit = features.astype(jnp.float32).reshape(*features.shape[:-1], *self.value_shape, 1)
        n, k = self.num_levels - 1, jnp.arange(self.num_levels)
        log_binomial = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
        return log_binomial + k * jax.nn.log_sigmoid(logit) + (n - k) * jax.nn.log_sigmoid(-logit)

    def log_prob(self, features, value):
        """log p(value), [...], in nats."""
        table = self.log_table(features)
        return self._sum(jnp.take_along_axis(table, value[..., None].astype(int), -1)[..., 0])

    def sample(self, key, features, temperature=1.0):
        """Draws from p^(1 / temperature)."""
        return jax.random.categorical(key, self.log_table(features) / temperature).astype(jnp.int32)

    def entropy(self, features):
        """Entropy in nats, [...]."""
        table = self.log_table(features)
        return self._sum(-(jnp.exp(table) * table).sum(-1))

    def mode(self, features):
        """The most probable level of each scalar."""
        return self.log_table(features).argmax(-1).astype(jnp.int32)
