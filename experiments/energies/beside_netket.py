"""Effective samples a second of a masked dense network of arjax and of NetKet: the critical Ising model, 8 x 8 sites.

    pip install netket        # beside arjax
    python experiments/energies/beside_netket.py runs/energies/made-raster

NetKet has no objective for a classical free energy. So this script trains its network `ARNNDense` (two layers, 128
hidden units in all) by the loss of arjax: as many steps, draws and learning rates as those of the given run, a MADE of
128 units. Both then draw batches with their own samplers, and score log q and the energy of each draw: `ROUNDS` rounds
each in turn, in one process each, as NetKet switches jax to 64 bits. Effective samples are those of importance sampling
of exp(-beta E) / Z. Writes netket.csv.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from truth import CRITICAL, kaufman

from arjax.cli.command_line import tell_mistakes
from arjax.core.errors import UserError

HERE, SIDE, DRAWS, ROUNDS = Path(__file__).resolve().parent, 8, 1000, 10
STEPS, BATCH, RATE = 2000, 128, 5e-3
NAMES = ("arjax, MADE", "NetKet, ARNNDense", "NetKet, ARNNDense, float32")
FIELDS = ("model", "parameters", "free energy above the truth, nats", "effective samples", "draws a second")
FIELDS = (*FIELDS, "effective samples a second", "train seconds")

#: draws and scores `DRAWS` examples from a key: log q and the energy, [B] each
Draw = Callable[[jax.Array], tuple[Any, Any]]


def energy(spins_BD: jax.Array) -> jax.Array:
    """The energy of spins of -1 and 1 on a torus, [B]."""
    grid = spins_BD.reshape(-1, SIDE, SIDE)
    return -(grid * jnp.roll(grid, 1, 1) + grid * jnp.roll(grid, 1, 2)).sum((1, 2))


def of_arjax(folder: str) -> tuple[int, Draw, float]:
    """The number of parameters of a run, its draws, and the seconds of its training."""
    import arjax
    from arjax.config.files import load_workdir_config
    from arjax.core.batch import Batch
    from arjax.objectives import make_objective

    run = arjax.open_run(folder)
    objective = make_objective(load_workdir_config(folder).objective)
    batch = Batch(jnp.zeros((DRAWS, SIDE, SIDE), run.model.event.dtype))
    program = jax.jit(lambda params, key: objective.draws(run.model, params, batch, key))
    seconds = run.results["train_seconds"] - run.results["compile_seconds"]
    return sum(leaf.size for leaf in jax.tree.leaves(run.params)), lambda key: program(run.params, key), seconds


def of_netket(name: str) -> tuple[int, Draw, float]:
    """The same of a network of NetKet, which is trained here."""
    import netket as nk

    hilbert = nk.hilbert.Spin(0.5, SIDE * SIDE)
    options = {"param_dtype": jnp.float32} if "float32" in name else {}
    model = nk.models.ARNNDense(hilbert, layers=2, features=2, **options)
    sampler = nk.sampler.ARDirectSampler(hilbert)
    variables = model.init(jax.random.key(0), hilbert.random_state(jax.random.key(1), 2))
    cache, params = {key: value for key, value in variables.items() if key != "params"}, variables["params"]
    state = sampler.init_state(model, variables, seed=0)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(RATE, STEPS, 0.01)))

    def draw(params: Any, num: int) -> jax.Array:
        nonlocal state
        spins, state = sampler.sample(model, {"params": params, **cache}, state=state, chain_length=num)
        return spins.reshape(-1, SIDE * SIDE)

    def log_q(params: Any, spins_BD: jax.Array) -> jax.Array:
        return 2 * jnp.real(model.apply({"params": params, **cache}, spins_BD))

    @jax.jit
    def update(params: Any, moments: Any, spins_BD: jax.Array, beta: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            log_q_B = log_q(params, spins_BD)
            value_B = jax.lax.stop_gradient(log_q_B) + beta * energy(spins_BD)
            return ((value_B - value_B.mean()) * log_q_B).sum() / (BATCH - 1) / SIDE**2

        changes, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, changes), moments

    moments, began = optimizer.init(params), 0.0
    for step in range(STEPS):
        if step == 1:
            jax.block_until_ready(params)
            began = time.perf_counter()  # both programs are compiled
        beta = CRITICAL * min(1.0, 2 * step / STEPS)
        params, moments = update(params, moments, draw(params, BATCH), beta)
    jax.block_until_ready(params)
    seconds = time.perf_counter() - began
    score = jax.jit(lambda params, spins_BD: (log_q(params, spins_BD), energy(spins_BD)))
    return sum(leaf.size for leaf in jax.tree.leaves(params)), lambda key: score(params, draw(params, DRAWS)), seconds


def measure(name: str, folder: str) -> dict[str, str]:
    """A row of the table."""
    num_params, draw, train_seconds = of_arjax(folder) if name == NAMES[0] else of_netket(name)
    jax.block_until_ready(draw(jax.random.key(99)))
    nats, seconds = [], []
    for i in range(ROUNDS):
        began = time.perf_counter()
        log_q_B, energy_B = jax.block_until_ready(draw(jax.random.key(i)))
        seconds.append(time.perf_counter() - began)
        nats.append(np.asarray(log_q_B, np.float64) + CRITICAL * np.asarray(energy_B, np.float64))
    log_w = -np.concatenate(nats)
    weight = np.exp(log_w - log_w.max())
    part = weight.sum() ** 2 / (weight**2).sum() / len(weight)
    rate, error = DRAWS / float(np.median(seconds)), log_w.std() / len(log_w) ** 0.5
    above = -log_w.mean() + kaufman(SIDE, SIDE, CRITICAL)
    texts = (name, f"{num_params:,}", f"{above:.4f} ± {error:.4f}", f"{part:.1%}", f"{rate:,.0f}")
    return dict(zip(FIELDS, (*texts, f"{rate * part:,.0f}", f"{train_seconds:.0f}"), strict=True))


def main(folder: str) -> int:
    """Measures each model in a process of its own, and writes the table."""
    rows = []
    for name in NAMES:
        command = [sys.executable, __file__, folder, name]
        print(" ".join(command), flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(rows[-1], flush=True)
    with (HERE / "netket.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[2], sys.argv[1])))
    elif len(sys.argv) == 2:
        sys.exit(tell_mistakes("beside_netket", lambda: main(sys.argv[1])))
    else:
        sys.exit(__doc__)
