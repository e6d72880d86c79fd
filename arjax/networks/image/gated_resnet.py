"""The gated residual layer of PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017), and stacks that compile as one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from arjax.core.programs import is_for_cpu
from arjax.networks.base import once
from arjax.networks.image.shifted_streams import ImageView, Layer
from arjax.networks.layers.convolution import Cursor, Taps, WholeImage
from arjax.networks.layers.dense import KEPT, Dense
from arjax.networks.layers.local_context import add_context
from arjax.networks.layers.weight_norm import NormalisedConv, NormalisedMix, normalised_weights, small_weights

#: Applies convolutions to whole images, to a row or to a pixel.
View = ImageView | WholeImage | Cursor
#: Further inputs of a layer: none, an array, or several to be concatenated.
Aux = jax.Array | tuple[jax.Array, ...] | None


@jax.custom_jvp
def concat_elu(x: jax.Array) -> jax.Array:
    """[elu(x), elu(-x)], [..., F] -> [..., 2F] (Shang et al., 2016, with elu). Its derivative needs its value alone."""
    if x.ndim < 4 or not is_for_cpu():  # a few pixels
        return nn.elu(jnp.concatenate([x, -x], -1))
    sign_21 = np.array([[1], [-1]], x.dtype)  # XLA's CPU compiler fuses a product, and not a concatenation
    return nn.elu((x[..., None, :] * sign_21).reshape(*x.shape[:-1], -1))


@concat_elu.defjvp
def _concat_elu_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = concat_elu(*primals)
    slope = lambda d, y: jnp.concatenate([d, -d], -1) * (jnp.minimum(y, 0) + 1)  # noqa: E731
    return y, jax.checkpoint(slope, prevent_cse=False)(*tangents, y)


@functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=1)
def gated_half(y: jax.Array, norm: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """norm(a) sigma(b), where [a, b] = y; recomputed for its gradient."""
    a, b = jnp.split(y, 2, -1)
    return norm(a) * nn.sigmoid(b)


#: bool[L, B, ..., F], and the number of one of the L masks.
Mask = tuple[jax.Array, jax.Array | int]


def dropout_masks(module: nn.Module, rate: float, train: bool, shape: tuple[int, ...]) -> jax.Array | None:
    """bool[shape], false where dropout drops in training; None where nothing is dropped. On CPU a draw takes a fifth of
    a second to compile (on several axes a second), so draw masks of one shape together.
    """
    if not train or rate == 0:
        return None
    masks = jax.random.bernoulli(module.make_rng("dropout"), 1 - rate, (math.prod(shape),)).reshape(shape)
    return checkpoint_name(masks, KEPT)


class GatedResnet(nn.Module):
    """x + a sigma(b), [a, b] = conv_2(drop(f(conv_1(f(x)) + W f(aux)))) + V e: f is concat_elu, e the context (2.5).
    With `normalised`, the parameters are those that `weight_norm.normalised_weights` gives, else they are normalised
    here. Subclasses may normalise feature maps instead, conv_1(f(x)) and a, by `norm`.
    """

    filters: int
    taps: Taps
    has_aux: bool
    conditional: bool
    dropout: float
    dtype: str
    normalised: bool = False

    def setup(self):
        self.conv_in = NormalisedConv(self.filters, self.taps, self.dtype, normalised=self.normalised)
        self.conv_out = NormalisedConv(2 * self.filters, self.taps, self.dtype, gain=0.1, normalised=self.normalised)
        if self.has_aux:
            self.aux = NormalisedMix(self.filters, self.dtype, normalised=self.normalised)
        if self.conditional:
            self.context = Dense(2 * self.filters, use_bias=False, dtype=self.dtype)

    @staticmethod
    def norm(x: jax.Array) -> jax.Array:
        """Normalises feature maps; here it leaves them as they are."""
        return x

    def drop(self, y: jax.Array, mask: Any) -> jax.Array:
        """Dropout of y [B, ..., 2F] by one of `dropout_masks`, or None. The gradient looks the mask up again."""
        if mask is None:
            return y

        def dropped(y: jax.Array, masks: jax.Array, i: jax.Array | int) -> jax.Array:
            return jnp.where(jax.lax.dynamic_index_in_dim(masks, i, keepdims=False), y / (1 - self.dropout), 0)

        return jax.checkpoint(dropped, prevent_cse=False)(y, *mask)

    def __call__(self, x: jax.Array, view: View, aux: Aux, e_BE: jax.Array | None, mask: Any) -> jax.Array:
        """Pixels of the view, [B, ..., F]; `mask` as in `drop`."""
        y = self.norm(view.read(self.conv_in, concat_elu(x)))
        if self.has_aux:
            y = y + self.aux(concat_elu(jnp.concatenate(aux, -1) if isinstance(aux, tuple) else aux))
        y = view.read(self.conv_out, self.drop(concat_elu(y), mask))
        return x + gated_half(y if e_BE is None else add_context(y, self.context(e_BE)), self.norm)


class GatedStack(nn.Module):
    """The parameters of equal gated layers, perhaps of several resolutions, with an axis for the layers. They run in
    one loop, and all weights are normalised at once: a program with each layer written out takes minutes to compile.
    Sizes of further inputs and of a context may be 0.
    """

    num_layers: int
    filters: int
    taps: Taps
    aux_size: int
    context_size: int
    dropout: float
    dtype: str

    def setup(self):
        self.layers = self.param("layers", self._init)

    def _layer(self, *, normalised: bool = False) -> GatedResnet:
        fields = self.taps, bool(self.aux_size), bool(self.context_size), self.dropout, self.dtype
        return GatedResnet(self.filters, *fields, normalised, parent=None)

    def _init(self, key: jax.Array) -> Any:
        zeros = lambda size: jnp.zeros((1, 1, 1, size), self.dtype) if size else None  # noqa: E731
        inputs = zeros(self.filters), ImageView((1, 1)), zeros(self.aux_size)
        e_BE = jnp.zeros((1, self.context_size), self.dtype) if self.context_size else None
        init = lambda key: self._layer().init(key, *inputs, e_BE, None)["params"]  # noqa: E731
        return self._draw(key, jax.vmap(init)(jax.random.split(key, self.num_layers)))

    def _draw(self, key: jax.Array, params: Any) -> Any:
        """Draws all weights anew in one call, from the same distribution: each call takes long to compile on CPU."""
        paths, tree = jax.tree.flatten_with_path(params)
        drawn = [path[-1].key == "kernel" and path[0].key != "context" for path, _ in paths]
        sizes = [leaf.size for (_, leaf), here in zip(paths, drawn, strict=True) if here]
        parts = iter(jnp.split(small_weights(key, (sum(sizes),)), np.cumsum(sizes)[:-1]))
        leaves = [
            next(parts).reshape(leaf.shape) if here else leaf for (_, leaf), here in zip(paths, drawn, strict=True)
        ]
        return jax.tree.unflatten(tree, leaves)

    def weights(self) -> Any:
        """Returns the normalised weights of all layers, [L, ...] each; on CPUs [L, P]: a loop over the layers reads one
        array there faster than several.
        """
        weights = normalised_weights(self.layers, self.dtype)
        if not is_for_cpu():
            return weights
        leaves = jax.tree.leaves(weights)
        return jnp.concatenate([leaf.reshape(self.num_layers, -1) for leaf in leaves], 1)

    def steps(self) -> list[Any]:
        """Returns the weights layer by layer and array by array, so that no step has to slice them."""

        def take_apart() -> list[Any]:
            weights = normalised_weights(self.layers, self.dtype)
            return [jax.tree.map(lambda leaf, i=i: leaf[i], weights) for i in range(self.num_layers)]

        return once(self, "steps", take_apart)

    def layer(self) -> Layer:
        """One layer: `(weights, x, view, aux, context, mask) -> y`, for weights of either form."""
        one = jax.eval_shape(lambda params: normalised_weights(params, self.dtype), self.layers)
        leaves, tree = jax.tree.flatten(one)
        shapes = [leaf.shape[1:] for leaf in leaves]
        ends = np.cumsum([math.prod(shape) for shape in shapes])

        def run(weights: Any, *args: Any) -> jax.Array:
            if isinstance(weights, jax.Array):
                parts = [part.reshape(shape) for part, shape in zip(jnp.split(weights, ends[:-1]), shapes, strict=True)]
                weights = jax.tree.unflatten(tree, parts)
            y: Any = self._layer(normalised=True).apply({"params": weights}, *args)
            return y

        return run


def layers_of(weights: Any, begin: int, end: int) -> Any:
    """Layers `begin` to `end` of the weights of a stack, in any form."""
    return jax.tree.map(lambda leaf: leaf[begin:end], weights, is_leaf=lambda leaf: not isinstance(leaf, dict))
