"""Mixed columns: a family for each site, as for tables of words, grades, truth values and measurements."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS, USUAL, Conditional, make_conditional
from arjax.core.errors import UserError, say_once
from arjax.core.spec import EventSpec


@CONDITIONALS.register("columns")
@dataclasses.dataclass(frozen=True)
class Columns(Conditional):
    """p(x_d | features_d) of the family of column d: a probability for discrete columns, a density for real ones.

    All sites have the features of the largest family; a smaller one reads the first of them. Features are [..., D, F]
    and values float32[..., D], integers of discrete columns included, for all D columns in the order of the grid.
    """

    families: tuple[Conditional, ...]
    value_shape: tuple[int, ...] = ()

    DATA = ("columns",)
    NEEDS = "mixed columns"

    @classmethod
    def for_event(  # type: ignore[override]
        cls,
        event: EventSpec,
        binary: str = USUAL["binary"],
        levels: str = USUAL["levels"],
        tokens: str = USUAL["tokens"],
        real: str = USUAL["real"],
    ) -> Columns:
        """The family of each kind of column: call strings such as `columns(real='gaussian_mixture(components=5)')`."""
        cls.check_event(event)
        calls = {"binary": binary, "levels": levels, "tokens": tokens, "real": real}
        there = {column.kind for column in event.columns}
        for kind, call in calls.items():
            if kind not in there and call != USUAL[kind]:
                say_once(f"columns({kind}={call!r}) has no effect: there is no column of {kind} values")
        made = {column: make_conditional(calls[column.kind], column) for column in dict.fromkeys(event.columns)}
        for column, family in made.items():
            if family.joint or jax.eval_shape(family.init, jax.random.key(0)) is not None:
                raise UserError(f"the conditional {calls[column.kind]!r} cannot be that of one column: take another")
        return cls(tuple(made[column] for column in event.columns))

    @property
    def num_params(self) -> int:
        return max(family.num_params for family in self.families)

    @functools.cached_property
    def groups(self) -> dict[Conditional, np.ndarray]:
        """The different families, and the columns of each, int[N]."""
        places: dict[Conditional, list[int]] = {family: [] for family in self.families}
        for i, family in enumerate(self.families):
            places[family].append(i)
        return {family: np.array(columns) for family, columns in places.items()}

    def at(self, sites: jax.Array) -> ColumnsAt:
        group_D = np.zeros(len(self.families), np.int32)
        for g, columns in enumerate(self.groups.values()):
            group_D[columns] = g
        return ColumnsAt(tuple(self.groups), jnp.take(jnp.asarray(group_D), sites, mode="clip"))

    def _by_column(self, score: Callable, features: jax.Array, *values: jax.Array) -> jax.Array:
        """`score(family, features [..., N, F], *values [..., N])` of the columns of each family, in their order."""
        by_family = []
        for family, columns_N in self.groups.items():
            of_columns = (jnp.take(array, columns_N, axis=-1) for array in values)
            by_family.append(
                score(family, jnp.take(features, columns_N, axis=-2)[..., : family.num_params], *of_columns)
            )
        back_D = np.argsort(np.concatenate(list(self.groups.values())))
        return jnp.take(jnp.concatenate(by_family, -1), back_D, axis=-1)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns log p of each column in nats, [..., D]: of probabilities, and of densities for real columns."""
        return self._by_column(lambda family, *of_family: family.log_prob(*of_family), features, value)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        return self.at(jnp.arange(len(self.families))).sample(key, features, temperature)

    def entropy(self, features: jax.Array) -> jax.Array:
        """Returns the entropy of each column in nats, [..., D]; differential of real ones, so it may be negative."""
        return self._by_column(lambda family, of_family: family.entropy(of_family), features)

    def mode(self, features: jax.Array) -> jax.Array:
        return self._by_column(lambda family, of_family: family.mode(of_family).astype(jnp.float32), features)


@dataclasses.dataclass(frozen=True)
class ColumnsAt(Conditional):
    """The families of M sites, and each site's number int[M]; features [..., M, F], results float32[..., M]."""

    families: tuple[Conditional, ...]
    group_M: jax.Array

    value_shape = ()

    @property
    def num_params(self) -> int:
        return max(family.num_params for family in self.families)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        return self._own(lambda family, features: family.log_prob(features, value), features)

    def entropy(self, features: jax.Array) -> jax.Array:
        return self._own(lambda family, features: family.entropy(features), features)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws float32[..., M]. Each family has its own noise: one key would draw the same numbers for all."""
        of_family = dict.fromkeys(self.families, key)
        if len(self.group_M) > 1:  # a single site takes one family's values alone
            of_family = {family: jax.random.fold_in(key, g) for g, family in enumerate(self.families)}
        draw = lambda family, features: family.sample(of_family[family], features, temperature)  # noqa: E731
        return self._own(draw, features)

    def mode(self, features: jax.Array) -> jax.Array:
        return self._own(lambda family, features: family.mode(features), features)

    def log_table(self, features: jax.Array) -> jax.Array:
        """Returns log p [..., M, V], V of the column with the most values; -inf beyond the values of a column."""
        tables = [family.log_table(features[..., : family.num_params]) for family in self.families]
        most = max(table.shape[-1] for table in tables)
        table_MV = jnp.full((*features.shape[:-1], most), -jnp.inf)
        for g, table in enumerate(tables):
            widths = [(0, 0)] * (table.ndim - 1) + [(0, most - table.shape[-1])]
            padded = jnp.pad(table, widths, constant_values=-jnp.inf)
            table_MV = jnp.where((self.group_M == g)[:, None], padded, table_MV)
        return table_MV

    def _own(self, values: Callable, features: jax.Array) -> jax.Array:
        """`values(family, features)` of every family, of which each site takes its own."""
        all_values = jnp.zeros(features.shape[:-1], jnp.float32)
        for g, family in enumerate(self.families):
            of_family = values(family, features[..., : family.num_params]).astype(jnp.float32)
            all_values = jnp.where(self.group_M == g, of_family, all_values)
        return all_values
