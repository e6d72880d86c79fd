"""DeepNADE, one network for all orders (Uria, Murray & Larochelle, "A Deep and Tractable Density Estimator", 2014). Its
ensembles over orders, EoNADE, are this network under a mixture of orders.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.arrays import filled
from arjax.core.options import opt, rate_option
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import ACTIVATIONS, NETWORKS, Context, fields_from
from arjax.networks.layers.dense import Dense
from arjax.networks.layers.embedding import flat_sites
from arjax.networks.layers.local_context import feature_encoder, summary_encoder
from arjax.networks.layers.steps import sites_of


class MaskedInputMLP(nn.Module):
    """h_1 = act(W (x * m, m) + b), h_l = act(W_l h_(l-1) + b_l), features = V h_L + c, with one V and c per site. The
    mask m is an input too, so that a site of value 0 and one that is not observed have different inputs, n + 1 per site
    (section 3).
    """

    num_sites: int
    inputs_per_site: int
    hidden_sizes: tuple[int, ...]
    num_features: int
    activation: str
    dropout: float
    dtype: str

    READOUT = ("out_kernel", "out_bias")

    def setup(self):
        kernel, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        per_site = nn.initializers.lecun_normal(batch_axis=(0,))
        first, last = self.hidden_sizes[0], self.hidden_sizes[-1]
        self.in_kernel = self.param("in_kernel", kernel, (self.num_sites, self.inputs_per_site, first))
        self.in_bias = self.param("in_bias", zeros, (first,))
        self.hidden = [
            Dense(size, dtype=self.dtype, name=f"hidden_{i}") for i, size in enumerate(self.hidden_sizes[1:], 1)
        ]
        self.out_kernel = self.param("out_kernel", per_site, (self.num_sites, last, self.num_features))
        # Not zero: with no site observed, the components of a mixture would all be equal, and stay equal.
        self.out_bias = self.param("out_bias", nn.initializers.normal(0.05), (self.num_sites, self.num_features))
        self.drop = nn.Dropout(self.dropout)

    def first(self, inputs_BDn: jax.Array) -> jax.Array:
        """The sum over all sites in the first layer, [B, D, n + 1] -> [B, U]."""
        return jnp.einsum("bdn,dnu->bu", inputs_BDn, self.in_kernel.astype(self.dtype))

    def upper(self, pre: jax.Array, train: bool) -> jax.Array:
        """The sum of the first layer, [..., U] -> the last hidden layer."""
        act = ACTIVATIONS[self.activation]
        h = self.drop(act(pre.astype(self.dtype)), deterministic=not train)
        for layer in self.hidden:
            h = self.drop(act(layer(h)), deterministic=not train)
        return h

    def __call__(self, inputs_BDn: jax.Array, from_context: jax.Array | float, train: bool) -> jax.Array:
        """All sites, [B, D, n + 1] -> [B, D, F]; `from_context` [B, U] is added in the first layer."""
        h_BU = self.upper(self.first(inputs_BDn) + self.in_bias.astype(self.dtype) + from_context, train)
        return jnp.einsum("bu,duf->bdf", h_BU, self.out_kernel.astype(self.dtype)) + self.out_bias.astype(self.dtype)


@NETWORKS.register("deep_nade")
class DeepNADE(OrderAgnosticNetwork):
    """A feed-forward network from the observed sites to all others, applied once per step, in any order and block
    partition. From step to step the first layer changes by the sites of the step before. So its input is a running sum
    as in NADE, and only the features of the new sites are computed: a step costs O(U^2), whatever the number of sites.
    The parallel form does the same for all steps; `given` takes any set of observed sites.

    Options: `hidden_sizes` (any depth), `activation`, `dropout` on hidden units, `steps_per_chunk` (steps computed
    together in the parallel form: memory against time).
    """

    hidden_sizes: tuple[int, ...] = opt((500, 500), fewest=1)
    activation: str = opt("relu", choices=ACTIVATIONS)
    dropout: float = rate_option()

    SMALL = {"hidden_sizes": (24, 20), "steps_per_chunk": 4}

    def setup(self):
        self.mlp = MaskedInputMLP(**fields_from(self, MaskedInputMLP, num_sites=self.event.num_sites))
        if self.context_spec:
            self.context = summary_encoder(self.context_spec, self.event, self.hidden_sizes[0], self.dtype)
        if self.context_spec.local:
            self.local = feature_encoder(self.context_spec.at_sites, self.event, self.num_features, self.dtype)

    def given(self, x, observed, context=None, *, train=False):
        from_context = 0.0 if context is None else self.context(context)
        features_BDF = self.mlp(self.all_inputs(x, observed), from_context, train)
        if self.context_spec.local:
            features_BDF = features_BDF + self._local(context)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def given_at(self, x, observed, site, context=None):
        from_context = 0.0 if context is None else self.context(context)
        pre_BU = self._looked_up(x, observed) if self.event.columns else self.mlp.first(self.all_inputs(x, observed))
        h_BU = self.mlp.upper(pre_BU + self.mlp.in_bias.astype(self.dtype) + from_context, False)
        return self._features(h_BU, site[None], self._local(context))[:, 0]

    def _looked_up(self, x: jax.Array, observed: jax.Array) -> jax.Array:
        """`MaskedInputMLP.first` for mixed columns, [B, U]: looks up rows of its kernel, without one-hot products."""
        values_BD, observed_BD = filled(x, 0)
        observed_BD = observed_BD & observed
        pre_BU = jnp.zeros((len(x), self.hidden_sizes[0]), self.dtype)
        for d, column in enumerate(self.event.columns):
            kernel_nU = jnp.asarray(self.mlp.in_kernel)[d].astype(self.dtype)
            if column.num_levels > 2:
                row_BU = (kernel_nU[:-1] + kernel_nU[-1])[values_BD[:, d].astype(jnp.int32)]
            else:
                row_BU = values_BD[:, d, None].astype(self.dtype) * kernel_nU[0] + kernel_nU[-1]
            pre_BU = pre_BU + jnp.where(observed_BD[:, d, None], row_BU, 0)
        return pre_BU

    def _local(self, context: Context | None) -> jax.Array | None:
        """The features that local parts of the context add to each site, [B, D, F]."""
        if context is None or not self.context_spec.local:
            return None
        features = self.local(context)
        return features.reshape(len(features), self.event.num_sites, self.num_features)

    def _first(self, batch_size: int, context: Context | None) -> jax.Array:
        """The sum of the first layer before any site is observed, float32[B, U]: it gets as many terms as sites."""
        first_U = self.mlp.in_bias if context is None else self.mlp.in_bias + self.context(context).astype(jnp.float32)
        return jnp.broadcast_to(first_U, (batch_size, self.hidden_sizes[0]))

    def _terms(self, x: jax.Array, sites: jax.Array, kernels: jax.Array) -> jax.Array:
        """Contribution of sites int[..., M] with kernels [..., M, n + 1, U] to the first layer, float32[B, ..., U]."""
        exists = sites < self.event.num_sites
        values = jnp.take(flat_sites(x, self.event), jnp.minimum(sites, self.event.num_sites - 1), axis=1)
        inputs = self.inputs(values, jnp.broadcast_to(exists, values.shape[:-1]))
        terms = jnp.einsum("b...mn,...mnu->b...u", inputs, kernels.astype(self.dtype))
        return terms.astype(jnp.float32)

    def __call__(self, x, factorization, context=None, *, train=False):
        blocks_SM = jnp.asarray(factorization.blocks)
        new_SM = sites_of(jnp.arange(factorization.num_steps) - 1, factorization)

        def body(network: DeepNADE, pre_BU: jax.Array, xs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            new_CM, in_CMnU, *outputs = xs
            pre_BCU = pre_BU[:, None] + jnp.cumsum(network._terms(x, new_CM, in_CMnU), axis=1)
            return pre_BCU[:, -1], network._read_out(network.mlp.upper(pre_BCU, train), *outputs)

        xs = (new_SM, self._kernels(new_SM), *self._outputs(blocks_SM))
        features = self.scan_steps(body, self._first(len(x), context), xs, factorization)
        local_BDF = self._local(context)
        return features if local_BDF is None else features + local_BDF.reshape(features.shape).astype(jnp.float32)

    def _kernels(self, sites: jax.Array) -> jax.Array:
        return jnp.take(self.mlp.in_kernel, jnp.minimum(sites, self.event.num_sites - 1), axis=0)

    def _outputs(self, sites: jax.Array) -> tuple[jax.Array, jax.Array]:
        sites = jnp.minimum(sites, self.event.num_sites - 1)
        return jnp.take(self.mlp.out_kernel, sites, axis=0), jnp.take(self.mlp.out_bias, sites, axis=0)

    def _read_out(self, h: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        """V h + c of some sites: [B, ..., U], [..., M, U, F] and [..., M, F] -> [B, ..., M, F]."""
        return jnp.einsum("b...u,...muf->b...mf", h, kernel.astype(self.dtype)) + bias.astype(self.dtype)

    def _features(self, h: jax.Array, sites: jax.Array, local_BDF: jax.Array | None) -> jax.Array:
        """The features of sites int[..., M], float32[B, ..., M, F]."""
        features = self._read_out(h, *self._outputs(sites))
        if local_BDF is not None:
            features = features + jnp.take(local_BDF, sites, axis=1, mode="clip")
        return features.astype(jnp.float32)

    def start(self, batch_size, factorization, context=None):
        """The sum of the first layer, float32[B, U]; and what local parts of the context add to the features."""
        return self._first(batch_size, context), self._local(context)

    def extend(self, carry, canvas, t, k, factorization, context=None):
        """In one pass; the carries are the sums before each of the steps, as the first axis."""
        (carry, local_BDF), step_k = carry, t + jnp.arange(k)
        new_kM = sites_of(step_k - 1, factorization)
        pre_BkU = carry[:, None] + jnp.cumsum(self._terms(canvas, new_kM, self._kernels(new_kM)), axis=1)
        features = self._features(self.mlp.upper(pre_BkU, False), sites_of(step_k, factorization), local_BDF)
        return (jnp.concatenate([carry[None], jnp.swapaxes(pre_BkU, 0, 1)]), local_BDF), features

    def keep(self, carries, n):
        return jax.lax.dynamic_index_in_dim(carries[0], n, keepdims=False), carries[1]

    def ahead(self, carry, canvas, t, k, factorization, context=None):
        (carry, local_BDF), new_M = carry, sites_of(t - 1, factorization)
        h_BU = self.mlp.upper(carry + self._terms(canvas, new_M, self._kernels(new_M)), False)
        sites_kM = sites_of(t + jnp.arange(k), factorization)
        if sites_kM.size < self.event.num_sites:
            return self._features(h_BU[:, None], sites_kM, local_BDF)
        # all sites, without a copy of their kernels in the order of each example
        features_BDF = self._features(h_BU, jnp.arange(self.event.num_sites), local_BDF)
        return jnp.take(features_BDF, sites_kM, axis=1, mode="clip")
