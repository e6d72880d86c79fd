"""Gaussian chains: diffusion models with T steps.

Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic Models" (2020), in the notation of Kingma et al., "Variational
Diffusion Models" (2021): q(x_t | x_0) = N(alpha_t x_0, sigma_t^2) with alpha_t^2 = sigmoid(-gamma_t) and sigma_t^2 =
sigmoid(gamma_t). The reverse conditional is q(x_{t-1} | x_t, x_0) with a prediction in place of x_0.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from arjax.core.errors import refuse
from arjax.core.normal import lower_tail
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.models import noise_schedules as schedules
from arjax.models.base import Model
from arjax.models.chains import SMALL, Chain, Process, StepTerms
from arjax.models.draws import check_draws
from arjax.models.kinds import KINDS, Example, Recipe
from arjax.models.noise_schedules import MOST_STEPS
from arjax.networks import NETWORKS
from arjax.networks.denoisers import make_denoiser
from arjax.samplers import PLAIN_DRAW, Request, Sampler

_small = functools.partial(
    Example.of, "gaussian_chain", network="denoising_transformer", sizes=SMALL, num_steps=3, schedule="cosine"
)


@dataclasses.dataclass(frozen=True)
class GaussianNoise(Process):
    """Gaussian noise on real numbers; levels and binary data are scaled to [-1, 1].

    The last conditional p(x_0 | x_1) is a Gaussian around the predicted x_0 with the standard deviation sigma_1; of
    levels it is integrated over their bins, and the outer bins reach to infinity (Ho, Jain & Abbeel, section 3.3).

    Attributes:
      prediction: "noise"; "velocity" alpha_t e - sigma_t x_0 (Salimans & Ho, "Progressive Distillation for Fast
        Sampling of Diffusion Models", 2022, appendix D); or "levels", the mean of a distribution over the levels.
      eta: of draws: 1 is ancestral, 0 deterministic after x_T (Song, Meng & Ermon, "Denoising Diffusion Implicit
        Models", 2021, equation 16).
    """

    schedule: str
    prediction: str
    eta: float = 1.0

    def init(self, key):
        """Returns the parameters "noise" of a learned schedule."""
        return {"noise": schedules.init_learned(key)} if self.schedule == "learned" else {}

    def gammas(self) -> jax.Array:
        """Returns gamma_1, ..., gamma_T, float32[T]."""
        if self.schedule == "learned":
            return schedules.learned_gammas(self.params["noise"], self.num_steps)
        return jnp.asarray(schedules.fixed_gammas(self.schedule, self.num_steps), jnp.float32)

    def scaled(self, x: jax.Array) -> jax.Array:
        """Returns the values as real numbers: levels 0, ..., V - 1 from -1 to 1."""
        return x.astype(jnp.float32) if self.event.top is None else 2.0 * x / self.event.top - 1.0

    def predicted(
        self, features: jax.Array, x_t: jax.Array, gamma_B: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the output of the network, and the noise and x_0 that follow from it, [B, *grid, *value] each."""
        alpha, sigma = self._scales(gamma_B)
        if self.prediction == "levels":
            logits = features.reshape(*x_t.shape, self.event.num_levels)
            x_0 = expected_level(logits, x_t / alpha, alpha / sigma)
            return x_0, (x_t - alpha * x_0) / sigma, x_0
        output = features.reshape(x_t.shape)
        if self.prediction == "velocity":
            return output, sigma * x_t + alpha * output, alpha * x_t - sigma * output
        return output, output, (x_t - sigma * output) / alpha

    def _scales(self, gamma_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns alpha and sigma, [B, 1, ...] each."""
        gamma = gamma_B.reshape(-1, *[1] * len(self.event.shape))
        return jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma))

    def prior_log_prob(self, x):
        """-KL(N(alpha_T x_0, sigma_T^2) || N(0, 1))."""
        gamma = self.gammas()[-1]
        variance = jax.nn.sigmoid(gamma)
        kl = 0.5 * (variance + (1 - variance) * self.scaled(x) ** 2 - 1 - jax.nn.log_sigmoid(gamma))
        return -kl.reshape(len(x), -1).sum(-1)

    def step_terms(self, x, t, keys_B, features_of):
        x_0, gammas_T = self.scaled(x), self.gammas()
        gamma_B, before_B = gammas_T[t - 1], gammas_T[jnp.maximum(t - 2, 0)]
        noise, (alpha, sigma) = self._noise(keys_B), self._scales(gamma_B)
        x_t = alpha * x_0 + sigma * noise
        output, _, predicted_x_0 = self.predicted(features_of(x_t), x_t, gamma_B)
        # each without the cancellation that a detour over the predicted noise would have where sigma is small
        if self.prediction == "velocity":
            error = alpha * (alpha * noise - sigma * x_0 - output)
        else:
            error = noise - output if self.prediction == "noise" else (output - x_0) * alpha / sigma
        error_B = (error**2).reshape(len(x), -1).sum(-1)
        # (SNR_{t-1} - SNR_t) |x_0 - its prediction|^2 / 2 (Kingma et al., equation 13), by the noise (equation 14)
        kl_B = 0.5 * jnp.expm1(gamma_B - before_B) * error_B
        is_first_B = t == 1
        # in other steps it may be huge, and is not scored
        predicted_x_0 = jnp.where(is_first_B.reshape(alpha.shape), predicted_x_0, x_0)
        return StepTerms(jnp.where(is_first_B, self._last_log_prob(x, predicted_x_0), -kl_B), error_B)

    def _last_log_prob(self, x: jax.Array, mean: jax.Array) -> jax.Array:
        """Returns log p(x_0 | x_1) in nats, [B]: for levels the mass of a bin, for real data a density."""
        sigma = jnp.sqrt(jax.nn.sigmoid(self.gammas()[0]))
        distance = (self.scaled(x) - mean) / sigma
        if self.event.top is None:
            log_p = -0.5 * distance**2 - jnp.log(sigma) - 0.5 * jnp.log(2 * jnp.pi)
        else:
            log_p = log_bin_mass(distance, 1 / (sigma * self.event.top), x, self.event.num_levels)
        return log_p.reshape(len(x), -1).sum(-1)

    def how(self, options, eta=None):
        """Returns `eta`, None for that of the process, and the factor of all noise."""
        eta = self.eta if eta is None else eta
        refuse((not isinstance(eta, int | float) or not 0 <= eta <= 1, f"eta must be in [0, 1], not {eta!r}"))
        return float(eta), 1.0

    def start(self, keys_B, how):
        return self._noise(keys_B, how[1])

    def _noise(self, keys_B: jax.Array, factor: Any = 1.0) -> jax.Array:
        """Returns normal noise times a factor, [B, *grid, *value]."""
        return factor * jax.vmap(lambda key: jax.random.normal(key, self.event.shape))(keys_B)

    def reverse_steps(self, visited, how):
        return schedules.reverse_steps(self.gammas(), visited, how[0])

    def reverse(self, x_t, step, features, keys_B, how):
        """Draws from q(x_s | x_t, x_0) with the predicted x_0 (Song, Meng & Ermon, 2021, section 4.2)."""
        _, gamma, of_x_0, of_noise, std = step
        _, noise, x_0 = self.predicted(features, x_t, jnp.full(len(x_t), gamma))
        return of_x_0 * x_0 + of_noise * noise + std * self._noise(keys_B, how[1])

    def as_data(self, x):
        top = self.event.top
        return x if top is None else jnp.clip(jnp.round((x + 1) * top / 2), 0, top).astype(self.event.dtype)


@KINDS.register("gaussian_chain")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GaussianChain(Chain):
    """Denoising diffusion: Gaussian noise in many steps, and learned conditionals back. A bound.

    Levels and binary data are scaled to [-1, 1], and real data should be standardised.
    """

    traits = Chain.traits | {"noise_error"}
    takes: ClassVar[frozenset[str]] = Chain.takes | {"eta"}
    NETWORKS: ClassVar[Any] = NETWORKS
    EXAMPLES = {
        "levels": _small(EventSpec((2, 2)), prediction="levels"),
        "real": _small(EventSpec((3,), (), "real"), prediction="velocity"),
    }

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        num_steps: int = opt(1000, most=MOST_STEPS),
        schedule: str = opt("linear", choices=schedules.GAUSSIAN),
        prediction: str = opt("noise", choices=("noise", "velocity", "levels")),
        train_steps: int = 1,
        score_steps: int = 0,
        sample_steps: int = opt(0, most=MOST_STEPS),
        eta: float = opt(1.0, least=0, most=1),
    ) -> GaussianChain:
        """Returns the chain of a denoiser; the options are the fields of the process and of the chain."""
        recipe.only()
        (name, options), event = recipe.network(), recipe.event
        num_predicted = event.value_size * (event.num_levels if prediction == "levels" else 1)
        noisy = EventSpec(event.grid_shape, event.value_shape, "real")
        denoiser = make_denoiser(name, noisy, recipe.context, num_predicted, recipe.dtype, **options)
        event.check_kind(("levels", "binary", "real"), "a Gaussian chain needs levels, binary or real data")
        too_few = "a learned noise schedule has two end points: num_steps must be at least 2"
        no_levels = "the prediction 'levels' is a distribution over levels, and real data have none"
        refuse(
            (schedule == "learned" and num_steps < 2, too_few),
            (prediction == "levels" and event.top is None, no_levels),
        )
        process = GaussianNoise(event, num_steps, schedule, prediction, eta)
        return cls(denoiser, process, train_steps, score_steps, sample_steps).checked()


@check_draws.register(GaussianChain)
def _(model: GaussianChain, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    check_draws.dispatch(Model)(model, sampler, options)
    refuse((options.temperature != 1, "a Gaussian chain has no temperature: less noise is eta < 1"))


def log_bin_mass(distance: jax.Array, half: jax.Array, level: jax.Array, num_levels: int) -> jax.Array:
    """log of the mass of a normal on [distance - half, distance + half]; the outer levels reach to infinity."""
    low, high = distance - half, distance + half
    low, high = lower_tail(low, high, is_upper=distance > 0)
    log_high = log_ndtr(high)
    # both ends are finite: log(P(high) - P(low)), also where the two are next to equal
    inner = log_high + jnp.log(-jnp.expm1(jnp.minimum(log_ndtr(low) - log_high, -1e-7)))
    outer = jnp.where(level == 0, log_ndtr(distance + half), log_ndtr(half - distance))
    return jnp.where((level == 0) | (level == num_levels - 1), outer, inner)


def expected_level(logits: jax.Array, y: jax.Array, precision: jax.Array) -> jax.Array:
    """Returns the mean of the levels c_k under p(k) ~ exp(logits_k) N(y; c_k, 1 / precision^2), [..., V] -> [...], the
    posterior given a noisy y: the score interpolation of Dieleman et al., "Continuous Diffusion for Categorical Data"
    (2022), section 3.1, in which the network learns the prior alone, as the likelihood of y is known.
    """
    levels_V = jnp.linspace(-1.0, 1.0, logits.shape[-1])
    likelihood = -0.5 * (precision[..., None] * (y[..., None] - levels_V)) ** 2
    return (jax.nn.softmax(logits + likelihood) * levels_V).sum(-1)
