"""Energies: targets that are known up to a constant, p(x) = exp(-beta E(x)) / Z."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, describe, refuse
from arjax.core.options import opt, seed_option
from arjax.core.registry import Registry
from arjax.core.spec import EventSpec

#: Examples [B, *event.shape] -> their energies, float32[B].
Energy = Callable[[jax.Array], jax.Array]
#: An energy is a function `(event, **options) -> Energy`.
ENERGIES = Registry("energy", hidden=("event",))
#: Random examples on which an energy is tried out.
PROBES = 64


@ENERGIES.register("ising")
def ising(event: EventSpec, coupling: float = 1.0, field: float = 0.0, periodic: bool = True) -> Energy:
    """E(x) = -J sum_<ij> s_i s_j - h sum_i s_i, spins s = 2 x - 1: the Ising model on a grid of any rank.

    Args:
      coupling: J, of each bond between neighbours; below 0 they repel.
      field: h.
      periodic: whether the two ends of each axis are neighbours; an axis of two sites then has two bonds.
    """
    _check(event, "ising", 2)

    def energy(x: jax.Array) -> jax.Array:
        s = 2.0 * x - 1.0
        return -coupling * sum(_total(left * right) for left, right in _bonds(s, periodic)) - field * _total(s)

    return energy


@ENERGIES.register("potts")
def potts(event: EventSpec, coupling: float = 1.0, field: float = 0.0, periodic: bool = True) -> Energy:
    """E(x) = -J sum_<ij> [x_i = x_j] - h sum_i [x_i = 0]: the Potts model of V values, options as of `ising`."""
    _check(event, "potts")

    def energy(x: jax.Array) -> jax.Array:
        return -coupling * sum(_total(left == right) for left, right in _bonds(x, periodic)) - field * _total(x == 0)

    return energy


@ENERGIES.register("sherrington_kirkpatrick")
def sherrington_kirkpatrick(event: EventSpec, seed: int = seed_option()) -> Energy:
    """E(x) = -sum_{i<j} J_ij s_i s_j, spins s = 2 x - 1, with couplings of all D sites from N(0, 1 / D): a spin glass
    (Sherrington & Kirkpatrick, "Solvable Model of a Spin-Glass", 1975).
    """
    _check(event, "sherrington_kirkpatrick", 2)
    num = event.num_sites
    coupling_DD = np.triu(np.random.default_rng(seed).normal(size=(num, num)) / math.sqrt(num), 1).astype(np.float32)

    def energy(x: jax.Array) -> jax.Array:
        s_BD = 2.0 * x.reshape(len(x), num) - 1.0
        return -((s_BD @ coupling_DD) * s_BD).sum(-1)

    return energy


@ENERGIES.register("hard_core")
def hard_core(
    event: EventSpec, log_activity: float = 0.0, repulsion: float = opt(10.0, least=0), periodic: bool = True
) -> Energy:
    """E(x) = u sum_<ij> x_i x_j - mu sum_i x_i: particles on a grid that exclude their neighbours.

    Every pair of neighbours costs u = `repulsion`, which stands for the infinite one of hard cores: an infinite energy
    has no gradient. At beta u = 20 the weight of a forbidden pair is 2e-9. mu is `log_activity`.
    """
    _check(event, "hard_core", 2)

    def energy(x: jax.Array) -> jax.Array:
        return repulsion * sum(_total(left * right) for left, right in _bonds(x, periodic)) - log_activity * _total(x)

    return energy


def make_energy(text: str, event: EventSpec) -> Energy:
    """Returns the energy of a call string for an event, tried out on random examples: a function of a user may fail
    inside `jit`, or return something else than a finite number for each example.
    """
    energy, called = ENERGIES.call(text, event), f"the energy {text!r}"
    refuse((not callable(energy), f"{called} must return a function of examples [B, *event.shape], not {energy!r}"))
    x = event.noise(np.random.default_rng(0), PROBES)
    try:
        value = jax.jit(energy)(x)
    except Exception as error:  # code of a user: it can raise anything
        form = "write it with jax.numpy, for examples [B, *event.shape], without branches on their values"
        raise UserError(f"{called} fails on examples {x.shape} inside jit ({describe(error)}): {form}") from error
    shape, remedy = jnp.shape(value), "give what is forbidden a finite penalty, as hard_core(repulsion=10.0) does"
    refuse(
        (shape != (PROBES,), f"{called} must have one number for each of {PROBES} examples, not the shape {shape}"),
        (not np.isfinite(value).all(), f"{called} is not finite on some examples: {remedy}"),
    )
    return energy


def _check(event: EventSpec, name: str, num_values: int = 0) -> None:
    """Refuses sites without finitely many values, or another number of them than `num_values`."""
    needs = f"{num_values} values" if num_values else "finitely many values"
    fits = event.num_values == num_values if num_values else event.num_values
    refuse((not fits, f"the energy {name!r} is for sites of {needs} each, not {event.in_words}"))


def _total(values: jax.Array) -> jax.Array:
    return values.reshape(len(values), -1).sum(-1, dtype=jnp.float32)


def _bonds(x: jax.Array, periodic: bool) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Yields the values at both ends of the bonds along each axis of the grid, x [B, *grid]."""
    for axis in range(1, x.ndim):
        num, shifted = x.shape[axis] - (not periodic), jnp.roll(x, -1, axis)
        if x.shape[axis] > 1:
            yield jax.lax.slice_in_dim(x, 0, num, axis=axis), jax.lax.slice_in_dim(shifted, 0, num, axis=axis)
