"""Training of chains: the bound at random steps, or Ho's simplified loss."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.core.traits import require
from arjax.models.base import Params
from arjax.models.chains import Chain
from arjax.objectives.base import OBJECTIVES, Loss, Objective, ObjectiveState, Step, likelihood_loss, weighted_sum
from arjax.objectives.metrics import Mean

WEIGHTINGS = ("bound", "simple")


@OBJECTIVES.register("denoising")
@dataclasses.dataclass(frozen=True)
class Denoising(Objective[Chain]):
    """The loss of a chain at `train_steps` random steps of each example.

    `bound`: the negative bound, in nats per dimension, as `teacher_forcing`; its terms are reported as `prior`,
    `diffusion` and `reconstruction`. `simple`: the mean squared error of the predicted noise per dimension, the bound
    without its weights (Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic Models", 2020, equation 14), of Gaussian
    chains with a fixed schedule; it is reported as `simple`, and the nats are those of the bound.
    """

    KIND: ClassVar[str] = "gaussian_chain"

    weighting: str = opt("bound", choices=WEIGHTINGS)

    def check(self, model: Chain) -> None:
        require(model, "noise_levels", "the objective 'denoising'")
        simple, has_error = self.weighting == "simple", "noise_error" in model.traits
        refuse(
            (
                simple and not has_error,
                "the simple loss is an error of predicted noise, and this chain has none: take bound",
            ),
            (
                simple and has_error and model.process.schedule == "learned",
                "a learned noise schedule is trained by the bound: the simple loss is least without noise",
            ),
        )

    def loss(self, model: Chain, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        score, error_B = model.estimate(params, batch, key=step.key, num=model.train_steps, train=True)
        bound = likelihood_loss(model.event, batch, score.log_prob)
        values = score.terms if self.weighting == "bound" else {"simple": error_B}
        means = {
            name: Mean(weighted_sum(batch.weight, value_B), bound.metrics.dims) for name, value_B in values.items()
        }
        terms = bound.terms if self.weighting == "bound" else (means["simple"],)
        return Loss(terms, dataclasses.replace(bound.metrics, means=means))
