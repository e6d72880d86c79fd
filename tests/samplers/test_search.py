"""Samplers that look for probable sequences: greedy, beam search, and the best of several draws."""

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from choice import each_network
from compiled import of_family, of_model
from refusals import each_refused

from arjax.core.errors import say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.samplers import Request, make_sampler
from arjax.samplers.base import Steps
from arjax.samplers.beam import BeamSearch
from arjax.samplers.best import _log_prob

EVENT = EventSpec((5,), (), "tokens", 3)
KEYS = jax.random.split(jax.random.key(0), 4)


@functools.cache
def build(network: str, context: ContextSpec | None = None):
    model = cases.supported_model(network, EVENT, "random(seed=1)", "sites", **{"context": context} if context else {})
    return model, cases.params_of(model)


@pytest.mark.parametrize(
    "network", ["lstm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("made", "transformer"))]
)
def test_a_beam_of_all_beginnings_finds_the_most_probable_sequence(network):
    model, params = build(network)
    values = cases.all_values(EVENT)
    log_prob = cases.log_prob(model, values)
    found = model.draw(params, KEYS, sampler="beam(width=81)")
    np.testing.assert_array_equal(found.x, np.repeat(values[[log_prob.argmax()]], 4, 0))
    np.testing.assert_allclose(found.stats["log_prob"], log_prob.max(), rtol=1e-5)
    assert found.stats["network_calls"].tolist() == found.stats["steps"].tolist() == [5] * 4


@each_network([], [()], takes=lambda network: False)
def test_the_beams_of_every_network_have_the_carries_of_their_own_past(network):
    """A carry of another beam would give another likelihood."""
    model = cases.supported_model(network, EventSpec((3, 2), (), "tokens", 5), "random(seed=1)", "sites")
    if model.factorization.block_size == 1:
        params = cases.params_of(model)
        found = model.draw(params, KEYS[:2], sampler="beam(width=6)")
        np.testing.assert_allclose(found.stats["log_prob"], of_model(model, "log_prob", params, found.x), rtol=1e-4)


@pytest.mark.slow
def test_a_beam_of_one_is_greedy_and_wider_ones_find_more():
    model, params = build("made")
    greedy, *found = [model.draw(params, KEYS, sampler=f"{name}") for name in ("greedy", "beam(width=1)", "beam")]
    np.testing.assert_array_equal(greedy.x, found[0].x)
    for each in found:
        np.testing.assert_allclose(each.stats["log_prob"], of_model(model, "log_prob", params, each.x), rtol=1e-5)
    assert (found[1].stats["log_prob"] > found[0].stats["log_prob"] + 0.1).all()


@pytest.mark.slow
def test_each_example_has_a_beginning_and_a_context_of_its_own():
    model, params = build("lstm", ContextSpec("label", 3))
    given, labels = cases.random_x(EVENT, 4), np.array([0, 1, 2, 2])
    observed = np.asarray(model.factorization.step) < 2
    options = {"given": given, "observed": observed, "context": labels}
    found = model.draw(params, KEYS, sampler="beam(width=9)", **options)
    values = cases.all_values(EVENT)
    conditional = jax.jit(functools.partial(model.conditional_log_prob, query=~observed, evidence=observed))
    for b in range(4):
        own = values[(values[:, observed] == given[b, observed]).all(1)]
        x = np.concatenate([own, values[: 27 * 3]])[:27]  # one shape for one program
        log_prob = conditional(params, x, context=labels[b].repeat(27))
        np.testing.assert_array_equal(found.x[b], x[np.argmax(log_prob)])
        np.testing.assert_allclose(found.stats["log_prob"][b], np.max(log_prob), rtol=1e-4)
    assert found.stats["steps"].tolist() == [3] * 4


def beam(event, request=None, **options):
    model = make_model(event, "made", hidden_sizes=(4,), **options)
    return model.draw(cases.params_of(model), KEYS, sampler="beam", **request or {})


test_mistakes_are_told = each_refused(
    (lambda: beam(EventSpec((4,), (2,))), "beam search needs steps of one scalar value, not values that are vectors$"),
    (lambda: beam(EventSpec((4,)), partition="blocks(size=2)"), "beam search needs .* not steps of 2 sites$"),
    (lambda: beam(EventSpec((4,), (), "real", 0)), "needs the probabilities of all values, which this .* lacks$"),
    (lambda: beam(EVENT, {"min_p": 0.1}), "beam search looks among .*: leave top_k, top_p and min_p out$"),
    (lambda: make_sampler("best(sampler='cashed')"), "unknown sampler 'cashed', did you mean 'cached'"),
    (lambda: make_sampler("best(source=3)"), "sampler 'best' has no option 'source'"),
)
#: Of each kind of conditional one: independent, of real values, mixed, joint in a step, nested in a value.
GREEDY = {
    "tokens": (EventSpec((2, 3), (), "tokens", 4), {"partition": "sizes(sizes=(1, 3, 2))"}),
    "real": (EventSpec((4,), (), "real", 0), {"conditional": "gaussian"}),
    "columns": (cases.EVENTS["columns"], {}),
    "joint": (EventSpec((4,), (2,)), {"conditional": "mixture_of_products(components=3)"}),
    "nested": (EventSpec((3,), (4,)), {"conditional": "nested(network='nade', hidden_size=6, features=4)"}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("real", "nested", "joint"))) for n in GREEDY]
)
def test_greedy_takes_the_mode_of_each_site(name):
    event, options = GREEDY[name]
    model = cases.small_model("made", event, **{"ordering": "random(seed=1)", "partition": "sites"} | options)
    params = cases.params_of(model)
    x = model.draw(params, KEYS, sampler="greedy").x
    features = of_model(model, "features", params, x)
    np.testing.assert_allclose(x, of_family(model.head(params), "mode", features), rtol=1e-5, atol=1e-5)
    assert (np.asarray(x) == np.asarray(x)[:1]).all()
    if event.is_discrete and name != "joint":  # one value is left of each scalar
        np.testing.assert_array_equal(x, model.draw(params, KEYS, sampler="cached", top_k=1).x)
        np.testing.assert_array_equal(x, model.draw(params, KEYS, sampler="greedy", top_k=2, temperature=3.0).x)


@pytest.mark.slow
def test_the_best_of_one_is_a_draw_and_of_more_the_most_probable():
    model, params = build("lstm")
    drawn = model.draw(params, KEYS, sampler="cached")
    found = {n: model.draw(params, KEYS, sampler=f"best(of={n})") for n in (1, 16)}
    np.testing.assert_array_equal(found[1].x, drawn.x)
    log_prob = {n: np.asarray(each.stats["log_prob"]) for n, each in found.items()}
    for n, each in found.items():
        np.testing.assert_allclose(log_prob[n], of_model(model, "log_prob", params, each.x), rtol=1e-5)
    assert (log_prob[1] <= log_prob[16]).all()  # the draw of one is the first of more
    assert (log_prob[1] < log_prob[16]).any()
    assert found[16].stats["network_calls"].tolist() == [6] * 4
    again = model.draw(params, KEYS, sampler="best(of=16, sampler='naive')")
    np.testing.assert_array_equal(again.x, found[16].x)


def test_the_best_is_that_of_the_model_given_what_is_observed():
    """Whatever it is drawn with: here the likelihood is that of the values that are not observed, untruncated."""
    event = EventSpec((3,), (4,))
    model = cases.small_model("made", event, conditional="nested(network='nade', hidden_size=6, features=4)")
    params, observed = cases.params_of(model), np.array([True, False, False])
    given = cases.random_x(event, 4)
    options = {"given": given, "observed": observed, "top_k": 1}
    found = model.draw(params, KEYS, sampler="best(of=3)", **options)
    conditional = jax.jit(functools.partial(model.conditional_log_prob, query=~observed, evidence=observed))
    expected = conditional(params, found.x)
    np.testing.assert_allclose(found.stats["log_prob"], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.x, model.draw(params, KEYS, sampler="greedy", given=given, observed=observed).x)


def test_the_best_is_chosen_by_the_steps_that_are_requested():
    model, params = build("lstm")
    x, rank = cases.random_x(EVENT, 4), np.asarray(model.factorization.rank)
    found = jax.jit(lambda stop: _log_prob(model, params, x, Steps(model, params, KEYS, Request(stop=stop)), None))
    for stop in (2, 5):
        expected = of_model(model, "log_prob", params, x, mask=np.broadcast_to(rank < stop, x.shape))
        np.testing.assert_allclose(found(stop), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("ordering", "penalty"), [("raster", 3.0), pytest.param("reversed", 0.0, marks=pytest.mark.slow)]
)
def test_with_an_end_token_sequences_end_and_are_scored_up_to_it(ordering, penalty, capsys):
    """Against all strings of five tokens by the definition; in the reversed order none has ended before the last."""
    event, end = EventSpec((5,), (), "tokens", 3), 2
    model = cases.small_model("made", event, ordering, "sites")
    values, whole = cases.all_values(event), 0
    say_once.cache_clear()
    is_end = values == end
    length = np.where(is_end.any(1), is_end.argmax(1) + 1, 5)
    mask = (np.arange(5) < length[:, None]) | (ordering == "reversed")
    for seed in (2, 3, 4):
        params = cases.random_like(model.param_shapes, seed=seed)
        log_prob = np.asarray(of_model(model, "log_prob", params, values, mask=mask))
        found = model.draw(params, KEYS, sampler=f"beam(width=81, length_penalty={penalty})", end=end)
        score = log_prob / ((5 + mask.sum(1)) / 6) ** penalty
        best = score.argmax()
        expected = np.where(np.arange(5) < length[best], values[best], end)
        np.testing.assert_array_equal(found.x, np.tile(expected, (4, 1)))
        np.testing.assert_allclose(found.stats["log_prob"], log_prob[best], rtol=1e-5)
        assert found.stats["steps"].tolist() == [length[best] if ordering == "raster" else 5] * 4
        # one that never ends, and that wins by its length alone
        whole += not is_end[best].any() and log_prob[best] < score[is_end.any(1)].max()
    assert whole or not penalty
    assert "has no effect" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("call", ["beam", "best(of=3)", "greedy"])
def test_a_beginning_that_has_ended_is_not_continued(call):
    model = cases.small_model("made", EventSpec((5,), (), "tokens", 3), "raster", "sites")
    given = np.array([[0, 1, 0, 0, 0], [0, 2, 0, 0, 0]])
    options = {"given": given, "observed": np.arange(5) < 2, "end": 2}
    found = model.draw(cases.params_of(model), KEYS[:2], sampler=call, **options)
    assert found.x[1].tolist() == [0, 2, 2, 2, 2] and found.stats["steps"][1] == 0
    assert "log_prob" not in found.stats or (found.stats["log_prob"][1] == 0 > found.stats["log_prob"][0])


START, LENGTH, SYMBOLS, TABLES = 2, 5, 3, 40


def strings() -> list[tuple[int, ...]]:
    """All strings of the symbols 1 and 2 that end with 0 or at the full length."""
    going, found = [()], []
    for _ in range(LENGTH):
        longer = [(*string, symbol) for string in going for symbol in range(SYMBOLS)]
        found += [string for string in longer if string[-1] == 0]
        going = [string for string in longer if string[-1] != 0]
    return found + going


@pytest.mark.parametrize("penalty", [0.6, *(pytest.param(p, marks=pytest.mark.slow) for p in (0.0, 3.0))])
def test_strings_that_end_stay_in_the_competition(penalty):
    """Against all strings by the definition: log p and the score of the best three, for many tables at once."""
    tables = np.random.default_rng(0).normal(size=(TABLES, LENGTH, SYMBOLS, SYMBOLS)) * 1.5  # given the last symbol
    tables = np.asarray(jax.nn.log_softmax(jnp.asarray(tables, jnp.float32)))

    @jax.jit
    def found(tables):
        def advance(carry, x_BWD, t):
            return carry, jax.vmap(lambda table, last_W: table[t - START][last_W])(tables, x_BWD[..., t - 1])

        completes = lambda x_D, t: jnp.arange(SYMBOLS) == 0  # noqa: E731
        stop = START + LENGTH
        search = BeamSearch(advance, jnp.arange(stop), START, stop, completes, 3, penalty)
        state = search((), jnp.zeros((1, stop), jnp.int32), 32)
        return state._replace(going=state.going._replace(score=search.score(state.going.log_prob, stop)))

    stopped = []
    for table in tables:  # one by one: the search of a batch goes on until all are found
        state = found(table[None])
        log_prob = {
            string: sum(table[t, last, now] for t, (last, now) in enumerate(zip((0, *string), string, strict=False)))
            for string in strings()
        }
        score = {string: log_prob[string] / ((5 + len(string)) / 6) ** penalty for string in log_prob}
        best = sorted(score, key=score.get, reverse=True)[:3]
        both = np.concatenate(
            [np.stack([each.score[0], each.log_prob[0]], 1) for each in (state.complete, state.going)]
        )
        expected = [(score[string], log_prob[string]) for string in best]
        np.testing.assert_allclose(sorted(both.tolist(), reverse=True)[:3], expected, rtol=1e-4)
        stopped.append(int(state.calls[0]))
    assert min(stopped) < LENGTH or penalty  # some search stops early, as nothing can win any more
