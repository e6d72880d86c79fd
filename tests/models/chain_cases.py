"""What tests of discrete chains share: a small network, a key, and the terms of a bound as one compiled program."""

from __future__ import annotations

import jax

SMALL = {"width": 12, "num_layers": 1, "num_heads": 1}
KEY = jax.random.key(0)


@jax.jit
def log_prob_at(model, params, x, x_t, t_N):
    return model.log_prob_at(params, x, x_t, t_N, None)
