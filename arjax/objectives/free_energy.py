"""The variational free energy: a model learns a target that is known up to a constant, from its own draws alone."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import refuse, say_once
from arjax.core.options import opt
from arjax.core.scores import log_mean
from arjax.core.spec import EventSpec
from arjax.models.base import Model, Params, repeated
from arjax.models.draws import draw_part
from arjax.objectives.base import OBJECTIVES, Loss, Mean, Metrics, Objective, ObjectiveState, Step
from arjax.objectives.energies import ENERGIES, PROBES, make_energy
from arjax.objectives.prefixes import SCHEDULES
from arjax.objectives.terms import count, leave_one_out, weighted_sum, weights_of, with_score_function
from arjax.samplers import PLAIN_DRAW, Cached


def _mirrored(event: EventSpec, x: jax.Array) -> list[jax.Array]:
    axes = range(1, 1 + len(event.grid_shape))
    return [jnp.flip(x, some) for num in range(len(axes) + 1) for some in itertools.combinations(axes, num)]


def _shifted(event: EventSpec, x: jax.Array) -> list[jax.Array]:
    axes = tuple(range(1, 1 + len(event.grid_shape)))
    return [jnp.roll(x, shift, axes) for shift in np.ndindex(event.grid_shape)]


#: By name, the images of examples [B, *event.shape] under all elements of a group, the identity among them.
SYMMETRIES: dict[str, Callable[[EventSpec, jax.Array], list[jax.Array]]] = {
    "flip": lambda event, x: [x, (event.top or 0) - x],  # all values of discrete sites, the signs of real ones
    "mirror": _mirrored,
    "transpose": lambda event, x: [x, jnp.swapaxes(x, 1, 2)],
    "shift": _shifted,
}


@OBJECTIVES.register("free_energy")
@dataclasses.dataclass(frozen=True)
class FreeEnergy(Objective[Model]):
    """loss = E_q[log q(x) + beta E(x)] / (number of scalars), over draws x of the model q itself: an upper bound of
    -log Z = -log sum_x exp(-beta E(x)), which it reaches where q is the Boltzmann distribution exp(-beta E(x)) / Z.

    Wu, Wang & Zhang, "Solving Statistical Mechanics Using Variational Autoregressive Networks" (2019), equations 3 and
    4. The gradient is that of the score function, with the mean over the other draws of a batch as the baseline (Kool,
    van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019): at the target it has no noise. Of
    the examples of a data set, only their number and their context are read, so the data set `noise` is enough, and a
    split is scored by as many fresh draws. Draws and scores are those of the network without dropout.

    Attributes:
      energy: a call string of `arjax.objectives.energies.ENERGIES`.
      beta: the inverse temperature.
      anneal: the part of the run in which the inverse temperature rises to beta, by the `schedule`.
      symmetries: q is the mixture of its images under these symmetries of the energy, all products of them with equal
        weights, with exact log q: "flip" of the values, "mirror" of each axis, "transpose" of the first two axes, and
        cyclic "shift".
    """

    traits: ClassVar[frozenset[str]] = frozenset({"draws"})

    energy: str = "ising"
    beta: float = opt(1.0, above=0)
    anneal: float = opt(0.0, least=0, most=1)
    schedule: str = opt("linear", choices=SCHEDULES)
    symmetries: tuple[str, ...] = opt((), choices=SYMMETRIES)

    def __post_init__(self):
        if self.schedule != type(self).schedule and not self.anneal:
            say_once(f"schedule={self.schedule!r} of free_energy has no effect without anneal, the fraction of the run")

    @property
    def score_of_draws(self) -> Callable[..., dict[str, jax.Array]]:
        return self.rows

    def check(self, model: Model) -> None:
        self.check_exact(model)
        self.check_own_loss(model)
        self.check_one_order(model)
        event, energy = model.event, make_energy(self.energy, model.event)
        grid, x = event.grid_shape, event.noise(np.random.default_rng(1), PROBES)
        unequal = len(grid) < 2 or grid[0] != grid[1]
        refuse(("transpose" in self.symmetries and unequal, f"a transposition needs a square grid, not {grid}"))
        for name in self.symmetries:
            of_images = jnp.stack([energy(image) for image in SYMMETRIES[name](event, jnp.asarray(x))])
            same = np.allclose(of_images, of_images[0], rtol=1e-4, atol=1e-4)
            refuse((not same, f"{name!r} is no symmetry of the energy {self.energy!r}: it changes some energies"))

    def draws(self, model: Model, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns log q(x) and E(x) of a draw x for each example of a batch, float32[B] each."""
        refuse((batch.mask is not None, "free_energy draws whole examples, and these have masks: leave them out"))
        given = jnp.zeros((len(batch), *model.event.shape), model.event.dtype) if "given" in model.takes else None
        request = dataclasses.replace(PLAIN_DRAW, given=given, context=dict(batch.context) or None)
        keys_B = jax.random.split(key, len(batch))
        x = draw_part(model, jax.lax.stop_gradient(params), keys_B, Cached(), request).x
        images = [x]
        for name in self.symmetries:
            images = [image for each in images for image in SYMMETRIES[name](model.event, each)]
        mixed = repeated(batch, len(images)).replace(x=jnp.concatenate(images))
        log_q_B = log_mean(model.score(params, mixed).log_prob.reshape(len(images), len(batch)))
        return log_q_B, jnp.asarray(ENERGIES.call(self.energy, model.event)(x), jnp.float32)

    def loss(self, model: Model, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        alone = "free_energy compares the draws of a batch: give each (micro-)batch at least 2 examples"
        refuse((len(batch) < 2, alone))
        log_q_B, energy_B = self.draws(model, params, batch, step.key)
        done = jnp.minimum(step.progress / self.anneal, 1.0) if self.anneal else jnp.float32(1)
        value_B = jax.lax.stop_gradient(log_q_B) + self.beta * SCHEDULES[self.schedule](done) * energy_B
        value_B = with_score_function(value_B, value_B - leave_one_out(value_B), log_q_B)
        total, counts = functools.partial(weighted_sum, weights_of(batch)), count(model.event, batch)
        nll, energy = total(jax.lax.stop_gradient(log_q_B) + self.beta * energy_B), Mean(total(energy_B), counts.sites)
        metrics = Metrics(nll, *counts, means={"energy_per_site": energy})
        return Loss((Mean(total(value_B), counts.dims),), metrics)

    def rows(self, model: Model, params: Params, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """The scores of a draw for each example of a batch, float32[B] by name: `nll`, log q(x) + beta E(x), whose mean
        is the bound, the same in the units of the energy, `free_energy`, and `energy`.
        """
        log_q_B, energy_B = self.draws(model, params, batch, key)
        nll_B = log_q_B + self.beta * energy_B
        sites_B = jnp.full(len(batch), model.event.num_sites, jnp.float32)
        return {"nll": nll_B, "sites": sites_B, "free_energy": nll_B / self.beta, "energy": energy_B}
