"""Noise over the T steps of a chain: schedules, the steps that a score draws, and those that a draw visits.

A Gaussian schedule is gamma_t = log(1 - a_t) - log a_t for t = 1, ..., T, the negative log of the signal-to-noise
ratio, where q(x_t | x_0) = N(sqrt(a_t) x_0, 1 - a_t). A discrete one is a_t itself for t = 0, ..., T: the probability
that a site still has its value.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.options import is_integer

GAUSSIAN = ("linear", "cosine", "learned")
DISCRETE = ("linear", "cosine")
#: The end points of a learned schedule at its start (Kingma et al., 2021, appendix B).
LEARNED_ENDS = (-13.3, 5.0)
#: Units of the hidden layer of a learned schedule.
UNITS = 64
#: The golden ratio: the fractional parts of its multiples are spread evenly, however many there are.
GOLDEN = (5**0.5 - 1) / 2
#: The largest number of steps of a chain: a score or a draw may call the network in each of them.
MOST_STEPS = 100_000


@functools.cache
def fixed_gammas(name: str, num_steps: int) -> np.ndarray:
    """gamma_1, ..., gamma_T, float64[T]. `linear`: beta from 1e-4 to 0.02 over 1000 steps (Ho, Jain & Abbeel, 2020,
    section 4), visited at T equal distances. `cosine`: Nichol & Dhariwal (2021), equation 17, with beta at most 0.999.
    """
    if name == "linear":
        log_kept = np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000)))
        place = np.arange(1, num_steps + 1) * (1000 / num_steps)
        log_kept = np.interp(place, np.arange(1001), np.concatenate([[0.0], log_kept]))
    else:
        angle = (np.arange(num_steps + 1) / num_steps + 0.008) / 1.008 * np.pi / 2
        kept = np.cos(angle) ** 2
        log_kept = np.cumsum(np.log1p(-np.minimum(1 - kept[1:] / kept[:-1], 0.999)))
    return np.log(-np.expm1(log_kept)) - log_kept


def init_learned(key: jax.Array) -> dict[str, jax.Array]:
    """Returns fresh parameters of a learned schedule."""
    low, high = LEARNED_ENDS
    keys = jax.random.split(key, 2)
    return {
        "low": jnp.float32(low),
        "range": jnp.float32(high - low),
        "slope": jnp.zeros((), jnp.float32),
        "rate": jax.random.uniform(keys[0], (UNITS,), minval=0.0, maxval=3.0),
        "bias": jax.random.uniform(keys[1], (UNITS,), minval=-3.0, maxval=3.0),
        "weight": jnp.full((UNITS,), -5.0),
    }


def learned_gammas(params: Any, num_steps: int) -> jax.Array:
    """Returns gamma_1, ..., gamma_T, float32[T]: a monotone network with positive weights between the learned end
    points `low` and `low + range` (Kingma et al., "Variational Diffusion Models", 2021, section 3.2 and appendix H).
    """
    place_T1 = jnp.linspace(0.0, 1.0, num_steps)[:, None]
    rate, weight = jax.nn.softplus(params["rate"]), jax.nn.softplus(params["weight"])
    hidden = jax.nn.sigmoid(rate * place_T1 + params["bias"])
    rising = jax.nn.softplus(params["slope"]) * place_T1[:, 0] + (weight * hidden).sum(-1)
    share = (rising - rising[0]) / (rising[-1] - rising[0])
    return params["low"] + jnp.maximum(params["range"], 1e-3) * share


@functools.cache
def kept(name: str, num_steps: int) -> np.ndarray:
    """Returns a_0 = 1, ..., a_T = 0 of a discrete schedule, float64[T + 1]. `linear`: 1 - t / T (Austin et al., 2021,
    section 3.1: beta_t = 1 / (T - t + 1)); `cosine`: cos(pi t / 2T)^2 without an offset, so that the end is 0.
    """
    place = np.arange(num_steps + 1) / num_steps
    a = 1 - place if name == "linear" else np.cos(np.pi / 2 * place) ** 2
    a[-1] = 0.0
    return a


def stratified_steps(key: jax.Array, num: int, per_example: int, num_steps: int) -> jax.Array:
    """Returns random steps of 1, ..., T for `num` examples, int32[K, B], each uniform by itself. The K of an example
    lie in K equal parts of the chain, and the examples are spread evenly by multiples of the golden ratio (as in Kingma
    et al., 2021, appendix I.1), so that the steps of an example do not depend on how many follow.
    """
    spread = jnp.asarray(np.arange(num) * GOLDEN % 1.0, jnp.float32)
    within_B = (jax.random.uniform(key) + spread) % 1.0
    place_KB = (jnp.arange(per_example)[:, None] + within_B) / per_example
    return jnp.clip(jnp.floor(place_KB * num_steps).astype(jnp.int32), 0, num_steps - 1) + 1


def visited_steps(steps: int | tuple[int, ...], num_steps: int, first: int = 1) -> tuple[int, ...]:
    """Returns the steps that a draw visits, rising, the last of them T = `num_steps`, and the lowest at most `first`;
    `steps` is their number, at equal distances, 0 for all, or the steps themselves.
    """
    if is_integer(steps):
        least = 1 if first == num_steps else 2
        wrong = f"a draw from this chain visits {least} to {num_steps} steps, or 0 for all, not {steps}"
        refuse((steps and not least <= steps <= num_steps, wrong))
        num = steps or num_steps
        visited = tuple(int(t) for t in np.linspace(1 if least == 2 else num_steps / num, num_steps, num).round())
    elif isinstance(steps, Iterable):
        visited = tuple(int(step) for step in steps)
    else:
        raise UserError(f"the steps of a draw are their number, or the steps themselves, not {steps!r}")
    rises = all(a < b for a, b in itertools.pairwise(visited))
    fits = rises and visited and 1 <= visited[0] <= first and visited[-1] == num_steps
    begin = f"from 1 to {num_steps}" if first == 1 else f"up to {num_steps}"
    refuse((not fits, f"the steps of a draw rise {begin}, and these are {steps!r}"))
    return visited


def reverse_steps(gammas_T: jax.Array, visited: tuple[int, ...], eta: float | jax.Array) -> tuple[jax.Array, ...]:
    """The steps of a draw, the noisiest first: x_s = c x_0 + d e + std z, from predictions of x_0 and of the noise e.

    std^2 is eta^2 times the variance sigma_s^2 (1 - SNR_t / SNR_s) of q(x_s | x_t, x_0), c is alpha_s, and d^2 is
    sigma_s^2 - std^2 (Song, Meng & Ermon, "Denoising Diffusion Implicit Models", 2021, equations 12 and 16). The last
    step is x_0 + eta sigma_1 z. Returns t int[S], gamma_t, c, d and std, float32[S] each.
    """
    t_S = jnp.array(visited[::-1])
    gamma_S = gammas_T[t_S - 1]
    variance_S = jax.nn.sigmoid(gamma_S)
    next_S = jnp.append(variance_S[1:], 0.0)
    posterior_S = next_S[:-1] * -jnp.expm1(gamma_S[1:] - gamma_S[:-1])
    std_S = eta * jnp.sqrt(jnp.append(posterior_S, variance_S[-1]))
    return t_S, gamma_S, jnp.sqrt(1 - next_S), jnp.sqrt(jnp.maximum(next_S - std_S**2, 0.0)), std_S
