"""Parallel sampling: several sites at once, each drawn given those of earlier rounds alone. An approximation."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.restricted import untruncated
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.samplers import rounds
from arjax.samplers.base import OWN_NUMBERS, SAMPLERS, Draw, Resources, Sampler, Steps, per_example
from arjax.samplers.loops import StepForm, num_calls

#: Rounds where their number is not given.
USUAL = 16
CHOICES = ("random", "order", "confidence", *rounds.RULES)
#: Examples of the validation split on which `optimal` measures its losses.
MEASURED = 256


@SAMPLERS.register("parallel")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Parallel(Sampler):
    """Draws in K rounds; the sites of a round are independent given the rounds before. With a round for each step and
    `choose="order"`, it draws the values of the naive sampler. Fewer rounds change the distribution of the samples.

    For models of all orders. What is observed counts as drawn already: rounds that it covers are left out, and one that
    it cuts draws the rest. `arjax.evaluation.bounds.k_step_scores` has the likelihood of its samples: exact for
    "order", "entropy", "margin" and "top1", a bound for "random", none for "confidence".

    The noise of a site is that of its step in the order of the model, whenever it is drawn. So a value that is drawn
    and not chosen is drawn again from the same noise: fresh noise would give improbable values many chances of being
    passed over.

    Options: `steps`, the number of rounds K (0: that of `sizes`, else 16, or the steps of the model where these are
    fewer); `schedule`, their sizes: "uniform", "cosine" (few first, as in MaskGIT, Chang et al., 2022) or "optimal"
    (for the losses that the model has on validation examples, Hoogeboom et al., 2022); `choose`: "random" (another
    random order for each sample), "order" (that of the model, in which neighbours may be drawn at once), or of all
    remaining sites those of which the drawn value has the highest probability ("confidence"), or the distribution the
    lowest entropy ("entropy"), the highest probability of a value, drawn or not ("top1"), or the largest difference
    between its two highest probabilities ("margin", Kim et al., "Train for the Worst, Plan for the Best", 2025);
    `sizes`: of the rounds, in place of a schedule.
    """

    exact: ClassVar[bool] = False

    steps: int = opt(0)
    schedule: str = opt("uniform", choices=rounds.SCHEDULES)
    choose: str = opt("random", choices=CHOICES)
    sizes: tuple[int, ...] = opt((), least=1)

    def __post_init__(self):
        twice = self.sizes and (self.steps not in (0, len(self.sizes)) or self.schedule != "uniform")
        left_out = f"steps={self.steps} and schedule={self.schedule!r} out, or the sizes {self.sizes}"
        refuse((twice, f"the sampler 'parallel' has {len(self.sizes)} rounds of given sizes: leave {left_out}"))

    def check(self, model: Any) -> None:
        rounds.check_rounds(model, "the sampler 'parallel'")
        num_steps = model.factorization.num_steps
        rounds.check_rounds_fit("the sampler 'parallel'", self.steps, num_steps)
        if self.choose != "order":
            rounds.check_single_sites(model, f"the sampler 'parallel' with choose={self.choose!r}")
        misfit, total = self.sizes and sum(self.sizes) != num_steps, sum(self.sizes)
        refuse((misfit, f"the sizes of the sampler 'parallel' add up to {total}, but the model has {num_steps} steps"))
        rounds.check_rule(model, self.choose, "choose")

    @property
    def has_arrays(self):
        return self.schedule == "optimal"

    def prepare(self, model: Any, params: Any, resources: Resources) -> Sampler:
        """With the sizes of the rounds; those of "optimal" follow from losses on validation examples."""
        self.check(model)
        if self.sizes:
            return self
        losses_S = None
        if self.schedule == "optimal":
            losses_S = rounds.measure_losses(model, params, resources.examples("validation", MEASURED))
        sizes = self._sizes(model.factorization.num_steps, losses_S)
        return dataclasses.replace(self, steps=0, schedule="uniform", sizes=sizes)

    def _sizes(self, num_steps: int, losses_S: np.ndarray | None = None) -> tuple[int, ...]:
        if self.sizes:
            return self.sizes
        missing = self.schedule == "optimal" and losses_S is None
        refuse((missing, "schedule='optimal' is measured on validation data: draw from a run, or call prepare_sampler"))
        return rounds.make_sizes(self.schedule, num_steps, self.steps or min(USUAL, num_steps), losses_S)

    def draw(self, model, params, steps, canvas, context):
        form, num_steps, prompt = StepForm.of(model, params), model.factorization.num_steps, steps.prompt()
        sizes = self._sizes(num_steps)
        ends_K = jnp.cumsum(jnp.array(sizes, jnp.int32))
        first = (ends_K <= prompt).sum()  # rounds that are observed whole

        def one(keys_S: jax.Array, x: jax.Array, context: Any) -> jax.Array:
            canvas, context = jax.tree.map(lambda leaf: leaf[None], (x, context))
            carry = form.read_prompt(canvas, context, prompt, form.chunk)

            def body(r: jax.Array, state: tuple[Any, ...]) -> tuple[Any, ...]:
                carry, canvas, step_order_S, before, t = state
                ordered = form if self.choose == "order" else form.reordered(step_order_S)
                carry = ordered.advance(carry, canvas, before, t - before, max(sizes), context)
                features = ordered.ahead(carry, canvas, t, num_steps if self._by_score else max(sizes), context)[0]
                canvas, step_order_S = self._fill(steps, keys_S, canvas, step_order_S, t, ends_K[r] - t, features)
                return carry, canvas, step_order_S, t, ends_K[r]

            t = jnp.asarray(prompt, jnp.int32)
            state = carry, canvas, self._first_order(keys_S, prompt), t, t
            return jax.lax.fori_loop(first, len(sizes), body, state)[1][0]

        x = jax.vmap(one, (1, 0, 0))(steps.keys_SB, canvas, context)
        drawn, carry = len(sizes) - first, form.start(len(canvas), context)
        again = jnp.maximum(drawn - 1, 0) if jax.tree.leaves(carry) else 0  # what a round drew is read by the next one
        return Draw(x, {"network_calls": per_example(x, drawn + num_calls(carry, prompt, form.chunk) + again)})

    @property
    def _by_score(self) -> bool:
        """Whether each round chooses among all sites that are left."""
        return self.choose == "confidence" or self.choose in rounds.RULES

    def _first_order(self, keys_S: jax.Array, prompt: int | jax.Array) -> jax.Array:
        """Returns the steps of the model in the order of one example, int[S], before any are chosen by their scores."""
        place_S = jnp.arange(len(keys_S))
        if self.choose != "random":
            return place_S
        lot_S = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, OWN_NUMBERS)))(keys_S)
        return jnp.argsort(jnp.where(place_S < prompt, -1.0, lot_S), stable=True)

    def _fill(
        self,
        steps: Steps,
        keys_S: jax.Array,
        canvas: jax.Array,
        step_order_S: jax.Array,
        t: jax.Array,
        n: jax.Array,
        features_kMF: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Draws n of the steps that are left: the canvas [1, *grid, *value] with them, and the order with them next."""
        factorization, num_steps = steps.factorization, len(step_order_S)
        flat_Dv, place_k = canvas.reshape(factorization.num_sites, -1), t + jnp.arange(len(features_kMF))
        step_k = jnp.take(step_order_S, place_k, mode="clip")
        values = jax.vmap(steps.value, (0, 0, None, 0))(keys_S[step_k], step_k, flat_Dv, features_kMF)
        if self._by_score:
            score_k = self._score(steps, canvas, step_k, values, features_kMF)
            by_score_S = rounds.by_score(score_k, t, num_steps)
            step_order_S = step_order_S[by_score_S]
            within = jnp.argsort(by_score_S)[jnp.minimum(place_k, num_steps - 1)]
            place_k = jnp.where(place_k < num_steps, within, place_k)
        sites_kM = jnp.asarray(factorization.blocks)[step_k]
        drawn_kM = (place_k < t + n)[:, None] & ~steps.observed(sites_kM)
        flat_Dv = flat_Dv.at[jnp.where(drawn_kM, sites_kM, factorization.num_sites)].set(values, mode="drop")
        return flat_Dv.reshape(canvas.shape), step_order_S

    def _score(
        self, steps: Steps, canvas: jax.Array, step_k: jax.Array, values: jax.Array, features_kMF: jax.Array
    ) -> jax.Array:
        """Returns the scores of k single-site steps, float32[k]; the steps with the highest are chosen."""
        family = untruncated(steps.head)  # scores by the conditional of the model
        sites_kM = jnp.asarray(steps.factorization.blocks)[step_k]
        if self.choose in rounds.RULES:
            return rounds.certainties(self.choose, family, sites_kM, features_kMF)
        values = values.reshape(*sites_kM.shape, *family.value_shape)
        of_site = lambda sites, features, value: family.at(sites).log_prob(features, value)  # noqa: E731
        return jax.vmap(of_site)(sites_kM, features_kMF, values)[:, 0]
