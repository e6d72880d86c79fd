"""Teacher forcing (Williams & Zipser, 1989): maximum likelihood, all conditionals scored in one pass on real data."""

from __future__ import annotations

import dataclasses

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.models.base import Model, Params
from arjax.objectives.base import OBJECTIVES, Loss, Objective, ObjectiveState, Step, likelihood_loss


@OBJECTIVES.register("teacher_forcing")
@dataclasses.dataclass(frozen=True)
class TeacherForcing(Objective[Model]):
    """loss = -sum_b w_b log p(x_b) / (number of scored scalars), in nats per dimension."""

    def check(self, model: Model) -> None:
        """Raises `UserError` for discrete latents, through whose draws this loss has no gradient."""
        if model.discrete_latents:
            raise UserError(
                "teacher_forcing has no gradient through draws of discrete latents: a latent model has the objectives "
                "elbo(samples=2) and iwae, inside of another model its latents have to be real; the kind tokens has "
                "tokenizer and token_prior"
            )

    def loss(self, model: Model, params: Params, own: ObjectiveState, batch: Batch, step: Step) -> Loss:
        """The negative log-likelihood, or its bound where the model has no more."""
        score = model.score(params, batch, key=step.key, train=True)
        return likelihood_loss(model.event, batch, score.log_prob)
