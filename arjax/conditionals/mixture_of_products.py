"""A mixture of products: sites (and the entries of their values) that are independent only given a shared component.

p(x_1, ..., x_M) = sum_k w_k prod_m p_k(x_m), with weights for a whole step, as in latent classes (Lazarsfeld & Henry,
"Latent Structure Analysis", 1968). RNADE has mixtures as conditionals, too (Uria, Murray & Larochelle, 2013).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS, Conditional, make_conditional
from arjax.conditionals.blocks import JointConditional
from arjax.conditionals.numerics import tempered
from arjax.core.errors import refuse
from arjax.core.spec import DISCRETE_KINDS, EventSpec

#: Draws behind an estimate of an entropy that has no closed form.
_DRAWS = 16
#: Scale of the fixed differences between components. Features of a step without inputs are biases that begin at 0:
#: equal components would have equal gradients, and so stay equal.
_SPREAD = 0.5
#: In place of log 0: small enough to be negligible and large enough to be added up.
_IMPOSSIBLE = -1e30


@CONDITIONALS.register("mixture_of_products")
@dataclasses.dataclass(frozen=True)
class MixtureOfProducts(JointConditional):
    """K = `components` products of the family `base` over the indices of a block, under shared weights.

    Features of a site: K logits of the weights, then the base family's for each component. The logits of a block are
    the mean of those of its valid indices.
    """

    base: Conditional
    components: int = 8
    num_levels: int = 0
    any_given: ClassVar[bool] = True

    DATA = (*DISCRETE_KINDS, "real")
    NEEDS = "data of one kind"

    @classmethod
    def for_event(  # type: ignore[override]
        cls, event: EventSpec, components: int = 8, base: str = ""
    ) -> MixtureOfProducts:
        """For example `mixture_of_products(components=8, base='gaussian(min_log_scale=-5)')`; "": the usual base."""
        cls.check_event(event)
        family = make_conditional(base, event)
        cannot = f"the base of the conditional 'mixture_of_products' cannot be {base!r}"
        has_parameters = jax.eval_shape(family.init, jax.random.key(0)) is not None
        refuse(
            (has_parameters, f"{cannot}: it has parameters of its own"),
            (family.joint, f"{cannot}, which scores the sites of a step together itself"),
        )
        return cls(family, components, event.num_levels)

    @property
    def value_shape(self) -> tuple[int, ...]:  # type: ignore[override]  # a field in other families
        return self.base.value_shape

    @property
    def num_params(self) -> int:
        return self.components * (1 + self.base.num_params)

    def order_in_block(self, block_size: int) -> np.ndarray:
        return np.arange(block_size)

    def _parts(self, features: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns log-weights of the block, float32[..., K], and features of the base, float32[..., M, K, P]."""
        features = features.astype(jnp.float32)
        logits, of_base = features[..., : self.components], features[..., self.components :]
        valid = valid[..., None]
        mean = jnp.where(valid, logits, 0).sum(-2) / jnp.maximum(valid.sum(-2), 1)
        of_base = of_base.reshape(*of_base.shape[:-1], self.components, self.base.num_params)
        return jax.nn.log_softmax(mean), of_base + self._apart(features.shape[-2])

    def _apart(self, block_size: int) -> np.ndarray:
        """Returns the offsets of the features of the base, float32[M, K, P]: fixed, and 0 for one component."""
        noise = np.random.default_rng(0).normal(size=(block_size, self.components, self.base.num_params))
        return (_SPREAD * (self.components > 1) * noise).astype(np.float32)

    def _by_component(self, of_base: jax.Array, value: jax.Array, counted: jax.Array) -> jax.Array:
        """Returns log p_k(x_m), [..., M, K]; 0 where an index does not count."""
        value = jnp.expand_dims(value, value.ndim - len(self.value_shape))
        return jnp.where(counted[..., None], self.base.log_prob(of_base, value), 0.0)

    def _log_posterior(self, log_weights: jax.Array, log_p: jax.Array) -> jax.Array:
        """log P(k | x_<m), [..., M, K]."""
        log_p = jnp.maximum(log_p, _IMPOSSIBLE)  # after an impossible value no component is left, and 0 / 0 is nan
        prior = jnp.broadcast_to(log_weights[..., None, :], (*log_p.shape[:-2], 1, self.components))
        return jax.nn.log_softmax(jnp.cumsum(jnp.concatenate([prior, log_p[..., :-1, :]], -2), -2))

    def block_log_prob(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """Returns log p(x_m | x_<m) = log sum_k P(k | x_<m) p_k(x_m) in nats, [..., M]."""
        log_weights, of_base = self._parts(features, valid)
        return self._mixed(log_weights, self._by_component(of_base, value, valid), valid)

    def block_log_prob_given(self, features, value, valid, given, queried):
        """log sum_k P(k | x of given indices and of queried ones before m) p_k(x_m) in nats, [..., M]; 0 elsewhere."""
        log_weights, of_base = self._parts(features, valid)
        evidence = self._by_component(of_base, value, valid & given)
        log_weights = log_weights + jnp.maximum(evidence, _IMPOSSIBLE).sum(-2)
        return self._mixed(log_weights, self._by_component(of_base, value, valid & queried), valid & queried)

    def _mixed(self, log_weights: jax.Array, log_p: jax.Array, counted: jax.Array) -> jax.Array:
        score = jax.nn.logsumexp(self._log_posterior(log_weights, log_p) + log_p, axis=-1)
        return jnp.where(counted, score, 0.0)

    def block_entropy(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        """Returns the entropy of x_m given x_<m in nats, [..., M]: a sum over all levels for discrete numbers; for
        vectors and real values an estimate without bias, from draws that always have the same key.
        """
        log_weights, of_base = self._parts(features, valid)
        posterior = self._log_posterior(log_weights, self._by_component(of_base, value, valid))
        exact = self.num_levels and not self.value_shape
        entropy = (self._summed_entropy if exact else self._drawn_entropy)(posterior, of_base)
        return jnp.where(valid, entropy, 0.0)

    def _summed_entropy(self, log_weights: jax.Array, of_base: jax.Array) -> jax.Array:
        """-sum_v p(v) log p(v) of mixtures with weights [..., M, K], [..., M]."""

        def add(total: jax.Array, level: jax.Array) -> tuple[jax.Array, None]:
            log_p = jax.nn.logsumexp(log_weights + self.base.log_prob(of_base, level), axis=-1)
            return total - jnp.exp(log_p) * log_p, None

        levels = jnp.arange(self.num_levels)
        return jax.lax.scan(add, jnp.zeros(log_weights.shape[:-1], jnp.float32), levels)[0]

    def _drawn_entropy(self, log_weights: jax.Array, of_base: jax.Array) -> jax.Array:
        """Returns the mean of -log p(x) over some draws x from mixtures with weights [..., M, K], [..., M]."""

        def surprise(key: jax.Array) -> jax.Array:
            component_key, key = jax.random.split(key)
            component = jax.random.categorical(component_key, log_weights)
            x = self.base.sample(key, _chosen(of_base, component))
            log_p = self.base.log_prob(of_base, jnp.expand_dims(x, x.ndim - len(self.value_shape)))
            return -jax.nn.logsumexp(log_weights + log_p, axis=-1)

        return jax.lax.map(surprise, jax.random.split(jax.random.key(0), _DRAWS)).mean(0)

    def block_sample(self, key, features, valid, value, given, temperature=1.0):
        """One component from its posterior given the given indices, then its values; the temperature is for both."""
        log_weights, of_base = self._parts(features, valid)
        log_weights = log_weights + self._by_component(of_base, value, valid & given).sum(-2)
        component_key, key = jax.random.split(key)
        component = jax.random.categorical(component_key, tempered(log_weights, temperature))
        return self.base.sample(key, _chosen(of_base, component[..., None]), temperature)

    def block_mode(self, features, valid, value, given):
        """Of the modes of the components, the block that is most probable under the mixture: greedy, no maximum."""
        log_weights, of_base = self._parts(features, valid)
        axis = value.ndim - len(self.value_shape)
        given = given.reshape(*given.shape, *[1] * (1 + len(self.value_shape)))
        modes = self.base.mode(of_base)  # [..., M, C, *value], C a second time K
        modes = jnp.where(given, jnp.expand_dims(value, axis).astype(modes.dtype), modes)
        log_p = self.base.log_prob(of_base[..., None, :, :], jnp.expand_dims(modes, axis + 1))  # [..., M, C, K]
        log_p = jnp.where(valid[..., None, None], log_p, 0.0).sum(-3)
        best = jax.nn.logsumexp(log_weights[..., None, :] + log_p, axis=-1).argmax(-1)
        best = best.reshape(*best.shape, *[1] * (2 + len(self.value_shape)))
        return jnp.take_along_axis(modes, best, axis).squeeze(axis)


def _chosen(of_base: jax.Array, component: jax.Array) -> jax.Array:
    """Returns features of the base [..., M, P] under components int[..., M] (or [..., 1]), out of [..., M, K, P]."""
    return jnp.take_along_axis(of_base, component[..., None, None], -2)[..., 0, :]
