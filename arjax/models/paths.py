"""Paths of draws from chains: examples on their way from noise to data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.models.base import Model, Params

#: The path of a draw in its statistics, [B, frames, *grid, *value].
PATH = "path"


def draw_path(model: Model, params: Params, keys: jax.Array, num_frames: int, **options: Any) -> jax.Array:
    """Examples on their way from noise to data, [B, frames, *grid, *value]; the last frame is that of `draw`.

    Frames lie at equal distances on the way, as far as there are so many steps. They are in the units of the data, and
    V marks a masked site.

    Args:
      model: a chain.
      params: its parameters.
      keys: [B], those of `draw`.
      num_frames: at least 2, the first of them x_T.
      **options: those of `draw`.

    Raises:
      UserError: fewer frames, or what `draw` refuses.
    """
    if not is_integer(num_frames) or num_frames < 2:
        raise UserError(f"a path has at least 2 frames, noise and data, not {num_frames!r}")
    return model.draw(params, keys, frames=num_frames, **options).stats[PATH]


def frame_places(num_frames: int, num_rounds: int) -> tuple[int, ...]:
    """The rounds after which a path has a frame, from 0 to the last one; () without frames."""
    if not num_frames:
        return ()
    return tuple(int(n) for n in np.unique(np.linspace(0, num_rounds, num_frames).round()))


def frames_of(first: jax.Array, later: jax.Array | None, places: tuple[int, ...]) -> jax.Array | None:
    """The frames [B, F, ...] at these places of x_T [B, ...] and the states [R, B, ...] after each round."""
    if not places:
        return None
    return jnp.moveaxis(jnp.concatenate([first[None], later])[np.array(places)], 0, 1)
