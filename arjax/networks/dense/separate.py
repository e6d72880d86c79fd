"""One model per conditional, without shared parameters: a generalised linear one, or a small network."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import opt, rate_option
from arjax.core.programs import by_columns
from arjax.core.spec import EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import ACTIVATIONS, NETWORKS, Context, Network
from arjax.networks.dense.independent import SiteBias
from arjax.networks.layers.embedding import flat_inputs, input_mask, numeric_size, seen_inputs
from arjax.networks.layers.local_context import site_encoder


class EarlierSites(nn.Module):
    """A linear map from the sites of earlier steps to the features of each site: sum_j W_ij x_j over step[j] < step[i].
    The strict mask multiplies W [D * n, D * F] in the forward pass, so one matrix supports any order and partition. W
    starts at 0: weights without a gradient stay 0, and training begins at independent sites.
    """

    event: EventSpec
    num_features: int
    dtype: str

    def setup(self):
        shape = (self.event.num_sites * numeric_size(self.event), self.event.num_sites * self.num_features)
        self.kernel = self.param("kernel", nn.initializers.zeros, shape)

    def __call__(self, inputs: jax.Array, factorization: Factorization) -> jax.Array:
        """Inputs [B, D * n] of all sites -> [B, D, F]."""
        if not factorization.has_edges:
            return jnp.zeros((inputs.shape[0], self.event.num_sites, self.num_features), self.dtype)
        mask = jnp.repeat(input_mask(self.event, factorization), self.num_features, axis=1)
        out = by_columns(inputs @ jnp.where(mask, self.kernel, 0.0).astype(self.dtype))
        return out.reshape(-1, self.event.num_sites, self.num_features)

    def step(self, inputs: jax.Array, t: jax.Array, factorization: Factorization) -> jax.Array:
        """Inputs [B, D * n], 0 where not of an earlier step -> [B, M, F] of the sites of step t."""
        kernel = self.kernel.reshape(-1, self.event.num_sites, self.num_features)
        sites_M = factorization.sites(t)[0]
        columns = jnp.take(kernel, sites_M, axis=1, mode="clip").astype(self.dtype)
        if factorization.parents is not None:
            read = jnp.take(input_mask(self.event, factorization), sites_M, axis=1, mode="clip")
            columns = jnp.where(read[..., None], columns, 0)
        return jnp.einsum("bi,imf->bmf", inputs, columns)


@NETWORKS.register("fvsbn")
class FVSBN(Network):
    """One generalised linear model per site: features_i = b_i + sum of W_ij x_j over the sites j of earlier steps.

    For binary sites p(x_i = 1 | x_<i) = sigma(b_i + sum_j<i W_ij x_j): Frey, "Graphical Models for Machine Learning and
    Digital Communication" (1998), section 3.2; Gan et al., "Learning Deep Sigmoid Belief Networks with Data
    Augmentation" (2015), section 2. Integers of more levels enter one-hot, real values as they are. The log-likelihood
    of binary data is concave in the parameters, so regularisation is the only choice. Options: `input_dropout` on the
    inputs.
    """

    input_dropout: float = rate_option()

    READOUT = ("earlier",)
    TRAITS = Network.TRAITS | {"graphs"}

    def setup(self):
        self.site = SiteBias(self.event, self.num_features, self.context_spec, self.dtype)
        self.earlier = EarlierSites(self.event, self.num_features, self.dtype)
        self.input_drop = nn.Dropout(self.input_dropout)

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = self.input_drop(flat_inputs(x, self.event, self.dtype), deterministic=not train)
        features_BDF = self.site(x.shape[0], context) + self.earlier(inputs, factorization)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def start(self, batch_size, factorization, context=None):
        """The features of all sites without the contributions of other sites, [B, D, F]."""
        return self.site(batch_size, context)

    def step(self, carry, canvas, t, factorization, context=None):
        """O(D) per site: its own row of the matrix."""
        constant_BMF = jnp.take(carry, factorization.sites(t)[0], axis=1, mode="clip")
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        return carry, (constant_BMF + self.earlier.step(inputs, t, factorization)).astype(jnp.float32)


@NETWORKS.register("separate")
class Separate(Network):
    """One multilayer perceptron for each of the D sites, which reads the sites of earlier steps.

        h_i = act(W_i (m_i * x) + b_i),  features_i = V_i h_i + d_i,    m_ij = 1 where step[j] < step[i]

    The joint distribution as a product of conditionals with a learner each (Frey, 1998; Bengio & Bengio, "Modeling
    High-Dimensional Discrete Data with Multi-Layer Neural Networks", 2000, with shared hidden units). The parameters
    are stacked on a leading site axis. W_i is masked at all sites that site i must not read (under a graph: all but its
    parents). A context is one more input of every perceptron. Memory and time are quadratic in the number of sites: the
    stacked W holds D * D * n * U numbers, 10 million for 784 binary sites at U = 16, and as many again for each moment
    of the optimizer.

    Options: `hidden_sizes` U of each layer (any depth), `activation`, `dropout` on hidden units, `input_dropout`.
    """

    hidden_sizes: tuple[int, ...] = opt((16,), fewest=1)
    activation: str = opt("relu", choices=ACTIVATIONS)
    dropout: float = rate_option()
    input_dropout: float = rate_option()

    READOUT = ("out_kernel", "out_bias")
    SMALL = {"hidden_sizes": (20, 16)}
    TRAITS = Network.TRAITS | {"graphs"}

    def setup(self):
        num_sites, kernel = self.event.num_sites, nn.initializers.lecun_normal(batch_axis=0)
        sizes = [num_sites * numeric_size(self.event), *self.hidden_sizes, self.num_features]
        names = [*(f"hidden_{i}" for i in range(len(self.hidden_sizes))), "out"]
        shapes = list(zip(names, sizes[:-1], sizes[1:], strict=True))
        self.kernels = [self.param(f"{name}_kernel", kernel, (num_sites, *shape)) for name, *shape in shapes]
        # Output biases are not zero: the first site reads nothing else, and components of a mixture would stay equal.
        starts = [*[nn.initializers.zeros] * len(self.hidden_sizes), nn.initializers.normal(0.05)]
        self.biases = [
            self.param(f"{name}_bias", start, (num_sites, size))
            for start, (name, _, size) in zip(starts, shapes, strict=True)
        ]
        if self.context_spec:
            self.context = site_encoder(self.context_spec, self.event, self.hidden_sizes[0], self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.input_drop = nn.Dropout(self.input_dropout)

    def _from_context(self, batch_size: int, context: Context | None) -> jax.Array:
        """The contribution of the context to the first hidden layer of every site, [B, D, U]."""
        shape = (batch_size, self.event.num_sites, self.hidden_sizes[0])
        return jnp.zeros(shape, self.dtype) if context is None else self.context(context).reshape(shape)

    def _run(
        self,
        inputs_BI: jax.Array,
        from_context_BDU: jax.Array,
        factorization: Factorization,
        sites_M: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """The perceptrons of some sites, or of all (None): [B, D * n] -> features [B, M, F]."""

        def pick(array: jax.Array, axis: int = 0) -> jax.Array:
            return array if sites_M is None else jnp.take(array, sites_M, axis, mode="clip")

        kernels, biases = ([pick(leaf).astype(self.dtype) for leaf in leaves] for leaves in (self.kernels, self.biases))
        h_BMU = biases[0] + pick(from_context_BDU, 1)
        if factorization.has_edges:
            mask_MI = pick(input_mask(self.event, factorization).T)
            h_BMU = h_BMU + jnp.einsum("bi,miu->bmu", inputs_BI, jnp.where(mask_MI[..., None], kernels[0], 0))
        for kernel, bias in zip(kernels[1:], biases[1:], strict=True):
            h_BMU = self.drop(ACTIVATIONS[self.activation](h_BMU), deterministic=not train)
            h_BMU = jnp.einsum("bmu,muv->bmv", h_BMU, kernel) + bias
        return h_BMU.astype(jnp.float32)

    def __call__(self, x, factorization, context=None, *, train=False):
        inputs = self.input_drop(flat_inputs(x, self.event, self.dtype), deterministic=not train)
        features_BDF = self._run(inputs, self._from_context(x.shape[0], context), factorization, None, train)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features)

    def start(self, batch_size, factorization, context=None):
        """The contribution of the context, computed once for all steps."""
        return self._from_context(batch_size, context)

    def step(self, carry, canvas, t, factorization, context=None):
        """Only the perceptrons of the sites of step t are computed."""
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        return carry, self._run(inputs, carry, factorization, factorization.sites(t)[0], train=False)
