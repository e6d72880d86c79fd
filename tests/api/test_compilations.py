"""Calls of public methods compile once: a second one, with another seed and other values, finds all its programs."""

import functools

import jax
import numpy as np
import pytest

from arjax.api.trained_model import Fitted, Settings
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.text import text_windows
from arjax.evaluation.bounds import k_step_scores
from arjax.evaluation.inpainting import completions_of, score_hidden
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import Measures
from arjax.evaluation.splits import Scoring
from arjax.models import ModelChoice, make_model
from arjax.models.base import dummy_batch

TEXT = text_windows("abc", dict.fromkeys(("train", "validation", "test"), "ab ba c abba"), 4, 4)
X = TEXT.splits["test"].__getitems__(np.arange(2)).x
KEYS = jax.random.split(jax.random.key(0), 3)


def trained(**options):
    """Networks with a loop over the sites: outside of a program, `lax.scan` is compiled in each call."""
    model = make_model(TEXT.event, **options)
    return Fitted(model, model.init(KEYS[0]), TEXT, Settings(measures=Measures(batch_size=2)))


@pytest.fixture
def again(programs):
    """A function that makes calls with the seeds 0, 1 and 2, and returns the programs of the last one by name."""

    def count(calls):
        compiled = {}
        for name, call in calls.items():
            for seed in range(3):
                before = programs()
                jax.block_until_ready(call(seed))
            compiled[name] = programs() - before
        return {name: number for name, number in compiled.items() if number}

    return count


def test_of_trained_models_and_of_what_they_consist_of(again):
    run, observed = trained(network="gru", hidden_size=4), np.arange(4) < 2
    (model, params), batch = (run.model, run.params), dummy_batch(run.model, 2)
    calls = {
        "sample": lambda seed: run.sample(2, seed=seed),
        "given": lambda seed: run.sample(2, seed=seed, given=X[seed % 2], observed=observed),
        "stream": lambda seed: list(run.stream(6, seed=seed)),
        "log_prob": lambda seed: run.log_prob((X + seed) % 4),
        "evaluate": lambda seed: run.evaluate(("train", "validation", "test")[seed])["nll_nats"],
        "model.log_prob": lambda seed: model.log_prob(params, (X + seed) % 4),
        "model.conditionals": lambda seed: model.conditionals(params, (X + seed) % 4),
        "init": lambda seed: model.init(KEYS[seed]),
        "model.sample": lambda seed: model.sample(params, KEYS[seed], 2),
        "complete": lambda seed: completions_of(model, params, batch, ~observed, 2, KEYS[seed]).log_prob,
    }
    assert again(calls) == {}


@pytest.mark.slow
def test_of_other_methods_and_functions(again):
    run, other = trained(network="gru", hidden_size=4), trained(network="deep_nade", orders="uniform")
    (model, params), hidden, batch = (run.model, run.params), np.arange(4) > 1, dummy_batch(run.model, 2)
    of_class = trained(network="gru", hidden_size=4, context=ContextSpec("label", 2))
    k_steps = functools.partial(k_step_scores, other.model, other.params, TEXT, "test", steps=2)
    calls = {
        "temperature": lambda seed: run.sample(2, seed=seed, temperature=1 + seed),
        "length": lambda seed: run.sample(2, seed=seed, length=6),
        "conditional_log_prob": lambda seed: run.conditional_log_prob((X + seed) % 4, query=hidden),
        "posterior": lambda seed: of_class.posterior((X + seed) % 4, prior=("uniform", (1, 2), (2, 1))[seed]),
        "conditionals": lambda seed: run.conditionals((X + seed) % 4).probabilities,
        "suggest": lambda seed: run.suggest("abc"[: seed % 2 + 1], num=1, length=1, beams=2).num_dropped,
        "entropy": lambda seed: len(run.plot_entropy("test", 2).axes),
        "score": lambda seed: model.score(params, batch),
        "given": lambda seed: model.conditional_log_prob(params, X, query=hidden, evidence=~hidden),
        "evaluate": lambda seed: Evaluator(model, TEXT, Scoring(2, run.settings.mesh))(params, "test")["nll_nats"],
        "hidden": lambda seed: score_hidden(model, params, TEXT, "test", hidden, ~hidden, Scoring(2))["nll_nats"],
        "k steps": lambda seed: k_steps(scoring=Scoring(2, seed=seed))["k_step_bound_nats"],
        "k steps by entropy": lambda seed: k_steps(scoring=Scoring(2, seed=seed), choose="entropy")["k_step_nll_nats"],
    }
    pytest.importorskip("matplotlib")
    assert again(calls) == {}


@pytest.mark.slow
def test_of_bounds_and_of_entropies_that_are_integrated(again):
    real, bits = EventSpec((2,), (), "real"), EventSpec((2,))
    mixture = make_model(real, "made", hidden_sizes=(4,), conditional="gaussian_mixture(components=2)")
    small = {"width": 4, "num_layers": 1, "num_heads": 1}
    chain = make_model(bits, ModelChoice("discrete_chain", {"num_steps": 2}, "denoising_transformer", small))
    part = ModelChoice(network="independent", network_options={"hidden_sizes": (4,)})
    parts = {"prior": ModelChoice(network="constant"), "likelihood": part, "posterior": part}
    latent = make_model(bits, ModelChoice("latent", {"latents": (1,)}, parts=parts))
    params = [model.init(KEYS[0]) for model in (mixture, chain, latent)]
    batch = dummy_batch(chain, 2)
    calls = {
        "entropy": lambda seed: mixture.conditionals(params[0], np.full((2, 2), float(seed))),
        "bound": lambda seed: chain.bound(params[1], batch, KEYS[seed]).log_prob,
        "estimate": lambda seed: chain.score(params[1], batch, key=KEYS[seed], train=True).log_prob,
        "path": lambda seed: chain.sample(params[1], KEYS[seed], 2),
        "latent": lambda seed: latent.importance_bound(params[2], batch, KEYS[seed], 3),
    }
    assert again(calls) == {}
