"""End tokens: a draw stops when all its examples have ended, and behind each end stands the end token."""

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model
from refusals import refusal

from arjax.api.trained_model import Fitted
from arjax.core.errors import say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.text import ended_strings
from arjax.evaluation.classes import classes_of
from arjax.evaluation.report import kind_of_nats
from arjax.models import ModelChoice, make_model
from arjax.models.mixture import MixtureModel
from arjax.samplers import example_keys
from arjax.testing.examples import random_like
from arjax.training.setup import tell_padding

SIZE, NUM, END = 10, 6, 3
LINE = EventSpec((SIZE,), (), "tokens", 9)
KEYS = example_keys(jax.random.key(5), NUM)


@functools.cache
def small(network: str, ordering: str = "raster"):
    model = make_model(LINE, network, ordering=ordering)
    return model, cases.params_of(model)


def cut(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Examples with the end token at all sites behind the first one, and how many sites each has up to it."""
    length_B = np.array([([*row, END].index(END) + 1) for row in x.tolist()]).clip(max=x.shape[1])
    return np.where(np.arange(x.shape[1]) < length_B[:, None], x, END), length_B


RANDOM = "random(seed=3)"
#: In the order of the sites the cached sampler stands for all, and windows stand for passes.
FAST = [("naive", RANDOM), ("cached", "raster"), ("cached", RANDOM), ("fixed_point(window=4)", RANDOM)]
DRAWS = itertools.product(["naive", "cached", "fixed_point", "fixed_point(window=4)"], ["raster", RANDOM])


@pytest.mark.parametrize(
    ("sampler", "ordering"), [pytest.param(*each, marks=[pytest.mark.slow] * (each not in FAST)) for each in DRAWS]
)
def test_values_up_to_the_end_are_those_without_it(sampler, ordering):
    model, params = small("made", ordering)
    drawn = np.asarray(model.draw(params, KEYS).x)
    expected, length_B = cut(drawn)
    assert length_B.min() < length_B.max()  # they end at different sites
    found = model.draw(params, KEYS, sampler=sampler, end=END)
    np.testing.assert_array_equal(found.x, expected)
    step_D = np.asarray(model.factorization.step)
    steps_B = np.array([step_D[:length].max() + 1 for length in length_B])  # until all sites before the end are drawn
    np.testing.assert_array_equal(found.stats["steps"], steps_B)
    if sampler == "cached":  # alone: the one that draws an end token longest before all sites before it
        first_B = np.where(drawn == END, step_D, SIZE).min(1) + 1
        alone = np.argmax(steps_B - first_B)[None]
        assert ordering == "raster" or first_B[alone] < steps_B[alone]
        found = model.draw(params, KEYS[alone], end=END)
        np.testing.assert_array_equal(found.x, expected[alone])
        np.testing.assert_array_equal(found.stats["network_calls"], steps_B[alone])


def test_cached_stops_when_all_examples_have_ended():
    model, params = small("gru")
    _, length_B = cut(np.asarray(model.draw(params, KEYS).x))
    rows = np.argsort(length_B)[:3]
    calls = model.draw(params, KEYS[rows], end=END).stats["network_calls"]
    assert calls.tolist() == [length_B[rows[-1]]] * 3 and length_B[rows[-1]] < SIZE
    assert model.draw(params, KEYS[rows]).stats["network_calls"].tolist() == [SIZE] * 3
    given = np.array([1, END, 0, 2, 0, 0, 0, 0, 0, 0])  # observed sites stay, and may be the end
    request = {"given": given, "observed": np.arange(SIZE) < 4, "end": END}
    found = model.draw(params, KEYS, **request)
    np.testing.assert_array_equal(found.x, [[1, END, 0, 2] + [END] * (SIZE - 4)] * NUM)
    assert found.stats["steps"].tolist() == [0] * NUM
    np.testing.assert_array_equal(model.draw(params, KEYS, sampler="naive", **request).x, found.x)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["cached", "naive"])
def test_a_carry_that_goes_on_stops_too(sampler):
    model, params = small("gru")
    expected, length_B = cut(np.asarray(model.draw(params, KEYS, length=50).x))
    assert SIZE < length_B.max() < 50
    found = model.draw(params, KEYS, length=50, end=END, sampler=sampler)
    np.testing.assert_array_equal(found.x, expected)
    assert found.stats["steps"].tolist() == length_B.tolist()
    assert found.stats["network_calls"][0] == 32 or sampler == "naive"  # one piece


def test_a_window_may_end_before_its_last_site():
    model, params = small("made")
    expected, _ = cut(np.asarray(model.draw(params, KEYS).x[:, :8]))
    np.testing.assert_array_equal(model.draw(params, KEYS, length=8, end=END).x, expected)


@pytest.mark.slow
def test_the_best_is_that_up_to_its_end():
    model, params = small("made")
    found = model.draw(params, KEYS, sampler="best(of=3)", end=END)
    _, length_B = cut(np.asarray(found.x))
    per_site = np.asarray(of_model(model, "log_prob_per_site", params, found.x))
    expected = np.where(np.arange(SIZE) < length_B[:, None], per_site, 0).sum(1)
    np.testing.assert_allclose(found.stats["log_prob"], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_model_of_strings_knows_their_end():
    """Its data set names the token; a GRU goes on to strings longer than all it has seen."""
    texts = {split: ["ab", "cabd", "eff"] for split in ("train", "validation", "test")}
    dataset = ended_strings("names", texts)
    model = make_model(dataset.event, "gru", hidden_size=8)
    run = Fitted(model, cases.params_of(model), dataset)
    end = dataset.vocabulary.end
    for x in (run.sample(20), run.sample(20, length=30)):
        behind = np.cumsum(x == end, axis=1) > 0
        assert (x[behind] == end).all() and len(set(behind.sum(1).tolist())) > 2
    text = "".join(run.stream(30, prompt="cab"))
    assert text.startswith("cab") and text == dataset.decode(run.sample(prompt="cab", length=30)[0])


def whole_examples(last: int):
    """A mixture of kinds of models whose draws are always whole, over sequences of tokens up to `last`."""
    small, codes = {"hidden_sizes": (8,)}, {"quantizer": "fsq(levels=(3, 2))", "grid": (1, 2)}
    made, read = (ModelChoice(network=name, network_options=small) for name in ("made", "independent"))
    of_blocks = {"width": 8, "num_layers": 1, "num_heads": 2}
    parts = {
        "stages": ModelChoice("cascade", {"stages": "subsampled"}, parts={"1": made, "2": made}),
        "blocks": ModelChoice("block_diffusion", {"partition": "blocks(size=2)"}, "block_transformer", of_blocks),
        "codes": ModelChoice("tokens", codes, parts={"encoder": read, "decoder": read, "prior": made}),
    }
    model = make_model(EventSpec((6,), (), "tokens", last + 1), kind="mixture", parts=parts)
    return model, random_like(model.param_shapes)


@pytest.mark.slow
def test_kinds_that_draw_whole_examples_have_ends_too():
    """Their draws are cut behind the first end, not the draws of their parts, which earlier and later sites depend on;
    observed sites stay.
    """
    model, params = whole_examples(END)
    keys = example_keys(jax.random.key(5), 64)
    whole, found = model.draw(params, keys), model.draw(params, keys, end=END)
    expected, length_B = cut(np.asarray(whole.x))
    np.testing.assert_array_equal(found.x, expected)
    changed_B = (expected != np.asarray(whole.x)).any(1)
    assert set(np.asarray(found.stats["member"])[changed_B].tolist()) == {0, 1, 2} and length_B.max() == 6
    cascade, of_cascade = model.members[0], params["0"]
    given = np.array([0, 0, END, 0, 2, 0])
    known = {"given": given, "observed": np.arange(6) % 2 == 0}
    whole, found = (np.asarray(cascade.draw(of_cascade, keys, **known, **end).x) for end in ({}, {"end": END}))
    np.testing.assert_array_equal(found[:, :3], cut(whole)[0][:, :3])
    assert (found[:, 3:] == [END, 2, END]).all() and (whole[:, 3:] != [END, 2, END]).any()


def test_mistakes_are_one_sentence():
    model, params = small("made")
    assert "the end of an example is a token from 0 to 8, not -1" in refusal(model.draw, params, KEYS, end=-1)
    image = make_model(EventSpec((2, 2)), "made")
    chain = make_model(EventSpec((2, 2)), "denoising_transformer", kind="discrete_chain", num_steps=2)
    for model in (image, chain):
        refused = refusal(model.draw, random_like(model.param_shapes), KEYS, end=1)
        assert "sequences of tokens have an end, and examples here are 2 x 2" in refused


def test_scores_of_strings_are_exact_in_sequence_alone(capsys):
    """Other orders visit padding before the string, and a score takes it as given: one line says so."""
    dataset = ended_strings("names", {split: ["ab", "cabd", "eff"] for split in ("train", "validation", "test")})
    made = {"hidden_sizes": (8,)}
    raster, turned = (make_model(dataset.event, "made", ordering=order, **made) for order in ("raster", "reversed"))
    every = make_model(dataset.event, "deep_nade", orders="uniform", **made)
    mixed = [MixtureModel((raster, other)) for other in (raster, turned)]
    of_blocks = {"kind": "block_diffusion", "width": 8, "partition": "sizes(sizes=(2, 3))"}
    blocks = [make_model(dataset.event, "block_transformer", ordering=o, **of_blocks) for o in ("raster", "reversed")]
    models = [raster, turned, every, *mixed, *blocks]
    found = [kind_of_nats(model, end=dataset.end) for model in models]
    assert found == ["exact", "estimate", "estimate", "exact", "estimate", "bound", "estimate"]
    assert [kind_of_nats(model) for model in models] == ["exact"] * 5 + ["bound"] * 2  # of data without ends
    say_once.cache_clear()
    for model, said in ((raster, False), (turned, True)):
        tell_padding(model, dataset)
        assert ("take the padding as given" in capsys.readouterr().err) == said


INSIDE = [
    ("reversed", "", "sites", False),
    ("raster", "", "sizes(sizes=(2, 1))", True),
    ("raster", "nested(network='made', hidden_sizes=(4,))", "sizes(sizes=(2, 1))", True),
    ("raster", "nested(network='made', hidden_sizes=(4,), ordering='reversed')", "sizes(sizes=(2, 1))", False),
    pytest.param("raster", "mixture_of_products(components=2)", "sizes(sizes=(2, 1))", True, marks=pytest.mark.slow),
    ("reversed", "mixture_of_products(components=2)", "sizes(sizes=(3,))", False),
]


@pytest.mark.parametrize(("ordering", "conditional", "partition", "is_exact"), INSIDE)
def test_the_probabilities_of_all_strings_add_up_to_one_where_they_are_exact(
    ordering, conditional, partition, is_exact
):
    """Also where it is the order inside of a step that visits padding first."""
    model = make_model(
        EventSpec((3,), (), "tokens", 3), "made", ordering=ordering, conditional=conditional, partition=partition
    )
    x = np.array(list(itertools.product(range(3), repeat=3)), np.int32)
    mask = np.arange(3) < np.array([([*row, 2].index(2) + 1) for row in x.tolist()])[:, None]
    _, strings = np.unique(np.where(mask, x, 2), axis=0, return_index=True)
    x, mask = np.where(mask, x, 2)[strings], mask[strings]
    total = np.exp(model.log_prob(cases.params_of(model), x, mask=mask)).sum()
    assert (abs(total - 1) < 1e-4) == is_exact, total
    assert kind_of_nats(model, end=2) == ("exact" if is_exact else "estimate")


def test_posteriors_of_strings_are_as_exact_as_their_scores(capsys):
    """p(padding | class) is not known where padding is visited first."""
    for ordering, said in (("raster", False), ("reversed", True)):
        say_once.cache_clear()
        model = make_model(LINE, "made", ordering=ordering, context=ContextSpec("label", 2))
        classes_of(model, "`posterior`", end=END)
        assert ("p(class | x) is an estimate" in capsys.readouterr().err) == said
