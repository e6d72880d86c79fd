"""Products of two arrays with custom products for their gradients, and the layer that multiplies many rows with a
matrix.

`jax.custom_vjp` would allow no forward mode. A product is linear in each array, so forward mode needs only the product
itself, and reverse mode its two transposes; where these are such products again, all higher derivatives follow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import DTypeLike

from arjax.core.programs import by_rows

#: By axis that `jax.vmap` added, outermost first: whether the left and the right array have it.
Mapped = tuple[tuple[bool, bool], ...]
#: `(cotangent, other array, *static)` -> the cotangent of one array.
Transpose = Callable[..., jax.Array]

_PRIMITIVE = Primitive("bilinear_product")


#: The name, by `checkpoint_name`, of arrays that `only_products` keeps too: dear to compute, and small.
KEPT = "kept"


def only_products(primitive: Any, *_: Any, **params: Any) -> bool:
    """A policy of `jax.checkpoint`: the results of products are kept, all else is computed again for the gradient."""
    is_product = primitive is _PRIMITIVE or primitive.name in ("dot_general", "conv_general_dilated")
    return is_product or params.get("name") == KEPT


class BilinearProduct:
    """`product(left, right, *static)`, linear in `left` and in `right`; to be made once, at the top of a module.

    `transposes(to_left, to_right)` names the gradients: `to_left(cotangent, right, *static)` is the sum over the result
    of cotangent * d result / d left, in the shape of `left`, cast to its type; likewise
    `to_right(cotangent, left, *static)`. The static arguments are hashable and have no gradient. Under `jit`, `vmap`,
    `scan`, `checkpoint` and on a mesh the product behaves as the function itself.
    """

    def __init__(self, function: Callable[..., jax.Array]):
        self.__doc__ = function.__doc__
        self._function = function
        #: The product along mapped axes, by the function itself.
        self.run = jax.jit(self._mapped, static_argnums=(2, 3))
        self._to_left: Transpose
        self._to_right: Transpose

    def transposes(self, to_left: Transpose, to_right: Transpose) -> None:
        self._to_left, self._to_right = to_left, to_right

    def __call__(self, left: jax.Array, right: jax.Array, *static: Hashable) -> jax.Array:
        return self.bind(left, right, static, ())

    def bind(self, left: jax.Array, right: jax.Array, static: tuple[Hashable, ...], mapped: Mapped) -> jax.Array:
        """The product along mapped axes, which come first."""
        shapes = (jax.ShapeDtypeStruct(jnp.shape(array), jnp.result_type(array)) for array in (left, right))
        # Tools that look into programs, such as `count_flops`, find the function here.
        jaxpr = self.run.trace(*shapes, static, mapped).jaxpr
        return _PRIMITIVE.bind(left, right, product=self, static=static, mapped=mapped, jaxpr=jaxpr)

    def _mapped(self, left: jax.Array, right: jax.Array, static: tuple[Hashable, ...], mapped: Mapped) -> jax.Array:
        return _along(lambda left, right: self._function(left, right, *static), mapped)(left, right)

    def to_left(self, cotangent: jax.Array, right: jax.Array, static: tuple[Hashable, ...], mapped: Mapped):
        """The cotangent of the left array."""
        axes, kept = tuple((True, has_right) for _, has_right in mapped), [has_left for has_left, _ in mapped]
        return _along(lambda *arrays: self._to_left(*arrays, *static), axes, kept)(cotangent, right)

    def to_right(self, cotangent: jax.Array, left: jax.Array, static: tuple[Hashable, ...], mapped: Mapped):
        """The cotangent of the right array."""
        axes, kept = tuple((True, has_left) for has_left, _ in mapped), [has_right for _, has_right in mapped]
        return _along(lambda *arrays: self._to_right(*arrays, *static), axes, kept)(cotangent, left)


def _along(function: Callable[..., jax.Array], mapped: Mapped, kept: list[bool] | None = None):
    """The function along mapped axes; summed over those that are not kept."""
    for axis in reversed(range(len(mapped))):
        function = jax.vmap(function, tuple(0 if has else None for has in mapped[axis]))
        if kept is not None and not kept[axis]:
            function = _summed(function)
    return function


def _summed(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda *arrays: function(*arrays).sum(0)


def _run(left: jax.Array, right: jax.Array, *, product: BilinearProduct, static, mapped: Mapped, jaxpr: Any):
    return product.run(left, right, static, mapped)


def _batched(arrays, axes, *, product: BilinearProduct, static, mapped: Mapped, jaxpr: Any):
    left, right = (
        array if axis is None else jnp.moveaxis(array, axis, 0) for array, axis in zip(arrays, axes, strict=True)
    )
    here = axes[0] is not None, axes[1] is not None
    return product.bind(left, right, static, (here, *mapped)), 0


_PRIMITIVE.def_impl(_run)
_PRIMITIVE.def_abstract_eval(lambda left, right, *, jaxpr, **_: jaxpr.out_avals[0])
mlir.register_lowering(_PRIMITIVE, mlir.lower_fun(_run, multiple_results=False))
batching.primitive_batchers[_PRIMITIVE] = _batched
ad.defbilinear(
    _PRIMITIVE,
    lambda ct, left, right, *, jaxpr, product, **how: product.to_left(ct, right, **how).astype(left.aval.dtype),
    lambda ct, left, right, *, jaxpr, product, **how: product.to_right(ct, left, **how).astype(right.aval.dtype),
)


@BilinearProduct
def weigh(x: jax.Array, kernel_EU: jax.Array) -> jax.Array:
    """x W, [..., E] -> [..., U], in the type of x."""
    return x @ kernel_EU.astype(x.dtype)


@BilinearProduct
def correlate(x: jax.Array, y: jax.Array, dtype: str) -> jax.Array:
    """The sum over all rows of x' y, [..., E] and [..., U] -> [E, U], at least in float32."""
    rows = tuple(range(x.ndim - 1))
    return _over_rows(lambda x, y, **how: jnp.tensordot(x, y, (rows, rows), **how), x, y, dtype)


def _over_rows(product: Callable[..., jax.Array], x: jax.Array, y: jax.Array, dtype: str) -> jax.Array:
    """A product that sums over rows, at least in float32. The barrier keeps XLA on CPUs from computing x and y column
    by column, which slows the training of Transformers by a tenth to a quarter; and XLA lacks some products of bfloat16
    with a sum in float32 there.
    """
    wide = _wide(x.dtype)
    summed = functools.partial(product, preferred_element_type=wide)

    def of_computed(x: jax.Array, y: jax.Array) -> jax.Array:
        return summed(*jax.lax.optimization_barrier((x.astype(wide), y.astype(wide))))

    return jax.lax.platform_dependent(x, y, cpu=of_computed, default=summed).astype(dtype)


def _wide(dtype: DTypeLike) -> jnp.dtype:
    """The type of a long sum."""
    return jnp.promote_types(dtype, jnp.float32)


weigh.transposes(lambda dy, kernel_EU: weigh(dy, kernel_EU.T), lambda dy, x: correlate(x, dy, _wide(x.dtype).name))
correlate.transposes(
    lambda d_kernel_EU, y, dtype: weigh(y, d_kernel_EU.T), lambda d_kernel_EU, x, dtype: weigh(x, d_kernel_EU)
)


@BilinearProduct
def to_heads(x_BTE: jax.Array, kernel_ENH: jax.Array) -> jax.Array:
    """x W of each head, [B, N, T, H], in the type of x."""
    return jnp.einsum("bte,enh->bnth", x_BTE, kernel_ENH.astype(x_BTE.dtype))


@BilinearProduct
def from_heads(x_BNTH: jax.Array, kernel_ENH: jax.Array) -> jax.Array:
    """The sum of x W' over the heads, [B, T, E], in the type of x."""
    return jnp.einsum("bnth,enh->bte", x_BNTH, kernel_ENH.astype(x_BNTH.dtype))


@BilinearProduct
def correlate_heads(x_BTE: jax.Array, y_BNTH: jax.Array, dtype: str) -> jax.Array:
    """The sum over all tokens of x' y, [E, N, H], at least in float32."""
    return _over_rows(functools.partial(jnp.einsum, "bte,bnth->enh"), x_BTE, y_BNTH, dtype)


to_heads.transposes(
    lambda dy, kernel: from_heads(dy, kernel), lambda dy, x: correlate_heads(x, dy, _wide(x.dtype).name)
)
from_heads.transposes(
    lambda dy, kernel: to_heads(dy, kernel), lambda dy, x: correlate_heads(dy, x, _wide(x.dtype).name)
)
correlate_heads.transposes(
    lambda d_kernel, y, dtype: from_heads(y, d_kernel), lambda d_kernel, x, dtype: to_heads(x, d_kernel)
)


class Dense(nn.Module):
    """y = x W + b, [..., E] -> [..., features]: the parameters of `nn.Dense`, and a gradient that is faster on CPUs.

    Attributes:
      batch_first: whether the first axis of x is that of the batch, which then stays where it is on a mesh.
    """

    features: int
    use_bias: bool = True
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    batch_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        place = by_rows if self.batch_first else lambda x: x
        y = weigh(place(x.astype(self.dtype)), self.param("kernel", self.kernel_init, (x.shape[-1], self.features)))
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
        return place(y)


class ToHeads(Dense):
    """`Dense` with its result by heads of H features, [B, T, E] -> [B, N, T, H]. Of many tokens the product itself puts
    it there, where accelerators would copy it; of few, as in a step, that would cost a copy of the larger kernel.
    """

    size: int = 1

    @nn.compact
    def __call__(self, x_BTE: jax.Array) -> jax.Array:
        batch, length, width = x_BTE.shape
        if batch * length < width:
            return jnp.swapaxes(super().__call__(x_BTE).reshape(batch, length, -1, self.size), 1, 2)
        kernel = self.param("kernel", self.kernel_init, (width, self.features))
        y_BNTH = to_heads(by_rows(x_BTE.astype(self.dtype)), kernel.reshape(len(kernel), -1, self.size))
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
            y_BNTH = y_BNTH + bias.reshape(-1, 1, self.size)
        return by_rows(y_BNTH)


class FromHeads(Dense):
    """`Dense` of the features of all heads, [B, N, T, H] -> [B, T, features]."""

    @nn.compact
    def __call__(self, x_BNTH: jax.Array) -> jax.Array:
        batch, heads, length, size = x_BNTH.shape
        if batch * length < heads * size:
            return super().__call__(jnp.swapaxes(x_BNTH, 1, 2).reshape(batch, length, -1))
        kernel = self.param("kernel", self.kernel_init, (heads * size, self.features))
        y_BTE = from_heads(by_rows(x_BNTH.astype(self.dtype)), kernel.T.reshape(-1, heads, size))
        if self.use_bias:
            y_BTE = y_BTE + self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
        return by_rows(y_BTE)
