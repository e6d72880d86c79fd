"""Speculative sampling: a draft proposes, the model verifies several steps in one call."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.samplers.base import SAMPLERS, Sampler, Steps
from arjax.samplers.drafts.base import Draft, Proposal, has_probabilities, log_table, make_draft
from arjax.samplers.windows import accept_by_keys, draw_in_windows, leading, tell_window

#: The window where none is given.
USUAL = 8
#: Parts of the noise of a step under the coupling by rejection; 1 is that of the proposal.
ACCEPT, REDRAW = 2, 3


@SAMPLERS.register("speculative")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Speculative(Sampler):
    """Draws from the model by verifying the proposals of a draft, several steps in one call (Leviathan, Kalman &
    Matias, "Fast Inference from Transformers via Speculative Decoding", 2023, algorithm 1).

    Options: `draft`: "counts(order=3)", n-grams of the training split; "self", for networks that predict from any set
    of observed sites; or the folder of another run. `window` W: steps that are verified in one call, of which W - 1 are
    proposed. `coupling`: "keys", draft and model share the noise of each step, and the values are those of the naive
    sampler; "rejection", a proposal is accepted with probability min(1, p / q), else the value is drawn from the
    positive part of p - q: other values of the same distribution, and more proposals that are accepted.
    """

    draft: str = opt("counts(order=3)")
    window: int = opt(USUAL, least=2)
    coupling: str = opt("keys", choices=("keys", "rejection"))
    source: Draft | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if self.source is None:
            object.__setattr__(self, "source", make_draft(self.draft))

    def check(self, model):
        tell_window("speculative", self.window, USUAL, model.factorization.num_steps)
        by_rejection = self.coupling == "rejection"
        if by_rejection and not has_probabilities(model.conditional, model.factorization):
            raise UserError(
                "speculative(coupling='rejection') needs a list of the probabilities of each value, which this model "
                "lacks: take coupling='keys'"
            )
        self.source.check(model, by_rejection)

    def opened(self, model, open_run):
        return dataclasses.replace(self, source=self.source.opened(model, open_run, self.coupling == "rejection"))

    def prepare(self, model, params, resources):
        self.check(model)
        opened = self.opened(model, resources.open_run)
        return dataclasses.replace(opened, source=opened.source.prepare(model, params, resources))

    def draw(self, model, params, steps, canvas, context):
        accept, with_log_q = (accept_by_keys, False) if self.coupling == "keys" else (accept_by_rejection, True)
        return draw_in_windows(model, params, steps, canvas, context, self.window, self.source, accept, with_log_q)


def accept_by_rejection(
    steps: Steps, keys_S: jax.Array, canvas: jax.Array, t: jax.Array, features: jax.Array, proposal: Proposal
) -> tuple[jax.Array, jax.Array]:
    """Each scalar of a proposal stays with probability min(1, p / q), else it is drawn from max(p - q, 0) normalised;
    a step is right where all of its scalars have stayed. The step behind the proposals is drawn from p.

    The noise of a step is used in no other, and whether a step is looked at does not depend on it: so it may be used
    again when the step is proposed again.
    """
    log_p = log_table(steps.head, features, steps.temperature)  # [W, M, *value, V]
    log_q = proposal.log_q
    assert log_q is not None
    last = steps.factorization.num_steps - 1
    keys = keys_S[jnp.minimum(t + jnp.arange(len(log_p)), last)]
    shape = log_p.shape[:-1]
    proposed = proposal.values.reshape(shape[0] - 1, *shape[1:]).astype(jnp.int32)

    def one(key: jax.Array, log_p: jax.Array, log_q: jax.Array, value: jax.Array) -> jax.Array:
        ratio = jnp.take_along_axis(log_p - log_q, value[..., None], -1)[..., 0]
        uniform = jax.random.uniform(jax.random.fold_in(key, ACCEPT), value.shape)
        stays = uniform < jnp.exp(jnp.minimum(ratio, 0.0))
        rest = jnp.maximum(jnp.exp(log_p) - jnp.exp(log_q), 0.0)
        # Rounding may leave nothing of p - q where p = q: then any draw from p does.
        rest = jnp.where(rest.sum(-1, keepdims=True) > 0, rest, jnp.exp(log_p))
        redrawn = jax.random.categorical(jax.random.fold_in(key, REDRAW), jnp.log(rest)).astype(jnp.int32)
        return jnp.where(stays, value, redrawn)  # never the proposal: there p < q

    values = jax.vmap(one)(keys[:-1], log_p[:-1], log_q, proposed)
    behind = jax.random.categorical(jax.random.fold_in(keys[-1], REDRAW), log_p[-1]).astype(jnp.int32)
    values = jnp.concatenate([values, behind[None]]).reshape(shape[0], shape[1], -1)
    return values.astype(canvas.dtype), leading(steps.same(t, values[:-1], proposal.values))
