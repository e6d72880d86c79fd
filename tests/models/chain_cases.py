"""What tests of chains share: a small network, a key, the terms of a bound as one program, gaps of Gaussian chains."""

from __future__ import annotations

import jax
import numpy as np

SMALL = {"width": 12, "num_layers": 1, "num_heads": 1}
KEY = jax.random.key(0)


@jax.jit
def log_prob_at(model, params, x, x_t, t_N):
    return model.noise(params).log_prob_at(x, x_t, t_N, model.features(params, x, x_t, t_N))


def gap_of(gammas):
    """Nats by which the bound of one normal value is below log p, with the ideal denoiser: the mean of each term.

    The noise that it predicts is off by alpha_t^2, as x_0 given x_t has the variance sigma_t^2; the last step is exact.
    """
    gammas = np.asarray(gammas, np.float64)
    kept = 1 / (1 + np.exp(gammas))
    prior = -0.5 * np.log(1 - kept[-1])
    steps = 0.5 * (np.expm1(np.diff(gammas)) * kept[1:]).sum()
    last = 0.5 * np.log(2 * np.pi * np.e * (1 - kept[0]))
    return prior + steps + last - 0.5 * np.log(2 * np.pi * np.e)
