"""The distribution of each site given the earlier ones, as arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.models import AutoregressiveModel

#: Draws from each conditional of real values, from which quantiles and moments are estimated.
NUM_DRAWS = 256


@dataclasses.dataclass(frozen=True, repr=False)
class SiteConditionals:
    """p(x_i | sites visited before i) of every site of N examples, in the order of the model.

    Attributes:
      log_prob: log-probability of the site's value in nats, float32[N, *grid]; 0 where the value is missing.
      entropy: of the distribution in nats, float32[N, *grid]; for densities in the units of the data.
      probabilities: of each value of each discrete scalar, float32[N, *grid, *value, K]; None for real data.
      draws: 256 values from each distribution of real data, float32[256, N, *grid, *value], as the model sees them,
        from which mean, standard deviation and quantiles are estimated. None for discrete data.
    """

    log_prob: np.ndarray
    entropy: np.ndarray
    probabilities: np.ndarray | None
    draws: np.ndarray | None

    def __repr__(self) -> str:
        shapes = {name: array.shape for name, array in vars(self).items() if array is not None}
        return f"SiteConditionals({', '.join(f'{name}={shape}' for name, shape in shapes.items())})"

    @property
    def _table(self) -> np.ndarray:
        assert self.probabilities is not None, "there are draws, or probabilities"
        return self.probabilities

    @property
    def mean(self) -> np.ndarray:
        """Mean of each scalar, [N, *grid, *value]; for discrete data the exact mean of the numbers of the levels."""
        if self.draws is not None:
            return self.draws.mean(0)
        return self._table @ np.arange(self._table.shape[-1], dtype=np.float32)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each scalar, as `mean`."""
        if self.draws is not None:
            return self.draws.std(0)
        squares = self._table @ np.square(np.arange(self._table.shape[-1], dtype=np.float32))
        return np.sqrt(np.maximum(squares - np.square(self.mean), 0.0))


def site_conditionals(
    model: AutoregressiveModel, params: Any, batch: Batch, log_scale_D: np.ndarray, key: jax.Array
) -> SiteConditionals:
    """Returns the conditionals of the examples of a batch."""
    head = model.conditional
    if head.joint or (model.event.is_discrete and not head.has_table):
        raise UserError(
            "this conditional has no table of probabilities: the values of a step depend on one another; `log_prob` "
            "scores them, and `model.conditionals` gives their entropies"
        )
    arrays = jax.tree.map(np.asarray, _arrays(model, params, batch, log_scale_D, key))
    return SiteConditionals(**arrays)


@jax.jit
def _arrays(
    model: AutoregressiveModel, params: Any, batch: Batch, log_scale_D: jax.Array, key: jax.Array
) -> dict[str, jax.Array | None]:
    features, head = model.features(params, batch.x, context=batch.context), model.head(params)
    x = jnp.asarray(batch.x)
    log_scale = log_scale_D.reshape(model.event.grid_shape)
    table = jnp.exp(head.log_table(features)) if model.event.is_discrete else None
    draws = None
    if table is None:
        draws = jax.vmap(lambda key: head.sample(key, features))(jax.random.split(key, NUM_DRAWS))
    return {
        "log_prob": model.of_present(
            lambda head, features, x, _: head.log_prob(features, x) - log_scale, head, features, x, model.factorization
        ),
        "entropy": head.entropy(features) + log_scale,
        "probabilities": table,
        "draws": draws,
    }
