"""Objectives of tokenizers: what they refuse, and what of them is that of another objective."""

import types

import jax
import jax.numpy as jnp
import pytest
from refusals import refusal

from arjax.models.tokens import FINGERPRINT
from arjax.objectives import OBJECTIVES, ObjectiveState, make_objective

DISCRETE, PLAIN = frozenset({"discrete_latents"}), frozenset()


def part(traits=PLAIN, orders=None):
    return types.SimpleNamespace(traits=traits, orders=orders, named_parts={}, score_kind="exact")


def model_of(decoder=None, prior=None, learns=False):
    parts = {"decoder": decoder or part(), "prior": prior or part()}
    quantizer = types.SimpleNamespace(LEARNS=learns, init_state=lambda key: {"n": key})
    return types.SimpleNamespace(traits=frozenset({"tokens"}), named_parts=parts, quantizer=quantizer, **parts)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_tokenizer_trains_no_discrete_latents_and_one_order(rate):
    objective = make_objective(f"tokenizer(rate={rate})")
    objective.check(model_of())
    sentence = "the {} of the kind 'tokens' draws discrete latents, and the objective 'tokenizer' has no gradient"
    assert sentence.format("decoder") in refusal(objective.check, model_of(decoder=part(DISCRETE)))
    said = refusal(objective.check, model_of(prior=part(DISCRETE)))
    assert (sentence.format("prior") in said) == bool(rate) == bool(said)
    said = refusal(objective.check, model_of(prior=part(orders="several")))
    assert ("would train one of the orders of the prior: leave its rate at 0" in said) == bool(rate) == bool(said)


def test_codes_that_are_not_learned_have_no_state():
    objective, key, params = make_objective("tokenizer"), jax.random.key(0), {"quantizer": 1}
    assert objective.init(model_of(), key) == ObjectiveState()
    assert objective.init(model_of(learns=True), key).state == {"n": key}
    assert objective.after_step(model_of(), params, "state") == (params, "state")
    learns = model_of(learns=True)
    learns.quantizer.follow = lambda codes, state: (codes + 1, state + 2)
    assert objective.after_step(learns, {"quantizer": 1, "prior": 5}, 3) == ({"quantizer": 2, "prior": 5}, 5)
    started = objective.start(None, {FINGERPRINT: jnp.ones(8), "prior": 5})
    assert started["prior"] == 5 and started[FINGERPRINT].tolist() == [0] * 8


def test_a_prior_is_trained_by_another_objective(monkeypatch):
    asked = []

    class Inner:
        traits = frozenset({"draws", "holes"})

        def companions(self):
            return {}

        def check(self, prior):
            asked.append(prior)

        def init(self, prior, key):
            return "state of", prior, key

        def optimizer(self):
            return "optimizer"

        def report(self, aux):
            return {"report of": aux}

        def after_step(self, prior, params, state):
            return params + 1, (prior, state)

    monkeypatch.setattr(OBJECTIVES, "call", lambda text: Inner())
    objective, prior, key = OBJECTIVES.get("token_prior")("any"), part(), "key"
    model = model_of(prior=prior)
    objective.check(model)
    assert asked == [prior] and objective.traits == {"draws", "of_tokens"}
    assert objective.init(model, key) == ("state of", prior, key)
    assert (objective.optimizer(), objective.report("aux")) == ("optimizer", {"report of": "aux"})
    params, state = objective.after_step(model, {"prior": 1, "encoder": 5}, "before")
    assert params == {"prior": 2, "encoder": 5} and state == (prior, "before")
    assert objective.frozen(model) == ("encoder", "quantizer", "decoder", FINGERPRINT)


def test_an_objective_of_one_order_trains_no_prior_of_several():
    several = model_of(prior=part(frozenset({"conditionals"}), orders="several"))
    remedy = "the prior has several orders, of which teacher_forcing trains one: take token_prior(of='order_agnostic')"
    assert refusal(make_objective("token_prior").check, several) == remedy
    make_objective("token_prior").check(model_of())
    said = refusal(make_objective("token_prior(of='order_agnostic')").check, model_of(prior=part()))
    assert said.startswith("the prior of the kind 'tokens': the objective 'order_agnostic' needs")
    sentence = "the objective 'token_prior' has no other models for \"rollout(target='oracle')\" to read"
    assert refusal(make_objective, "token_prior(of=\"rollout(target='oracle')\")") == sentence
