"""Missing values: NaN at a site of real values, or of mixed columns, says that the value of the site is missing.

The value of a site with several scalars is missing where any of them is. Integers are never missing. A batch marks the
sites with a value in its `mask`, so that all counts and means are over observed values.

Only some networks, objectives and models (the trait "holes") take them; all others refuse them. A NaN would make
gradients NaN even where its result is not used, so all computations begin with `filled`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import Array, blank, is_real_type


def is_present(x: Array, value_dims: int) -> Any:
    """Whether each site has its value, bool of the shape of `x` without its last axes, those of the value of a site."""
    xp = np if isinstance(x, np.ndarray) else jnp
    missing = xp.isnan(x) if is_real_type(x.dtype) else xp.zeros(x.shape, bool)
    return ~missing.any(axis=tuple(range(x.ndim - value_dims, x.ndim)))


def filled(x: Array, value_dims: int) -> tuple[Any, Any]:
    """The values with 0 at the sites whose value is missing, and whether each site has its value."""
    present = is_present(x, value_dims)
    return blank(x, present.reshape(*present.shape, *[1] * value_dims)), present
