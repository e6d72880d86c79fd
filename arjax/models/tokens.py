"""Tokenizers with a prior: an encoder makes tokens of x, a prior models these, a decoder x given them. A bound."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch, Score
from arjax.core.errors import refuse
from arjax.core.programs import one_program
from arjax.core.scores import log_mean, weakest
from arjax.core.spec import ContextSpec, EventSpec
from arjax.core.traits import traits
from arjax.models import extras, latent
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model, Params, inherited
from arjax.models.checks import as_values, checked_batch
from arjax.models.draws import added_stats, check_draws, check_taken, draw_part
from arjax.models.extras import SampledBound
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.models.latent import DATA, LATENT, RECONSTRUCTED
from arjax.models.pictures import CodesInUse, Picture, is_image
from arjax.networks.layers.local_context import pixels
from arjax.quantizers import QUANTIZERS, Quantizer
from arjax.quantizers.base import Grid
from arjax.samplers import PLAIN_DRAW, Cached, Draw, Request, Sampler

#: The entries of the parameters that make the tokens of x; the prior was trained for these.
TOKENIZER = ("encoder", "quantizer")
#: The entry of the parameters that identifies the tokenizer of the prior, float32[8]; 0 where they learn together.
FINGERPRINT = "fingerprint"
#: Codes that the posterior of a token of the importance-weighted bound has, at most.
CHOICES = 16
#: Examples of which the tokens are computed together, where many are read.
TOGETHER = 256


class Encoded(NamedTuple):
    """Examples as tokens."""

    h: jax.Array  # the vectors of the encoder, float32[B, *grid, E]
    numbers: jax.Array  # of their codes, int32[B, T]
    z: jax.Array  # the codes, float32[B, *grid, E], with the gradient that passes to the vectors


def _small(quantizer: str, grid: Grid) -> ModelChoice:
    sizes = {"hidden_sizes": (6,)} if len(grid) == 1 else {"width": 6, "num_blocks": 1}
    network = ModelChoice(network="independent", network_options=sizes)
    parts = {"encoder": network, "decoder": network, "prior": ModelChoice(network="made")}
    return ModelChoice("tokens", {"quantizer": quantizer, "grid": grid}, parts=parts)


@KINDS.register("tokens")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TokensModel(Model):
    """A tokenizer and a prior of its tokens: log p(x) >= log p(z(x)) + log p(x | z(x)); parts encoder, decoder, prior.

    van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (2017): the posterior of the tokens z
    given x is one point, z(x), so the evidence lower bound has two terms alone: the *rate* -log p(z) and the
    *distortion* -log p(x | z). It leaves out other tokens that may give x: `importance_bound` draws some of these
    around z(x).

    Attributes:
      encoder: a network that reads x, the part "x" of its context, and no site of its event; the vectors that become
        tokens are the modes of its conditional.
      decoder: p(x | z, c), any model; the codes are the part "z" of its context, on their grid.
    """

    encoder: AutoregressiveModel
    decoder: Model
    prior: Model
    quantizer: Quantizer = dataclasses.field(metadata={"static": True})

    takes: ClassVar[frozenset[str]] = frozenset({"sampler", "temperature", "top_k", "top_p", "min_p", "tokens"})
    EXAMPLES = {
        "fsq": Example(_small("fsq(levels=(3, 2))", (2,)), EventSpec((2, 2))),
        "vq": Example(_small("vq(codes=4, dims=2)", (1, 2)), EventSpec((2, 2)), ContextSpec("label", 3)),
    }

    @classmethod
    def make(
        cls, recipe: Recipe, *, quantizer: str = "fsq(levels=(8, 6, 5))", grid: tuple[int, ...] = (7, 7)
    ) -> TokensModel:
        """Returns the model of its parts. Where the `grid` of codes has as many axes as that of the data, apart from
        colour channels, x and the codes are local parts of one another's context; else they are read as a whole.
        """
        recipe.only("encoder", "decoder", "prior")
        event, context, made = recipe.event, recipe.context, QUANTIZERS.call(quantizer)
        latent.check_context_names("the kind of model 'tokens'", context)
        wanted = _wanted(made, grid, event, context)
        prior = recipe.part("prior", made.token_event(grid), context, several_orders=True)
        encoder = recipe.part("encoder", *wanted["encoder"], check=_check_encoder)
        return cls(encoder, recipe.part("decoder", *wanted["decoder"], check=latent.check_reads), prior, made)

    def __repr__(self) -> str:
        parts = {**self.named_parts, "quantizer": self.quantizer}
        return f"TokensModel({', '.join(f'{name}={part!r}' for name, part in parts.items())})"

    @property
    def score_kind(self) -> str:
        return weakest("bound", self.prior.score_kind, self.decoder.score_kind)

    @property
    def traits(self) -> frozenset[str]:
        return inherited(self) | traits("tokens", "discrete_latents")

    @property
    def event(self) -> EventSpec:
        return self.decoder.event

    @property
    def context_spec(self) -> ContextSpec:
        return self.prior.context_spec

    @property
    def grid(self) -> Grid:
        return self.encoder.event.grid_shape

    @property
    def named_parts(self) -> dict[str, Model]:
        return {"encoder": self.encoder, "decoder": self.decoder, "prior": self.prior}

    def init(self, key: jax.Array) -> Params:
        """Returns parameters of the parts by their names, of the quantizer, and the fingerprint 0."""
        parts: dict[str, Any] = {**self.named_parts, "quantizer": self.quantizer}
        params = {name: part.init(k) for (name, part), k in zip(parts.items(), jax.random.split(key, 4), strict=True)}
        return params | {FINGERPRINT: jnp.zeros(8, jnp.float32)}

    def encoded(self, params: Params, batch: Batch, train: bool = False, key: jax.Array | None = None) -> Encoded:
        """Returns the examples of a batch as tokens."""
        head, features = latent.encoder_of(self.encoder, params["encoder"], batch, train, key)
        h = head.mode(features)
        numbers = self.quantizer.assign(params["quantizer"], h).numbers
        codes = self.quantizer.lookup(params["quantizer"], numbers, self.grid)
        return Encoded(h, numbers, self.quantizer.passed(params["quantizer"], h, codes))

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """Returns log p(z(x)) + log p(x | z(x)), with the terms `rate` and `distortion`; a part may need the `key`."""
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        encoded = self.encoded(params, batch, train, keys[0])
        rate = -self.log_prior(params, encoded.numbers, batch, keys[1], train)
        distortion = -self.log_likelihood(params, encoded.z, batch, keys[2], train)
        return Score(-rate - distortion, self.score_kind, {"rate": rate, "distortion": distortion})

    def log_prior(
        self, params: Params, numbers: jax.Array, batch: Batch, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Returns log p(z | c), float32[B] nats, of the numbers of codes [B, T]."""
        tokens = Batch(self.quantizer.tokens_of(numbers, self.grid), batch.context)
        return self.prior.score(params["prior"], tokens, key=key, train=train).log_prob

    def log_likelihood(
        self, params: Params, z: jax.Array, batch: Batch, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Returns log p(x | z, c), float32[B] nats, of the codes z [B, *grid, E]."""
        given = batch.replace(context={**batch.context, LATENT: z})
        return self.decoder.score(params["decoder"], given, key=key, train=train).log_prob

    def tokens(self, params: Params, x: jax.Array, *, context: Any = None) -> jax.Array:
        """Returns the tokens of examples, int32[B, *token event]."""
        numbers = self.encoded(params, checked_batch(self, params, x, context)).numbers
        return self.quantizer.tokens_of(numbers, self.grid)

    def draw_examples(
        self, params: Params, keys: jax.Array, sampler: Sampler, options: Request, tokens: jax.Array | None = None
    ) -> Draw:
        """Draws tokens from the prior, or takes `tokens` [B, *token event], then x from the decoder; the temperature is
        of both, `top_k`, `top_p` and `min_p` of the tokens. Calls are counted in total and for the prior.
        """
        of_prior, of_decoder = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        stats: dict[str, jax.Array] = {}
        if tokens is None:
            tokens, stats = draw_part(self.prior, params["prior"], of_prior, sampler, options)
        else:
            tokens = as_values(self.prior.event, tokens, "tokens")
        numbers = self.quantizer.numbers_of(tokens)
        z = self.quantizer.lookup(params["quantizer"], numbers, self.grid)
        given = Request(context={**(options.context or {}), LATENT: z}, temperature=options.temperature)
        x, of_x = draw_part(self.decoder, params["decoder"], of_decoder, Cached(), given)
        return Draw(x, added_stats(stats, of_x) | ({"prior_calls": stats["network_calls"]} if stats else {}))

    def importance_bound(
        self, params: Params, batch: Batch, key: jax.Array, samples: int, choices: int = CHOICES
    ) -> jax.Array:
        """Returns L_k = log 1/k sum_i p(x, z_i) / q(z_i | x) with k = `samples`, float32[B] nats: in the mean a bound
        of log p(x), which grows with k (Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", 2016).

        The posterior q draws each token by itself, q_t(z_t) ~ p(x, z*_<t, z_t, z*_>t), among the `choices` codes that
        are nearest to the vector of the encoder. z* is the most probable value that one pass over the tokens finds,
        from z(x). It is refined for each example, as in Kim et al., "Semi-Amortized Variational Autoencoders" (2018).
        It costs k + 2 T `choices` scores.
        """
        return _importance_bound(self, params, batch, key, samples, min(choices, self.quantizer.num_codes))


@check_draws.register(TokensModel)
def _(model: TokensModel, sampler: Sampler, options: Request = PLAIN_DRAW) -> None:
    """The prior draws with the sampler, and the decoder step by step."""
    sentence = "the kind of model 'tokens' cannot draw the rest of an example of which a part is given"
    reason = "its tokens depend on all of it, and their distribution given a part is not known"
    refuse((options.given is not None or options.observed is not None, f"{sentence}: {reason}"))
    check_taken(model, options)
    check_draws(model.prior, sampler, options)
    check_draws(model.decoder, Cached(), Request(temperature=options.temperature))


extras.in_sequence.register(TokensModel, lambda model: extras.in_sequence(model.decoder))
extras.sampled_part.register(TokensModel, lambda model: "prior")


@extras.examples_of_part.register(TokensModel)
def _(model: TokensModel, params: Params, batch: Batch) -> Batch:
    """Returns the tokens of the examples, all of which count, in the same contexts."""
    plain = Batch(np.asarray(batch.x), jax.tree.map(np.asarray, dict(batch.context)))
    parts = [plain.take(slice(n, n + TOGETHER)) for n in range(0, len(plain), TOGETHER)]
    tokens = [model.quantizer.tokens_of(_encoded(model, params, part).numbers, model.grid) for part in parts]
    return plain.replace(x=np.concatenate(tokens))


@extras.code_numbers.register(TokensModel)
def _(model: TokensModel, params: Params, batch: Batch) -> tuple[jax.Array, int]:
    return model.encoded(params, batch).numbers, model.quantizer.num_codes


@extras.sampled_bound.register(TokensModel)
def _(model: TokensModel, samples: int) -> SampledBound:
    """L_k with k = `samples`, of quantizers with distances."""
    bound, name = latent.importance_sampled(model, samples), QUANTIZERS.name_of(type(model.quantizer))
    draws = "config.evaluate.samples draws tokens near those of an example"
    lacks = f"the quantizer {name!r} has no distances of its codes: set it to 0"
    refuse((type(model.quantizer).distances is Quantizer.distances, f"{draws}, and {lacks}"))
    return bound


@extras.check_trained.register(TokensModel)
def _(model: TokensModel, params: Params) -> None:
    """Refuses a prior that was neither trained for this tokenizer nor together with it."""
    digest = np.asarray(params[FINGERPRINT])
    other = digest.any() and not np.array_equal(digest, np.asarray(fingerprint(params)))
    trained = "the prior was trained for the tokens of another encoder or quantizer than those of these parameters"
    refuse((other, f"{trained}: train it for these with the objective token_prior"))


@extras.pictures.register(TokensModel)
def _(model: TokensModel, params: Params, batch: Batch, key: jax.Array) -> Iterator[tuple[str, Picture]]:
    """`codes`, the use of each. Of images, `reconstructions`: examples, and the decoder given their codes."""
    yield "codes", CodesInUse()
    if not is_image(model.event):
        return
    few = jax.tree.map(lambda leaf: jnp.asarray(leaf[:RECONSTRUCTED]), batch.replace(weight=None))
    context = {**few.context, LATENT: _encoded(model, params, few).z}
    decoded = latent.expected_value(model.decoder, params["decoder"], context, key, len(few))
    yield "reconstructions", latent.beside(few.x, decoded)


@jax.jit
def _encoded(model: TokensModel, params: Params, batch: Batch) -> Encoded:
    return model.encoded(params, batch)


@one_program(static_argnames=("samples", "choices"))
def _importance_bound(
    model: TokensModel, params: Params, batch: Batch, key: jax.Array, samples: int, choices: int
) -> jax.Array:
    of_encoder, of_parts, of_draws = jax.random.split(key, 3)
    encoded = model.encoded(params, batch, key=of_encoder)
    _, near_BTM = jax.lax.top_k(-model.quantizer.distances(params["quantizer"], encoded.h), choices)

    of_prior, of_decoder = jax.random.split(of_parts)

    def joint(numbers_BT: jax.Array) -> jax.Array:
        """Returns log p(z | c) + log p(x | z, c) of the numbers of codes, [B] nats."""
        z = model.quantizer.lookup(params["quantizer"], numbers_BT, model.grid)
        return model.log_prior(params, numbers_BT, batch, of_prior) + model.log_likelihood(params, z, batch, of_decoder)

    def with_each(numbers_BT: jax.Array, t: jax.Array) -> jax.Array:
        """Returns the joint with each choice of token t in turn, [M, B]."""
        put = numbers_BT.at[:, t].set
        return jax.lax.map(lambda n_B: joint(put(n_B)), near_BTM[:, t].T)

    def best(numbers_BT: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        best_B = with_each(numbers_BT, t).argmax(0)
        return numbers_BT.at[:, t].set(jnp.take_along_axis(near_BTM[:, t], best_B[:, None], 1)[:, 0]), None

    tokens_T = jnp.arange(encoded.numbers.shape[1])
    best_BT, _ = jax.lax.scan(best, encoded.numbers, tokens_T)
    joint_TMB = jax.lax.map(lambda t: with_each(best_BT, t), tokens_T)
    log_q_BTM = jax.nn.log_softmax(joint_TMB.transpose(2, 0, 1))

    def weight(key: jax.Array) -> jax.Array:
        """Returns log p(x, z) / q(z | x) of one draw, [B]."""
        chosen_BT1 = jax.random.categorical(key, log_q_BTM)[..., None]
        numbers_BT = jnp.take_along_axis(near_BTM, chosen_BT1, 2)[..., 0]
        log_q_B = jnp.take_along_axis(log_q_BTM, chosen_BT1, 2)[..., 0].sum(-1)
        return joint(numbers_BT) - log_q_B

    weights_kB = jax.lax.map(weight, jax.random.split(of_draws, samples))
    return log_mean(weights_kB)


def fingerprint(params: Params) -> jax.Array:
    """Returns a digest of the parameters that make the tokens, float32[8] of whole numbers below 2^16. It sums mixed
    bits modulo 2^32, independently of the order of addition, so all devices and meshes agree.
    """
    return _digest({name: params[name] for name in TOKENIZER})


@jax.jit
def _digest(tree: Any) -> jax.Array:
    words = jnp.zeros(4, jnp.uint32)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        salt = zlib.crc32(jax.tree_util.keystr(path).encode())
        bits = jax.lax.bitcast_convert_type(jnp.asarray(leaf, jnp.float32), jnp.uint32).reshape(-1)
        place = jnp.arange(bits.size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9) + jnp.uint32(salt)
        words += jnp.stack([_mixed(_mixed(bits + jnp.uint32(i)) ^ _mixed(place + jnp.uint32(i))).sum(dtype=jnp.uint32)
                            for i in range(1, 5)])  # fmt: skip
    halves = jnp.stack([words >> 16, words & jnp.uint32(0xFFFF)], -1)
    return halves.reshape(-1).astype(jnp.float32)


def _mixed(bits: jax.Array) -> jax.Array:
    """uint32 to uint32, one to one: the final mix of MurmurHash3."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)


def _wanted(quantizer: Quantizer, grid: Grid, event: EventSpec, context: ContextSpec) -> dict[str, Any]:
    """Returns the events and the contexts of encoder and decoder."""
    quantizer.check_grid(grid)
    local = len(pixels(grid)) == len(pixels(event.grid_shape))
    vectors = EventSpec(grid, (quantizer.width,), "real")
    return {
        "encoder": (vectors, context.with_part(DATA, event, local=local)),
        "decoder": (event, context.with_part(LATENT, vectors, local=local)),
    }


def _check_encoder(encoder: Any) -> None:
    """Refuses an encoder unless the vectors are one mode of one network that reads x, and no vector before."""
    latent.check_encoder(encoder)
    passes = not encoder.conditional.joint and encoder.conditional.REPARAMETERISED
    refuse((not passes, "its conditional must have a mode that passes gradients, as gaussian has"))
