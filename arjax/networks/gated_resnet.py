"""The gated residual layer of PixelCNN++ (Salimans et al., 2017), and stacks of equal ones that compile as one layer."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.convolution import Taps
from arjax.networks.gated_pixelcnn import add_vector
from arjax.networks.two_streams import PictureView
from arjax.networks.weight_norm import NormalisedConv, NormalisedMix, normalised_weights

#: What a layer reads beside its input: nothing, an array, or several to be concatenated.
Aux = jax.Array | tuple[jax.Array, ...] | None


@jax.custom_jvp
def concat_elu(x: jax.Array) -> jax.Array:
    """[elu(x), elu(-x)], [..., F] -> [..., 2F] (Shang et al., 2016, with elu).

    Its slope is computed from its value, which the next layer keeps anyway.
    """
    return jnp.concatenate([nn.elu(x), nn.elu(-x)], -1)


@concat_elu.defjvp
def _concat_elu_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = concat_elu(*primals)
    slope = lambda d, y: jnp.concatenate([d, -d], -1) * (jnp.minimum(y, 0) + 1)  # noqa: E731
    return y, jax.checkpoint(slope, prevent_cse=False)(*tangents, y)


@functools.partial(jax.checkpoint, prevent_cse=False)
def gate(y: jax.Array) -> jax.Array:
    """a sigma(b), where [a, b] = y; computed again for its gradient."""
    a, b = jnp.split(y, 2, -1)
    return a * nn.sigmoid(b)


def drop(y: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Dropout; none without a key."""
    return y if key is None else jnp.where(jax.random.bernoulli(key, 1 - rate, y.shape), y / (1 - rate), 0)


def dropout_keys(module: nn.Module, rate: float, train: bool, shape: tuple[int, ...] = ()) -> jax.Array | None:
    """Keys for dropout in training; None where nothing is dropped."""
    return jax.random.split(module.make_rng("dropout"), shape) if train and rate > 0 else None


def unstacked(weights: Any) -> list[Any]:
    """Weights of all layers, [L, ...] each, layer by layer."""
    num = len(jax.tree.leaves(weights)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], weights) for i in range(num)]


class GatedResnet(nn.Module):
    """x + a sigma(b), [a, b] = conv_2(drop(f(conv_1(f(x)) + W f(aux)))) + V e: f is concat_elu, e the context (2.5).

    `ready`: the parameters are those that `weight_norm.normalised_weights` gives.
    """

    filters: int
    taps: Taps
    has_aux: bool
    conditional: bool
    dropout: float
    dtype: str
    ready: bool = False

    def setup(self):
        self.conv_in = NormalisedConv(self.filters, self.taps, self.dtype, ready=self.ready)
        self.conv_out = NormalisedConv(2 * self.filters, self.taps, self.dtype, gain=0.1, ready=self.ready)
        if self.has_aux:
            self.aux = NormalisedMix(self.filters, self.dtype, ready=self.ready)
        if self.conditional:
            self.context = nn.Dense(2 * self.filters, use_bias=False, dtype=self.dtype)

    def __call__(self, x: jax.Array, view: PictureView, aux: Aux, e_BE: jax.Array | None, key: jax.Array | None):
        """Pixels of the view, [B, ..., F]; `key` for dropout, or None for none."""
        y = view.read(self.conv_in, concat_elu(x))
        if self.has_aux:
            y = y + self.aux(concat_elu(jnp.concatenate(aux, -1) if isinstance(aux, tuple) else aux))
        y = view.read(self.conv_out, drop(concat_elu(y), self.dropout, key))
        return x + gate(y if e_BE is None else add_vector(y, self.context(e_BE)))


class GatedStack(nn.Module):
    """The parameters of equal gated layers, with an axis for the layers.

    One loop runs all layers, and one normalises all weights: a program with each layer written out takes minutes to
    compile. Layers of several resolutions can be in one stack.

    Attributes:
      num_layers: L.
      aux_size: maps of what is read beside the input; 0 for nothing.
      context_size: E of the context; 0 for none.
    """

    num_layers: int
    filters: int
    taps: Taps
    aux_size: int
    context_size: int
    dropout: float
    dtype: str

    def layer(self, *, ready: bool = True) -> GatedResnet:
        """One layer, to be applied to the weights of one."""
        fields = self.taps, self.aux_size > 0, self.context_size > 0, self.dropout, self.dtype, ready
        return GatedResnet(self.filters, *fields, parent=None)

    def setup(self):
        self.layers = self.param("layers", self._init)

    def _init(self, key: jax.Array) -> Any:
        zeros = lambda size: jnp.zeros((1, 1, 1, size), self.dtype) if size else None  # noqa: E731
        inputs = zeros(self.filters), PictureView((1, 1)), zeros(self.aux_size)
        e_BE = jnp.zeros((1, self.context_size), self.dtype) if self.context_size else None
        init = lambda key: self.layer(ready=False).init(key, *inputs, e_BE, None)["params"]  # noqa: E731
        return jax.vmap(init)(jax.random.split(key, self.num_layers))

    def weights(self) -> Any:
        """The normalised weights of all layers, each [L, ...]."""
        return normalised_weights(self.layers, self.dtype)

    def keys(self, train: bool) -> jax.Array | None:
        """A key for the dropout of each layer, or None."""
        return dropout_keys(self, self.dropout, train, (self.num_layers,))
