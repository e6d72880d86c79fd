"""Objectives of tokenizers with a prior: both together, or the tokenizer first and then the prior alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt
from arjax.core.traits import require
from arjax.models.base import Params
from arjax.models.tokens import FINGERPRINT, TokensModel, fingerprint
from arjax.objectives.base import OBJECTIVES, Loss, Mean, Metrics, Objective, ObjectiveState, Step
from arjax.objectives.terms import count, weighted_sum, weights_of


@OBJECTIVES.register("tokenizer")
@dataclasses.dataclass(frozen=True)
class Tokenizer(Objective[TokensModel]):
    """loss = -log p(x | z(x)) / (number of scored scalars) + the loss of the quantizer, and the rate where it has a
    weight.

    van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (2017), equation 3, with the codes as
    running means (appendix A.1): these are the state of the objective, and are written into the parameters after each
    step. The gradient of the distortion reaches the encoder through the quantizer. `rate` is the weight of -log p(z(x))
    / (number of scored scalars), which trains the prior alone; with 0 the prior waits for another run, see
    `token_prior`. The reported nll is the bound, for the rate 0 that of the uniform prior, T log K nats.
    """

    KIND: ClassVar[str] = "tokens"

    rate: float = opt(0.0, least=0)

    def check(self, model: TokensModel) -> None:
        require(model, "tokens", "the objective 'tokenizer'")
        self.check_parts_loss(model)
        trained = {"decoder": model.decoder} | ({"prior": model.prior} if self.rate else {})
        for name, part in trained.items():
            if "discrete_latents" in part.traits:
                raise UserError(
                    f"the {name} of the kind 'tokens' draws discrete latents, and the objective 'tokenizer' has no "
                    "gradient through these"
                )
        if self.rate and model.prior.orders is not None:
            raise UserError(
                "the objective 'tokenizer' would train one of the orders of the prior: leave its rate at 0, and train "
                "the prior in a second run with the objective token_prior(of='order_agnostic')"
            )

    def start(self, model: TokensModel, params: Params) -> Params:
        return params | {FINGERPRINT: jnp.zeros_like(params[FINGERPRINT])}

    def init(self, model: TokensModel, key: jax.Array) -> ObjectiveState:
        return ObjectiveState(state=model.quantizer.init_state(key) if model.quantizer.LEARNS else {})

    def loss(self, model: TokensModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        keys, weight_B = jax.random.split(step.key, 4), jnp.asarray(weights_of(batch), jnp.float32)
        encoded = model.encoded(params, batch, True, keys[0])
        of_quantizer = model.quantizer.loss(params["quantizer"], encoded.h, weight_B)
        distortion = weighted_sum(weight_B, -model.log_likelihood(params, encoded.z, batch, keys[1], True))
        counts = count(model.event, batch)
        terms = [Mean(distortion, counts.dims), Mean(of_quantizer * counts.examples, counts.examples)]
        rate = counts.examples * encoded.numbers.shape[1] * math.log(model.quantizer.num_codes)
        if self.rate:
            rate = weighted_sum(weight_B, -model.log_prior(params, encoded.numbers, batch, keys[2], True))
            terms.append(Mean(self.rate * rate, counts.dims))
        numbers = {"distortion_nats": distortion, "rate_nats": rate, "quantizer_loss": terms[1].total}
        means = {name: Mean(jax.lax.stop_gradient(total), counts.examples) for name, total in numbers.items()}
        metrics = Metrics(jax.lax.stop_gradient(distortion + rate), *counts, means=means)
        state = aux.state
        if model.quantizer.LEARNS:
            of_codes = jax.lax.stop_gradient(params["quantizer"])
            assigned = model.quantizer.assign(of_codes, encoded.h)
            state = model.quantizer.collect(of_codes, state, assigned, weight_B, keys[3])
        return Loss(tuple(terms), metrics, state)

    def after_step(self, model: TokensModel, params: Params, state: Any) -> tuple[Params, Any]:
        if not model.quantizer.LEARNS:
            return params, state
        of_quantizer, state = model.quantizer.follow(params["quantizer"], state)
        return params | {"quantizer": of_quantizer}, state


@OBJECTIVES.register("token_prior")
@dataclasses.dataclass(frozen=True)
class TokenPrior(Objective[TokensModel]):
    """The loss of another objective for the prior, with the tokens of x as its data. Encoder, quantizer and decoder
    stay as they are in the run that `train.init_from` names.

    The reported numbers are those of the prior: nats of all tokens of an example, and nats per token. `of` is the call
    string of the objective, such as `order_agnostic` for a prior of several orders.
    """

    KIND: ClassVar[str] = "tokens"

    of: str = "teacher_forcing"

    def __post_init__(self):
        refuse((self.inner.companions(), f"the objective 'token_prior' has no other models for {self.of!r} to read"))

    @property
    def inner(self) -> Objective:
        return OBJECTIVES.call(self.of)

    @property
    def traits(self) -> frozenset[str]:  # type: ignore[override]  # a constant in other objectives
        return (self.inner.traits & {"draws"}) | {"of_tokens"}

    def check(self, model: TokensModel) -> None:
        require(model, "tokens", "the objective 'token_prior'")
        try:
            self.inner.check(model.prior)
        except UserError as error:
            raise UserError(f"the prior of the kind 'tokens': {error}") from error
        if model.prior.orders is not None and "needs_orders" not in self.inner.traits:
            remedy = "take token_prior(of='order_agnostic')"
            raise UserError(f"the prior has several orders, of which {self.of} trains one: {remedy}")

    def frozen(self, model: TokensModel) -> tuple[str, ...]:
        return ("encoder", "quantizer", "decoder", FINGERPRINT)

    def start(self, model: TokensModel, params: Params) -> Params:
        """The prior belongs to this tokenizer from now on."""
        return params | {FINGERPRINT: fingerprint(params)}

    def init(self, model: TokensModel, key: jax.Array) -> ObjectiveState:
        return self.inner.init(model.prior, key)

    def optimizer(self) -> optax.GradientTransformation:
        return self.inner.optimizer()

    def report(self, aux: ObjectiveState) -> Any:
        return self.inner.report(aux)

    def loss(self, model: TokensModel, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        tokenizer = jax.lax.stop_gradient({name: value for name, value in params.items() if name != "prior"})
        tokens = model.quantizer.tokens_of(model.encoded(tokenizer, batch).numbers, model.grid)
        of_prior = Batch(tokens, batch.context, weight=weights_of(batch))
        return self.inner.loss(model.prior, params["prior"], aux, of_prior, step)

    def after_step(self, model: TokensModel, params: Params, state: Any) -> tuple[Params, Any]:
        prior, state = self.inner.after_step(model.prior, params["prior"], state)
        return params | {"prior": prior}, state
