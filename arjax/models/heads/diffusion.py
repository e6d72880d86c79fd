"""The diffusion head: each value is the end of a Gaussian chain that is conditioned on the features of its site.

Li, Tian, Li, Deng & He, "Autoregressive Image Generation without Vector Quantization" (2024), section 3.2. They train
by the error of the predicted noise and report no likelihood; here the bound of the chain is the score.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from arjax.conditionals.base import CONDITIONALS
from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.models.chains import draw_rounds
from arjax.models.gaussian_chain import GaussianChain, GaussianNoise
from arjax.models.heads.base import Head, denoiser_of
from arjax.models.noise_schedules import GAUSSIAN
from arjax.samplers import example_keys


@CONDITIONALS.register("diffusion")
@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionHead(Head):
    """A `gaussian_chain` of T steps for each value. Its log p is the bound of the chain, with all its terms.

    With `weighting='simple'` the loss is the squared error of the predicted noise, else the bound. Li et al. train
    `diffusion(steps=1000, schedule='cosine', weighting='simple')`; by default the schedule is learned, because the
    bound under a cosine stays far below log p.

    Attributes:
      steps: T. Under a learned schedule it may change after training: the gap between the bound and log p falls like 1
        / T, and a score costs T calls of the head.
      score_steps, sample_steps: steps that a score draws for each value, and that a draw visits; 0: all.
    """

    steps: int = opt(100, least=2)
    schedule: str = opt("learned", choices=GAUSSIAN)
    prediction: str = opt("noise", choices=("noise", "velocity"))
    weighting: str = opt("bound", choices=("bound", "simple"))
    score_steps: int = 0
    sample_steps: int = 0

    score_kind: ClassVar[str] = "bound"

    @classmethod
    def for_event(cls, event: EventSpec, **fields: Any) -> Self:
        head = super().for_event(event, **fields)
        learns = "the conditional 'diffusion' learns a noise schedule by the bound"
        wrong = head.schedule == "learned" and head.weighting == "simple"
        refuse((wrong, f"{learns}: take schedule='cosine' for the weighting 'simple'"))
        head.chain.checked()
        return head

    @property
    def training_loss(self) -> str:  # type: ignore[override]  # a constant of other families
        return "simple" if self.weighting == "simple" else ""

    @property
    def chain(self) -> GaussianChain:
        """The model of one value."""
        network = self.value_shape, self.features, self.width, self.layers
        noise, numbers = (self.steps, self.schedule, self.prediction), (self.draws, self.score_steps, self.sample_steps)
        return _chain(network, noise, numbers)

    def init(self, key: jax.Array) -> Any:
        return self.chain.init(key)

    def _batch(self, features: jax.Array, value: jax.Array) -> Batch:
        return Batch(self.rows(features, value), self.contexts(features))

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """The bound on log p(value | features) in nats, [...]; in training an estimate of it from `draws` steps."""
        score = self.chain.score(self.params, self._batch(features, value), key=self.noise_key, train=self.train)
        return score.log_prob.reshape(features.shape[:-1])

    def loss(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns minus the bound, or the squared error of the noise, [...]: a sum over the entries of a value."""
        if self.weighting == "bound":
            return -self.log_prob(features, value)
        batch = self._batch(features, value)
        _, error_N = self.chain.estimate(self.params, batch, key=self.noise_key, num=self.draws, train=True)
        return error_N.reshape(features.shape[:-1])

    def scaled_draw(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        contexts, chain = self.contexts(features), self.chain
        keys_N = example_keys(key, len(contexts["vector"]))
        how = jnp.float32(1.0), temperature
        rows, _ = draw_rounds(chain, self.params, keys_N, contexts, chain.visited(chain.sample_steps), (), how)
        return self.drawn(features, rows)


@functools.lru_cache(maxsize=64)
def _chain(network: tuple[Any, ...], noise: tuple[Any, ...], numbers: tuple[int, int, int]) -> GaussianChain:
    denoiser = denoiser_of(*network)
    return GaussianChain(denoiser, GaussianNoise(denoiser.event, *noise), *numbers)
