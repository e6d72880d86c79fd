"""Embeddings of values, positions and contexts."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from arjax.core.arrays import is_present
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import Context
from arjax.networks.layers.dense import Dense

POSITIONS = ("none", "learned", "sinusoidal")


def flat_sites(x: jax.Array, event: EventSpec) -> jax.Array:
    """x[B, *grid, *value] -> [B, D, value_size]; of mixed columns the `column_inputs`, [B, D, n]."""
    if event.columns:
        return column_inputs(x, event.columns)
    return x.reshape(x.shape[0], event.num_sites, event.value_size)


def column_inputs(x: jax.Array, columns: tuple[EventSpec, ...]) -> jax.Array:
    """Returns mixed columns x[B, D] as inputs float[B, D, n], where n is the largest number of levels. Integers of more
    than two levels become one-hot; binary and real values are the first input. A missing value is NaN.
    """
    size = max(numeric_size(column) for column in columns)
    is_one_hot = np.array([column.num_levels > 2 for column in columns])
    first = jnp.arange(size) == 0
    levels = x.astype(jnp.int32)[..., None] == jnp.arange(size)
    inputs = jnp.where(is_one_hot[:, None], levels.astype(x.dtype), jnp.where(first, x[..., None], 0))
    return jnp.where(is_present(x, 0)[..., None], inputs, jnp.nan)


def numeric_size(event: EventSpec) -> int:
    """Number of inputs per site that `numeric` makes."""
    if event.columns:
        return max(numeric_size(column) for column in event.columns)
    return event.value_size * (event.num_levels if event.num_levels > 2 else 1)


def numeric(values: jax.Array, event: EventSpec, dtype: DTypeLike) -> jax.Array:
    """Returns values [..., value_size] as inputs [..., numeric_size]: more than two levels as one-hot vectors."""
    if event.num_levels > 2:
        one_hot = jax.nn.one_hot(values, event.num_levels, dtype=dtype)
        return one_hot.reshape(*values.shape[:-1], event.value_size * event.num_levels)
    return values.astype(dtype)


def pixel_inputs(values: jax.Array, event: EventSpec, dtype: DTypeLike) -> jax.Array:
    """Returns values as inputs of a convolution, [..., pixel_size(event)]: levels from 0 to 1, others by `numeric`."""
    if event.kind == "levels":
        return values.astype(dtype) / (event.num_levels - 1)
    return numeric(values, event, dtype)


def pixel_size(event: EventSpec) -> int:
    """Number of inputs that `pixel_inputs` makes of a value."""
    return event.value_size if event.kind == "levels" else numeric_size(event)


def known_values(values: jax.Array, part: EventSpec) -> tuple[jax.Array, jax.Array]:
    """Returns values [B, *positions, *value] of a part of a context, with 0 after the end of short sequences, where
    discrete ones are -1; and bool[B, *positions], whether there is a value.
    """
    positions = values.shape[: values.ndim - len(part.value_shape)]
    if not part.is_discrete:
        return values, jnp.ones(positions, bool)
    return jnp.maximum(values, 0), (values >= 0).reshape(*positions, -1).all(-1)


def flat_inputs(x: jax.Array, event: EventSpec, dtype: DTypeLike) -> jax.Array:
    """All sites as one vector, n = `numeric_size` inputs per site: x[B, *grid, *value] -> [B, D * n]."""
    inputs = numeric(flat_sites(x, event), event, dtype)
    return inputs.reshape(inputs.shape[0], -1)


def input_steps(event: EventSpec, factorization: Factorization) -> jax.Array:
    """The step of each input of `flat_inputs`, int[D * n]."""
    return jnp.repeat(jnp.asarray(factorization.step), numeric_size(event))


def input_mask(event: EventSpec, factorization: Factorization) -> jax.Array:
    """Whether each input of `flat_inputs` may be read by each site, bool[D * n, D]."""
    if factorization.parents is not None:
        return jnp.repeat(jnp.asarray(factorization.parents).T, numeric_size(event), axis=0)
    return input_steps(event, factorization)[:, None] < jnp.asarray(factorization.step)


def seen_inputs(
    canvas: jax.Array, event: EventSpec, dtype: jnp.dtype, t: jax.Array, factorization: Factorization
) -> jax.Array:
    """`flat_inputs` of a canvas in step t, [B, D * n], with 0 for the sites of steps >= t, whatever their values."""
    return jnp.where(input_steps(event, factorization) < t, flat_inputs(canvas, event, dtype), 0)


class ValueEncoder(nn.Module):
    """A learned vector for the value of a site: [B, ..., value_size] of sites int[...] -> [B, ..., E]. Integers of more
    than two levels are looked up in one table per scalar of the value, and the vectors added; binary and real values go
    through a linear map. Mixed columns have a map each, which for discrete ones is a table. `shows_zeros`: the initial
    vector of a 0 is as large as those of other values, for tokens that are normalised.
    """

    event: EventSpec
    width: int
    dtype: str
    shows_zeros: bool = False

    def setup(self):
        of_zeros = self.shows_zeros and self.event.kind != "real"  # real values are hardly ever 0
        bias_init = nn.initializers.normal(self.width**-0.5) if of_zeros else nn.initializers.zeros
        if self.event.columns:
            shape = (self.event.num_sites, numeric_size(self.event), self.width)
            self.of_columns = self.param("columns", nn.initializers.normal(self.width**-0.5), shape)
            self.bias = self.param("bias", bias_init, (self.event.num_sites, self.width))
        elif self.event.num_levels > 2:
            self.table = nn.Embed(self.event.value_size * self.event.num_levels, self.width, dtype=self.dtype)
        else:
            self.linear = Dense(self.width, dtype=self.dtype, bias_init=bias_init)

    def __call__(self, values: jax.Array, sites: jax.Array) -> jax.Array:
        if self.event.columns:
            maps, bias = (
                jnp.take(leaf, sites, axis=0, mode="clip").astype(self.dtype) for leaf in (self.of_columns, self.bias)
            )
            return jnp.einsum("b...n,...ne->b...e", values.astype(self.dtype), maps) + bias
        if self.event.num_levels > 2:
            rows = values + self.event.num_levels * jnp.arange(self.event.value_size)
            return self.table(rows).sum(-2)
        return self.linear(values.astype(self.dtype))


class PositionEncoder(nn.Module):
    """A vector for each of the D sites and for "no site" (index D): int[...] -> [..., E]. Sinusoids are those of
    Vaswani et al., "Attention Is All You Need" (2017), section 3.5.
    """

    num_sites: int
    width: int
    kind: str
    dtype: str

    def setup(self):
        if self.kind == "learned":
            self.table = nn.Embed(self.num_sites + 1, self.width, dtype=self.dtype)

    def __call__(self, sites: jax.Array) -> jax.Array:
        if self.kind == "learned":
            return self.table(sites)
        half = (self.width + 1) // 2
        frequency = np.exp(-np.log(1e4) * np.arange(half) / half).astype(np.float32)
        angle = sites[..., None].astype(jnp.float32) * frequency
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)[..., : self.width].astype(self.dtype)


def value_map(part: EventSpec, width: int, dtype: str) -> nn.Embed | Dense:
    """The layer that embeds the values of a part: a `table` for discrete values, a `linear` map for others."""
    if part.is_discrete:
        return nn.Embed(part.value_size * part.num_levels, width, dtype=dtype, name="table")
    return Dense(width, dtype=dtype, name="linear")


def value_vectors(values: jax.Array, part: EventSpec, mapping: nn.Embed | Dense) -> jax.Array:
    """Embeds values by a `value_map`, [..., *value] -> [..., E], or of mixed columns [B, D] -> [B, D, E]. The vectors
    of discrete scalars are added.
    """
    if part.columns:
        return mapping(column_inputs(values, part.columns).astype(mapping.dtype))
    values = values.reshape(*values.shape[: values.ndim - len(part.value_shape)], part.value_size)
    if part.is_discrete:
        return mapping(values + part.num_levels * jnp.arange(part.value_size)).sum(-2)
    return mapping(values.astype(mapping.dtype))


class PartsEncoder(nn.Module):
    """An encoder of a context, with one for each of several `parts`; subclasses define `make(part)`, which makes the
    layers for one part.
    """

    spec: ContextSpec
    width: int
    dtype: str

    def setup(self):
        several = self.spec.parts if len(self.spec.parts) > 1 else ()
        self.parts = {n: type(self)(ContextSpec(**{n: p}), self.width, self.dtype) for n, p in several}
        if not several:
            self.make(self.spec.parts[0][1])


class ContextEncoder(PartsEncoder):
    """A learned vector for the context of each example, {part: [B, ...]} -> [B, E]; the vectors of the parts add up. A
    class is looked up, a vector mapped linearly. A sequence is summarised by the mean of its positions, encoded by
    `SequenceEncoder`. An image, or a grid of more axes, goes through a hidden layer as a whole.
    """

    def make(self, part):
        if len(part.grid_shape) == 1:
            self.sequence = SequenceEncoder(self.spec, self.width, self.dtype)
        elif part.grid_shape:
            self.hidden = Dense(self.width, dtype=self.dtype)
        else:
            self.values = value_map(part, self.width, self.dtype)
        if part.grid_shape:
            self.summary = Dense(self.width, dtype=self.dtype)

    def __call__(self, context: Context) -> jax.Array:
        if self.parts:
            return sum(encoder(context) for encoder in self.parts.values())
        ((name, part),) = self.spec.parts
        if len(part.grid_shape) == 1:
            encoded_BLE, valid_BL = self.sequence(context)
            count_B1 = jnp.maximum(valid_BL.sum(1, keepdims=True), 1).astype(self.dtype)
            return self.summary(jnp.where(valid_BL[..., None], encoded_BLE, 0).sum(1) / count_B1)
        if part.grid_shape:
            return self.summary(nn.gelu(self.hidden(flat_inputs(context[name], part, self.dtype))))
        return value_vectors(context[name], part, self.values)


class SequenceEncoder(PartsEncoder):
    """The positions of the grids of a context, one after another: {part: [B, *grid, ...]} -> ([B, L, E], bool[B, L]).
    Each is gelu(W (value) + position); positions after the end of a short sequence are not valid.
    """

    def make(self, part):
        self.values = value_map(part, self.width, self.dtype)
        self.position = PositionEncoder(part.num_sites, self.width, "sinusoidal", self.dtype)

    def __call__(self, context: Context) -> tuple[jax.Array, jax.Array]:
        if self.parts:
            encoded, valid = zip(*(encoder(context) for encoder in self.parts.values()), strict=True)
            return jnp.concatenate(encoded, 1), jnp.concatenate(valid, 1)
        ((name, part),) = self.spec.parts
        values = context[name].reshape(context[name].shape[0], part.num_sites, *part.value_shape)
        values, valid_BL = known_values(values, part)
        values_BLE = value_vectors(values, part, self.values)
        return nn.gelu(values_BLE + self.position(jnp.arange(part.num_sites))), valid_BL
