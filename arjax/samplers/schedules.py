"""Schedules of samplers that draw several steps at once: how many in each of K rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arjax.core.errors import UserError

#: The schedules that follow from the numbers of steps and rounds alone; `optimal` follows from measured losses.
SCHEDULES = ("uniform", "cosine", "optimal")


def uniform_sizes(num_steps: int, rounds: int) -> tuple[int, ...]:
    """Equal sizes, as far as `rounds` divides `num_steps`."""
    return _sizes(np.arange(rounds + 1) * num_steps // rounds)


def cosine_sizes(num_steps: int, rounds: int) -> tuple[int, ...]:
    """Few steps first, then more and more: after r of K rounds S cos(pi r / 2K) steps are left (Chang et al., "MaskGIT:
    Masked Generative Image Transformer", 2022, section 3.2), and at least one is drawn in each.
    """
    left = num_steps * np.cos(np.pi / 2 * np.arange(rounds + 1) / rounds)
    done = num_steps - np.rint(left).astype(int)
    done[-1] = num_steps
    for r in range(1, rounds):  # at least one in this round, and one left for each that follows
        done[r] = min(max(done[r], done[r - 1] + 1), num_steps - (rounds - r))
    return _sizes(done)


def optimal_sizes(losses_S: Sequence[float] | np.ndarray, rounds: int) -> tuple[int, ...]:
    """Returns the sizes n_1, ..., n_K that minimise sum_r n_r L(n_1 + ... + n_(r-1)), in which L(t) (`losses_S`, in
    nats) is the loss of a step given t steps: the dynamic programme of Hoogeboom et al., "Autoregressive Diffusion
    Models" (2022), section 3.3 (following Watson et al., 2021).
    """
    losses_S = np.asarray(losses_S, np.float64)
    num_steps = len(losses_S)
    place = np.arange(num_steps + 1)
    # cost[i, j]: of drawing the steps i, ..., j - 1 at once
    cost = np.where(place > place[:-1, None], (place - place[:-1, None]) * losses_S[:, None], np.inf)
    best = np.where(place == 0, 0.0, np.inf)  # of having drawn so many steps
    origin = np.zeros((rounds, num_steps + 1), int)
    for r in range(rounds):
        total = best[:-1, None] + cost
        origin[r], best = total.argmin(0), total.min(0)
    done = [num_steps]
    for r in reversed(range(rounds)):
        done.append(int(origin[r, done[-1]]))
    return _sizes(np.array(done[::-1]))


def non_increasing(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the non-increasing sequence nearest to some values in weighted squares (Ayer et al., 1955): the more
    sites are known, the less the next one costs on average, and a schedule would pick the lucky places of the noise.
    """
    from scipy.optimize import isotonic_regression  # takes long to import

    return isotonic_regression(values, weights=weights, increasing=False).x


def make_sizes(schedule: str, num_steps: int, steps: int, losses_S: np.ndarray | None = None) -> tuple[int, ...]:
    """The sizes of a schedule of so many rounds, at most S, over S steps; `optimal` needs the losses."""
    if schedule == "optimal":
        assert losses_S is not None
        return optimal_sizes(losses_S, steps)
    return {"uniform": uniform_sizes, "cosine": cosine_sizes}[schedule](num_steps, steps)


def check_rounds_fit(owner: str, rounds: int, num_steps: int) -> None:
    """Raises `UserError` for more rounds than steps; `owner` names whoever asks."""
    if rounds > num_steps:
        raise UserError(f"{owner} asks for {rounds} rounds, but the model has {num_steps} steps, at least one a round")


def _sizes(done: np.ndarray) -> tuple[int, ...]:
    """From the steps that are drawn after 0, 1, ..., K rounds."""
    return tuple(int(size) for size in np.diff(done))
