"""Samples and suggestions: a mesh draws what one device draws, and suggestions have the probabilities of the model."""

import itertools
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from compiled import of_model
from loop_helpers import ROOT, finish, run_python
from mesh_samples import more_samples, samples, samples_of_all
from refusals import refusal

from arjax.api.trained_model import Fitted, Settings
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import make_dataset
from arjax.data.base import Dataset
from arjax.data.text import ended_strings, text_windows
from arjax.evaluation import sampling
from arjax.evaluation.report import Measures
from arjax.evaluation.sampling import draw_on_mesh, prompt_tokens
from arjax.evaluation.suggestions import suggest
from arjax.models import make_model
from arjax.parallel.sharding import BATCH_AXES, make_mesh
from arjax.samplers import example_keys
from arjax.testing.examples import random_like

LAWS = Path(__file__).resolve().parents[1] / "laws"


def draws_of_one_and_of_eight_devices(draws):
    """What a function of `mesh_samples` draws here, and in a process of 8 devices."""
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(LAWS)]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = run_python(f"import mesh_samples; mesh_samples.main(mesh_samples.{draws.__name__})", 8, **environment)
    alone = draws(1, 1, 1)
    return alone, json.loads(finish(program, timeout=900).split("found ", 1)[1])


def test_a_mesh_that_does_not_divide_the_examples_draws_the_last_one_again(monkeypatch):
    monkeypatch.setattr(sampling, "_split_over", lambda mesh: lambda tree: tree)
    model = make_model(EventSpec((4,)), "made", context=ContextSpec("label", 3), hidden_sizes=(8,))
    mesh, labels = SimpleNamespace(shape=dict.fromkeys(BATCH_AXES, 2)), {"context": np.array([2, 0, 1])}
    given, observed = np.eye(4, dtype=np.int32)[:3], np.array([True, False, False, False])
    values = {"given": given, "observed": observed} | labels
    keys, _, request, _ = sampling._spread(
        model, random_like(model.param_shapes), jax.random.key(0), 3, mesh, "cached", values
    )
    expected = example_keys(jax.random.key(0), 3)[np.array([0, 1, 2, 2])]
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(expected))
    np.testing.assert_array_equal(request.given[:, 0], [1, 0, 0, 0])
    (context,) = request.context.values()
    np.testing.assert_array_equal(context, [2, 0, 1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("draws", [samples, more_samples])
def test_eight_devices_draw_what_one_draws(draws):
    alone, found = draws_of_one_and_of_eight_devices(draws)
    for network, x in alone.items():
        np.testing.assert_allclose(found[network], x, rtol=1e-4, atol=1e-5, err_msg=network)
        assert len(np.unique(np.reshape(x, (len(x), -1)), axis=0)) > 2


@pytest.mark.slow
def test_every_sampler_draws_the_same_on_eight_devices():
    alone, found = draws_of_one_and_of_eight_devices(samples_of_all)
    assert found == alone and len({str(x) for x in alone.values()}) > 4


@pytest.mark.slow
def test_given_values_and_contexts_are_those_of_each_example():
    mesh, event = make_mesh(), EventSpec((2, 2), (), "tokens", 3)
    model = make_model(event, "made", context=ContextSpec("label", 3), hidden_sizes=(8,))
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)
    given, observed = np.arange(12).reshape(3, 2, 2) % 3, np.array([[1, 1], [0, 0]], bool)
    for options in ({"context": 1}, {"context": np.arange(3)}, {"context": 2, "given": given[0], "observed": observed}):
        x, _ = draw_on_mesh(model, params, key, 3, mesh, **options)
        np.testing.assert_array_equal(x, model.sample(params, key, 3, **options))
    x, _ = draw_on_mesh(model, params, key, 3, mesh, context=0, given=given, observed=observed, sampler="naive")
    np.testing.assert_array_equal(x[:, 0], given[:, 0])
    assert "the number of samples must be a whole" in refusal(draw_on_mesh, model, params, key, 0, mesh, context=0)


TEXT = text_windows("abc", dict.fromkeys(("train", "validation", "test"), "ab ba c abba"), 8, 8)
STRINGS = ended_strings("abc", {split: ["ab", "c a"] for split in ("train", "validation", "test")}, 4)


def made(dataset: Dataset, **options):
    """A model with parameters large enough to make some continuations more probable than others."""
    model = make_model(dataset.event, "made", hidden_sizes=(8,), **options)
    return model, jax.jit(lambda key: jax.tree.map(lambda leaf: 4 * leaf, model.init(key)))(jax.random.key(1))


def enumerated(model, params, dataset: Dataset, prompt: str, length: int) -> dict[str, float]:
    """log p of every continuation that ends by itself or has that length, by the definition."""
    vocabulary, start = dataset.vocabulary, len(prompt)
    texts = {}
    for tokens in itertools.product(range(len(vocabulary)), repeat=length):
        symbols = [vocabulary.symbols[token] for token in tokens]
        words = ["".join(symbols[:n]).lstrip() for n in range(1, length + 1)]
        stops = [n for n, word in enumerate(words, 1) if word.endswith("<end>") or (len(word) > 1 and word[-1] == " ")]
        n = min(stops, default=length)
        texts["".join(symbols[:n])] = tokens[:n]
    x = np.zeros((len(texts), dataset.event.num_sites), np.int32)
    x[:, :start] = vocabulary.encode(prompt)
    site = np.arange(x.shape[1])
    mask = np.zeros(x.shape, bool)
    for row, tokens in enumerate(texts.values()):
        x[row, start : start + len(tokens)] = tokens
        mask[row] = (site >= start) & (site < start + len(tokens))
    log_p = np.asarray(of_model(model, "log_prob", params, x, mask=mask))
    return dict(zip(texts, map(float, log_p), strict=True))


@pytest.mark.parametrize(
    ("dataset", "prompt"),
    [(TEXT, "ab"), *(pytest.param(STRINGS, prompt, marks=pytest.mark.slow) for prompt in ("c", ""))],
)
def test_probabilities_are_exact_and_the_search_finds_the_best(dataset, prompt):
    model, params = made(dataset)
    expected = enumerated(model, params, dataset, prompt, length=3)
    np.testing.assert_allclose(sum(map(math.exp, expected.values())), 1, rtol=1e-5)
    found = suggest(model, params, dataset, prompt, num=6, length=3, beams=40)
    assert (found.prompt, found.num_dropped) == (prompt, 0)
    best = sorted(expected, key=expected.get, reverse=True)[:6]
    assert [each.text for each in found.continuations] == best
    for each in found.continuations:
        np.testing.assert_allclose(each.log_prob, expected[each.text], rtol=1e-4)
        assert each.complete == (each.text.endswith("<end>") or (each.text[-1] == " " and each.text.strip() != ""))
    whole = suggest(model, params, dataset, prompt, num=9, length=1, beams=1)
    assert sorted(each.text for each in whole.next) == sorted(dataset.vocabulary.symbols)
    np.testing.assert_allclose(sum(each.probability for each in whole.next), 1, rtol=1e-5)
    assert whole.next[0].text in str(whole) and f"{whole.next[0].probability:.4f}" in str(whole)
    narrow = suggest(model, params, dataset, prompt, num=2, length=3, beams=1)
    assert all(each.log_prob <= expected[best[0]] + 1e-5 for each in narrow.continuations)


@pytest.mark.slow
def test_an_order_that_visits_the_prompt_first_is_taken_and_others_are_refused():
    model, params = made(TEXT, orders="uniform")
    found = suggest(model, params, TEXT, "ab", num=1, length=1)
    query, evidence = np.arange(8) == 2, np.arange(8) < 2
    x = np.zeros((1, 8), np.int32)
    x[0, :3] = TEXT.encode("ab" + found.next[0].text)
    score = jax.jit(lambda p: model.conditional_log_prob(p, x, query=query, evidence=evidence))
    log_p = score(params)
    np.testing.assert_allclose(found.next[0].log_prob, float(log_p[0]), rtol=1e-4)
    model, params = made(TEXT, ordering="reversed")
    assert "use an ordering that visits the observed sites first" in refusal(suggest, model, params, TEXT, "ab")


@pytest.mark.slow
def test_a_long_prompt_is_read_from_its_end():
    model, params = made(TEXT)
    whole, end = (suggest(model, params, TEXT, prompt, length=3) for prompt in ("cab ab ba", "ab ba"))
    assert (whole.prompt, whole.num_dropped) == ("ab ba", 4)
    assert (whole.next, whole.continuations) == (end.next, end.continuations)
    assert "the prompt has 5 characters, but no string of 'abc'" in refusal(suggest, *made(STRINGS), STRINGS, "abcab")


def test_what_cannot_be_suggested_is_told():
    model, params = made(TEXT)
    assert "the prompt has the character 'z', for which 'abc' has no" in refusal(suggest, model, params, TEXT, "az")
    assert "num must be at least 1, not 0" in refusal(suggest, model, params, TEXT, "a", num=0)
    assert "examples of 'digits' are no text" in refusal(suggest, model, params, make_dataset("digits"), "a")
    blocks = made(TEXT, partition="blocks(size=2)", conditional="mixture_of_products(components=2)")
    assert "need a list of the probabilities of single characters" in refusal(suggest, *blocks, TEXT, "ab")


@pytest.mark.slow
def test_suggestions_under_a_context():
    event = EventSpec((8,), kind="tokens", num_levels=TEXT.event.num_levels)
    model = make_model(event, "made", context=ContextSpec("label", 3), hidden_sizes=(8,))
    params = jax.jit(lambda key: jax.tree.map(lambda leaf: 4 * leaf + 0.1, model.init(key)))(jax.random.key(0))
    found = [suggest(model, params, TEXT, "ab", length=1, beams=2, context=label).next for label in (0, 2)]
    assert found[0] != found[1]
    assert "needs a label context" in refusal(suggest, model, params, TEXT, "ab")


@pytest.mark.slow
def test_a_trained_model_takes_prompts():
    model, params = made(TEXT)
    trained = Fitted(model, params, TEXT, Settings(measures=Measures(batch_size=2)))
    assert trained.suggest("ab", num=2, length=2) == suggest(model, params, TEXT, "ab", num=2, length=2)
    drawn = trained.sample(3, prompt="ab")
    np.testing.assert_array_equal(drawn, trained.sample(3, given=prompt_tokens(TEXT, "ab")))
    assert all(TEXT.decode(x).startswith("ab") for x in drawn)
    assert "leave `given` and `observed` out" in refusal(trained.sample, 3, prompt="ab", given=drawn[0])
