"""Latent-variable models: p(x | c) = integral of p(z | c) p(x | z, c) over z, scored by bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from arjax.conditionals import Conditional
from arjax.core.batch import Array, Batch, Score
from arjax.core.errors import refuse
from arjax.core.programs import one_program
from arjax.core.scores import log_mean, weakest
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import require, traits
from arjax.models import extras
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params, inherited, key_needed, repeated
from arjax.models.checks import as_values, checked_batch
from arjax.models.draws import added_stats, check_draws, check_taken, draw_part
from arjax.models.extras import SampledBound
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.models.pictures import Picture, Tiles, is_image
from arjax.samplers import PLAIN_DRAW, Cached, Draw, Request, Sampler, example_keys

#: The parts of the contexts that the parts of a latent model add.
LATENT, DATA = "z", "x"
#: Numbers in pictures: examples, pairs with a path between them, points of a path, points on the side of a plane.
RECONSTRUCTED, PAIRS, POINTS, SIDE = 10, 8, 12, 20
#: The variance of its posterior mean over examples from which a latent is active.
ACTIVE = 0.01


class Weights(NamedTuple):
    """K latents drawn from the posterior of each of B examples; all terms in nats, float32[K, B]."""

    latents: jax.Array  # [K, B, *shape of z]
    reconstruction: jax.Array  # log p(x | z)
    log_prior: jax.Array  # log p(z), or an estimate whose exponential is unbiased where the prior has latents itself
    log_posterior: jax.Array  # log q(z | x)

    @property
    def log_weight(self) -> jax.Array:
        """log p(x, z) - log q(z | x): its exponential is an unbiased estimate of p(x)."""
        return self.reconstruction + self.log_prior - self.log_posterior


def _small(latents: tuple[int, ...], values: str) -> ModelChoice:
    network = ModelChoice(network="independent", network_options={"hidden_sizes": (6,)})
    parts = {"prior": ModelChoice(network="made"), "likelihood": network, "posterior": network}
    return ModelChoice("latent", {"latents": latents, "values": values}, parts=parts)


@KINDS.register("latent")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LatentModel(Model):
    """Latents z, never seen: p(x | c) = E over p(z | c) of p(x | z, c); parts prior, likelihood and posterior. A bound.

    Scored by the evidence lower bound with one latent (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014,
    equation 3), whose mean is E_q[log p(x | z)] - KL(q(z | x) | p(z)), or by `importance_bound` (Burda, Grosse &
    Salakhutdinov, "Importance Weighted Autoencoders", 2016, equation 8). A prior that is a latent model itself gives
    several stochastic layers.

    Attributes:
      likelihood: p(x | z, c), any model; z is the part "z" of its context.
      posterior: q(z | x, c), a network that reads x, the part "x" of its context, and no site of z.
      score_samples: k of the scores outside of training, which are L_k: 1, the evidence lower bound.
    """

    prior: Model
    likelihood: Model
    posterior: AutoregressiveModel
    score_samples: int = dataclasses.field(metadata={"static": True})

    #: As far as the likelihood takes them, too.
    takes: ClassVar[frozenset[str]] = frozenset({"sampler", "temperature", "top_k", "top_p", "min_p", "end", "latents"})
    EXAMPLES = {
        "real": Example(_small((3,), "real"), EventSpec((2, 2))),
        "binary": Example(_small((3,), "binary"), EventSpec((2, 2)), ContextSpec("label", 3)),
    }

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        latents: tuple[int, ...] = (50,),
        values: str = "real",
        num_levels: int = 0,
        score_samples: int = 1,
    ) -> LatentModel:
        """Returns the model of its parts. `latents` is the shape of z, and `values` its kind: real, binary, levels or
        tokens; the latter two have `num_levels`.
        """
        recipe.only("prior", "likelihood", "posterior")
        event, context = recipe.event, recipe.context
        z = EventSpec(latents, (), values, num_levels) if num_levels else EventSpec(latents, (), values)
        check_context_names("a latent model", context)
        prior = recipe.part("prior", z)
        part = z if len(latents) > 1 else EventSpec((), latents, z.kind, z.num_levels)  # a vector, or a grid of values
        of_z, of_x = context.with_part(LATENT, part), context.with_part(DATA, event)
        likelihood = recipe.part("likelihood", context=of_z, check=check_reads)
        return cls(prior, likelihood, recipe.part("posterior", z, of_x, check=_check_posterior), score_samples)

    def __repr__(self) -> str:
        return f"LatentModel(prior={self.prior!r}, likelihood={self.likelihood!r}, posterior={self.posterior!r})"

    @property
    def traits(self) -> frozenset[str]:
        return inherited(self) | traits("latents", discrete_latents=not self.reparameterised)

    @property
    def score_kind(self) -> str:
        """A bound at most; an estimate if L_k takes exponentials of scores that are biased, such as those of chains."""
        biased = self.score_samples > 1 and "biased" in self.traits
        return weakest("estimate" if biased else "bound", self.prior.score_kind, self.likelihood.score_kind)

    @property
    def reparameterised(self) -> bool:
        """Whether gradients flow through the draws of the latents: only if they are real."""
        return self.posterior.conditional.REPARAMETERISED

    @property
    def event(self) -> EventSpec:
        return self.likelihood.event

    @property
    def context_spec(self) -> ContextSpec:
        return self.prior.context_spec

    @property
    def latent_event(self) -> EventSpec:
        return self.prior.event

    @property
    def named_parts(self) -> dict[str, Model]:
        return {"prior": self.prior, "likelihood": self.likelihood, "posterior": self.posterior}

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key, 3)
        return {name: part.init(k) for (name, part), k in zip(self.named_parts.items(), keys, strict=True)}

    def weights(self, params: Params, batch: Batch, key: jax.Array, num: int = 1, *, train: bool = False) -> Weights:
        """Returns `num` latents of each example from q(z | x), and the terms of their weights."""
        draw_key, *keys = jax.random.split(key, 4)
        head, features = encoder_of(self.posterior, params["posterior"], batch, train, keys[0])
        features = jnp.broadcast_to(features, (num, *features.shape))
        z = head.sample(draw_key, features).astype(self.latent_event.dtype)
        log_q = head.log_prob(features, z).reshape(*z.shape[:2], -1).sum(-1)
        many = repeated(batch.replace(weight=None), num)
        flat = z.reshape(-1, *self.latent_event.shape)
        log_prior = self.prior.score(params["prior"], Batch(flat, many.context), key=keys[1], train=train).log_prob
        many = many.replace(context={**many.context, LATENT: flat})
        log_x = self.likelihood.score(params["likelihood"], many, key=keys[2], train=train).log_prob
        return Weights(z, log_x.reshape(num, -1), log_prior.reshape(num, -1), log_q)

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns the evidence lower bound with one latent for each example, or L_k with `score_samples`; its mean over
        keys is the bound. Terms: `reconstruction`, `kl`, and the gain of L_k, `importance`. It needs a `key`. With a
        mask it bounds log of the mean of p(x_marked | x_given, z) over the prior of z, unchanged by the given sites.
        """
        num = 1 if train else self.score_samples
        weights = self.weights(params, batch, key_needed(key, "the score of a latent model is drawn"), num, train=train)
        log_w_kB = weights.log_weight
        value = log_mean(log_w_kB)
        kl = (weights.log_posterior - weights.log_prior).mean(0)
        terms = {"reconstruction": -weights.reconstruction.mean(0), "kl": kl}
        return Score(value, self.score_kind, terms | ({"importance": log_w_kB.mean(0) - value} if num > 1 else {}))

    def importance_bound(self, params: Params, batch: Batch, key: jax.Array, samples: int, at_once=50) -> jax.Array:
        """Returns L_k = log 1/k sum_i p(x, z_i) / q(z_i | x) with k = `samples`, float32[B] nats, from `at_once` at a
        time. Its mean grows with k towards log p(x) (Burda et al., theorem 1) if the parts are unbiased.
        """
        return _importance_bound(self, params, batch, key, samples, min(at_once, samples))

    def kl_by_unit(self, params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        """Returns log q(z_i | x) - log p(z_i | z_<i) of each site of one z of q(z | x), float32[B, sites of z] nats,
        whose mean is the divergence that the site adds. The prior must be one network.
        """
        z = self.weights(params, batch, key).latents[0]
        prior = require(self.prior, "conditionals", "the divergence of a site")
        terms = self.posterior.log_prob_per_site(params["posterior"], z, context={**batch.context, DATA: batch.x})
        terms = terms - prior.log_prob_per_site(params["prior"], z, context=batch.context)
        return terms.reshape(len(z), -1)

    def encode(self, params: Params, x: jax.Array, *, context: Any = None) -> jax.Array:
        """Returns the most probable z under q(z | x), the mean of a Gaussian: [B, *shape of z]."""
        head, features = encoder_of(self.posterior, params["posterior"], checked_batch(self, params, x, context))
        return head.mode(features)

    def draw_examples(
        self, params: Params, keys: jax.Array, sampler: Sampler, options: Request, latents: jax.Array | None = None
    ) -> Draw:
        """Draws z from the prior, or takes `latents` [B, *shape of z], then x given z; the calls are added up."""
        of_prior, of_likelihood = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        stats: dict[str, jax.Array] = {}
        if latents is None:
            latents, stats = draw_part(
                self.prior, params["prior"], of_prior, Cached(), Request(context=options.context)
            )
        else:
            latents = as_values(self.latent_event, latents, "latents")
        options = dataclasses.replace(options, context={**(options.context or {}), LATENT: latents})
        x, of_x = draw_part(self.likelihood, params["likelihood"], of_likelihood, sampler, options)
        return Draw(x, added_stats(stats, of_x))


@check_draws.register(LatentModel)
def _(model: LatentModel, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    """The options are those of the likelihood, without observed sites: the posterior given these is not known."""
    check_taken(model, Request(given=options.given, observed=options.observed))
    check_draws(model.likelihood, sampler, options)


extras.in_sequence.register(LatentModel, lambda model: extras.in_sequence(model.likelihood))
extras.sampled_part.register(LatentModel, lambda model: "likelihood")


@extras.report_of_examples.register(LatentModel)
def _(model: LatentModel, params: Params, batch: Batch, key: jax.Array) -> dict[str, Any]:
    """`kl_nats_by_unit`: the mean of log q(z_i | x) - log p(z_i) of each site of z, if the prior is one network.
    `active_units`: real latents whose posterior mean has a variance above .01 (Burda et al., 2016, section 5.2).
    """
    report: dict[str, Any] = {}
    if "conditionals" in model.prior.traits:
        units = jax.jit(LatentModel.kl_by_unit)(model, params, batch, key)
        report["kl_nats_by_unit"] = [float(value) for value in np.asarray(units, np.float64).mean(0)]
    if model.reparameterised:
        context = dict(batch.context) or None
        means = np.asarray(jax.jit(LatentModel.encode)(model, params, jnp.asarray(batch.x), context=context))
        report["active_units"] = int((means.reshape(len(means), -1).var(0) > ACTIVE).sum())
    return report


@extras.pictures.register(LatentModel)
def _(model: LatentModel, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
    """Of images: `reconstructions`; `interpolation`, on the straight lines between the latents of two examples; and of
    two real latents `latent_plane`, on a grid at equal quantiles of N(0, 1) (Kingma & Welling, 2014, figure 4).
    """
    if not is_image(model.event):
        return
    context = {name: jnp.asarray(part) for name, part in batch.context.items()}
    z = model.encode(params, jnp.asarray(batch.x), context=context or None)

    def decoded(z: Array, context: dict[str, jax.Array]) -> np.ndarray:
        given = context | {LATENT: jnp.asarray(z)}
        return np.asarray(expected_value(model.likelihood, params["likelihood"], given, key, len(z)))

    first = {name: part[:RECONSTRUCTED] for name, part in context.items()}
    yield "reconstructions", beside(batch.x[:RECONSTRUCTED], decoded(z[:RECONSTRUCTED], first))
    if not model.reparameterised:
        return
    part = np.linspace(0, 1, POINTS, dtype=np.float32).reshape(1, -1, *[1] * (z.ndim - 1))
    num = min(PAIRS, len(z) // 2)
    path = (1 - part) * z[:num, None] + part * z[num : 2 * num, None]
    of_first = jax.tree.map(lambda leaf: jnp.repeat(leaf[:num], POINTS, 0), context)
    along = decoded(path.reshape(-1, *z.shape[1:]), of_first)
    yield "interpolation", Tiles(along, POINTS, "Between two examples")
    if model.latent_event.num_dims == 2 and not context:
        quantile = norm.ppf((jnp.arange(SIDE) + 0.5) / SIDE)
        plane = jnp.stack(jnp.meshgrid(quantile, quantile), -1).reshape(-1, *model.latent_event.shape)
        yield "latent_plane", Tiles(decoded(plane, {}), SIDE, "Latents")


def encoder_of(
    model: AutoregressiveModel, params: Params, batch: Batch, train: bool = False, key: jax.Array | None = None
) -> tuple[Conditional, jax.Array]:
    """Returns the conditional of an encoder, and its features [B, *grid of z, F] of the examples."""
    dummy, context = jnp.zeros((len(batch), *model.event.shape), model.event.dtype), {**batch.context, DATA: batch.x}
    features = model.features(params, dummy, context=context, train=train, key=key if train else None)
    return model.head(params, train, key), features


def beside(x: Array, decoded: Array) -> Tiles:
    """Returns examples above their reconstructions."""
    return Tiles(np.concatenate([x, decoded]), len(x), "Examples, and their reconstructions")


@extras.sampled_bound.register(LatentModel)
def importance_sampled(model: Any, samples: int) -> SampledBound:
    """Returns L_k with k = `samples` of a model that has an `importance_bound`."""
    exponentials = "config.evaluate.samples takes exponentials of scores, which are no bounds with chains inside"
    refuse(("biased" in model.traits, f"{exponentials}: set it to 0"))
    entries = {"importance_samples": samples}
    return SampledBound("importance_bound", model, type(model).importance_bound, (samples,), entries)


def expected_value(model: Any, params: Params, context: dict[str, jax.Array], key: jax.Array, num: int) -> jax.Array:
    """Returns the mean, [num, *event], if the sites are independent given the context and have tables of values, the
    mode if they have no tables, and draws of other models.
    """
    if "conditionals" not in model.traits or model.network.dependencies(model.factorization).any():
        return model.draw(params, example_keys(key, num), context=context).x
    features = model.features(params, jnp.zeros((num, *model.event.shape), model.event.dtype), context=context)
    head = model.head(params)
    if not model.conditional.has_table:
        return head.mode(features)
    table = jnp.exp(head.log_table(features))
    return (table * jnp.arange(table.shape[-1])).sum(-1)


def check_context_names(subject: str, context: ContextSpec) -> None:
    """Refuses a context that has a part of a name that encoders and decoders add."""
    for name, _ in context.parts:
        taken = name in (LATENT, DATA)
        refuse((taken, f"{subject} adds parts to the context that are called z and x, and {name!r} is there"))


def check_reads(part: Any) -> None:
    """Refuses one network that does not read its context: x, or z, would have no influence on it."""
    reads = "conditionals" not in part.traits or "context" in part.network.traits
    refuse((not reads, "its network reads no context: take independent, or another that reads one"))


def check_encoder(encoder: Any) -> None:
    """Refuses what is not one network that reads x, and no site of its event."""
    refuse(("conditionals" not in encoder.traits, "it is one network and one conditional, of the kind autoregressive"))
    check_reads(encoder)
    sentence = "its sites are independent given x: take the network independent, or one that reads no site"
    refuse((encoder.network.dependencies(encoder.factorization).any(), sentence))


def _check_posterior(posterior: Any) -> None:
    """Refuses q(z | x) unless z can be drawn from it at once, with gradients or with a probability."""
    check_encoder(posterior)
    head, is_real = posterior.conditional, not posterior.event.num_levels
    by_itself = not head.joint and head.init(jax.random.key(0)) is None
    refuse(
        (not by_itself, "its conditional must draw each site by itself, such as gaussian or bernoulli"),
        (is_real and not head.REPARAMETERISED, "its conditional must pass gradients through draws, as gaussian does"),
    )


@one_program(static_argnames=("samples", "at_once"))
def _importance_bound(
    model: LatentModel, params: Params, batch: Batch, key: jax.Array, samples: int, at_once: int
) -> jax.Array:
    def add(total_B: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        log_w_kB = model.weights(params, batch, jax.random.fold_in(key, i), at_once).log_weight
        counts_k1 = (i * at_once + jnp.arange(at_once) < samples)[:, None]
        log_w_kB = jnp.where(counts_k1, log_w_kB, -jnp.inf)
        return jnp.logaddexp(total_B, jax.nn.logsumexp(log_w_kB, 0)), None

    total_B, _ = jax.lax.scan(add, jnp.full(len(batch), -jnp.inf), jnp.arange(-(-samples // at_once)))
    return total_B - math.log(samples)
