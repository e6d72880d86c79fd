"""Exact partition functions: by enumeration, and of the Ising model on a torus.

python experiments/energies/truth.py      # compares both on 4 x 4 sites, and prints the values at the critical point
"""

from __future__ import annotations

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np

from arjax.cli.command_line import tell_mistakes
from arjax.core.spec import EventSpec
from arjax.objectives.energies import make_energy

#: The inverse temperature at which the infinite square lattice becomes ordered (Kramers & Wannier, 1941).
CRITICAL = math.log(1 + math.sqrt(2)) / 2


def enumerated(call: str, event: EventSpec, beta: float, part: int = 2**16) -> float:
    """Returns log sum_x exp(-beta E(x)) over all values of binary sites, in float64."""
    energy, places = jax.jit(make_energy(call, event)), 1 << np.arange(event.num_sites)
    total = -math.inf
    for start in range(0, 2**event.num_sites, part):
        numbers = np.arange(start, min(start + part, 2**event.num_sites))
        x = (numbers[:, None] & places > 0).astype(np.int32).reshape(-1, *event.grid_shape)
        total = np.logaddexp(total, np.logaddexp.reduce(-beta * np.asarray(energy(jnp.asarray(x)), np.float64)))
    return float(total)


def kaufman(height: int, width: int, beta: float) -> float:
    """Returns log Z of the Ising model with couplings 1 and no field on a torus, from its four products (Kaufman,
    "Crystal Statistics. II. Partition Function Evaluated by Spinor Analysis", 1949).
    """
    angles = math.pi * np.arange(2 * height) / height
    gamma = np.arccosh(np.maximum(math.cosh(2 * beta) / math.tanh(2 * beta) - np.cos(angles), 1.0))
    gamma[0] = 2 * beta + math.log(math.tanh(beta))  # below 0 where the lattice is not ordered
    half = width * gamma / 2
    with np.errstate(divide="ignore"):  # at the critical point gamma_0 is 0, and so is a product
        log_cosh = np.abs(half) + np.log1p(np.exp(-2 * np.abs(half)))  # of 2 cosh
        log_sinh = np.abs(half) + np.log1p(-np.exp(-2 * np.abs(half)))  # of 2 |sinh|
    terms = [log_cosh[1::2].sum(), log_sinh[1::2].sum(), log_cosh[::2].sum(), log_sinh[::2].sum()]
    signs = [1, 1, 1, np.sign(half[0])]
    most = max(terms)
    total = most + math.log(sum(sign * math.exp(term - most) for sign, term in zip(signs, terms, strict=True)))
    return total - math.log(2) + height * width / 2 * math.log(2 * math.sinh(2 * beta))


def main() -> int:
    """Prints both on the smallest lattice, and the values of the larger ones at the critical point."""
    for beta in (0.3, 0.44, CRITICAL, 0.6):
        both = kaufman(4, 4, beta), enumerated("ising", EventSpec((4, 4)), beta)
        print(f"4 x 4, beta {beta:.4f}: log Z {both[0]:.10f} by Kaufman, {both[1]:.10f} by enumeration")
    for side in (8, 16):
        log_z = kaufman(side, side, CRITICAL)
        print(f"{side} x {side} at the critical point: log Z {log_z:.8f}, F / N {-log_z / CRITICAL / side**2:.8f}")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("truth", main))
