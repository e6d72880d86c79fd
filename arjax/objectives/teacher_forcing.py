"""Teacher forcing (Williams & Zipser, 1989): maximum likelihood, all conditionals scored in one pass on real data."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.models.base import Model, Params
from arjax.objectives.base import OBJECTIVES, Loss, Objective, ObjectiveState, Step, score_loss


@OBJECTIVES.register("teacher_forcing")
@dataclasses.dataclass(frozen=True)
class TeacherForcing(Objective[Model]):
    """loss = -sum_b w_b log p(x_b) / (number of scored scalars), in nats per dimension.

    Conditionals with a training loss of their own have that in place of -log p, and the name of that loss in reports.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"holes"})

    def check(self, model: Model) -> None:
        if "discrete_latents" in model.traits:
            raise UserError(
                "teacher_forcing has no gradient through draws of discrete latents: a latent model has the objectives "
                "elbo(samples=2) and iwae, inside of another model its latents have to be real; the kind tokens has "
                "tokenizer and token_prior, inside of another model it cannot be trained"
            )
        self.check_parts_loss(model)

    def loss(self, model: Model, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        return score_loss(model.event, batch, model.score(params, batch, key=step.key, train=True))
