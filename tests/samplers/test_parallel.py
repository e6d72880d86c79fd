"""Parallel sampling: an approximation that draws in K rounds what it says, from the noise of the naive sampler; and
the sizes of rounds: the dynamic programme against all compositions, and what all schedules promise.
"""

import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model
from refusals import refusal
from scipy.special import log_softmax

from arjax.conditionals import make_conditional
from arjax.core.spec import EventSpec
from arjax.factorization import from_order
from arjax.samplers import OWN_NUMBERS, Cached, example_keys, make_sampler
from arjax.samplers.rounds import make_sizes, non_increasing, optimal_sizes

KEYS = example_keys(jax.random.key(3), 12)
TOKENS = EventSpec((3, 2), (), "tokens", 5)
CHOICES = ("order", "random", "confidence", "entropy", "margin", "top1")
#: Those whose rounds tests/evaluation/test_k_steps.py scores, and a lot: slow here.
SCORED = ("random", "entropy", "top1")


def build(network: str, event: EventSpec = TOKENS, **choice):
    model = cases.small_model(network, event, **{"ordering": "random(seed=1)", "orders": "uniform"} | choice)
    return model, cases.params_of(model)


def draw(model, params, call, **options):
    found = model.draw(params, KEYS, sampler=call, **options)
    return np.asarray(found.x), {name: int(counts[0]) for name, counts in found.stats.items()}


@pytest.mark.slow  # of blocks and of sites that are chosen it is fast
@pytest.mark.parametrize("network", ["masked_transformer", "two_stream"])
def test_a_round_for_each_step_gives_the_values_of_the_naive_sampler(network):
    model, params = build(network)
    x, stats = draw(model, params, "parallel(steps=6,choose='order')")
    np.testing.assert_array_equal(x, draw(model, params, "naive")[0])
    assert stats == {"network_calls": 6 if network == "masked_transformer" else 11, "steps": 6}
    assert not make_sampler("parallel").exact and Cached().exact


@pytest.mark.slow
@pytest.mark.parametrize("choose", ["confidence", "random", "entropy"])
def test_one_round_is_one_draw_whatever_chooses(choose):
    """Of all sites given nothing, under the noise of their steps."""
    model, params = build("deep_nade")
    expected, stats = draw(model, params, "parallel(steps=1,choose='order')")
    assert stats["network_calls"] == 1
    whole = from_order(np.asarray(model.factorization.order), [6], (3, 2))
    features = of_model(model, "features", params, np.zeros((12, 3, 2), np.int32), factorization=whole)
    drawn = cases.drawn_from(model.conditional, features.reshape(12, 6, -1), KEYS, expected, None, model.factorization)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(draw(model, params, f"parallel(steps=1,choose='{choose}')")[0], expected)


@pytest.mark.parametrize("choose", [pytest.param(c, marks=[pytest.mark.slow] * (c in SCORED)) for c in CHOICES[1:]])
def test_the_sites_of_a_round_are_those_that_score_highest(choose):
    """Three rounds by hand: what is left is drawn and scored given what was chosen before."""
    model, params = build("deep_nade")
    x, _ = draw(model, params, f"parallel(sizes=(1, 3, 2),choose='{choose}')")
    own_step = np.asarray(model.factorization.step)
    lot = lambda k, t: jax.random.uniform(jax.random.fold_in(jax.random.fold_in(k, t), OWN_NUMBERS))  # noqa: E731
    lots = np.asarray(jax.jit(jax.vmap(jax.vmap(lot, (None, 0)), (0, None)))(KEYS, np.arange(6)))

    def given(values, observed):
        values, observed = values.reshape(12, 3, 2), observed.reshape(12, 3, 2)
        features = np.asarray(of_model(model, "features_given", params, values, observed)).reshape(12, 6, -1)
        drawn = cases.drawn_from(model.conditional, features, KEYS, values, None, model.factorization)
        table, drawn = log_softmax(features, -1), np.asarray(drawn).reshape(12, 6)
        confidence = np.take_along_axis(table, drawn[..., None], -1)[..., 0]
        second, first = np.moveaxis(np.sort(np.exp(table), -1)[..., -2:], -1, 0)
        scores = {"confidence": confidence, "entropy": (np.exp(table) * table).sum(-1), "random": -lots[:, own_step]}
        scores |= {"margin": first - second, "top1": first}
        return drawn, scores[choose]

    values, observed, chosen = np.zeros((12, 6), np.int32), np.zeros((12, 6), bool), []
    for size in (1, 3, 2):
        drawn, score = given(values, observed)
        best = [
            sorted(np.flatnonzero(~known), key=lambda i, row=row: (-row[i], own_step[i]))[:size]
            for known, row in zip(observed, score, strict=True)
        ]
        now = np.zeros((12, 6), bool)
        np.put_along_axis(now, np.array(best), True, 1)
        values, observed = np.where(now, drawn, values), observed | now
        chosen.append(len(np.unique(now, axis=0)))
    np.testing.assert_array_equal(x.reshape(12, 6), values)
    assert chosen[1] > 1  # an order for each example


@pytest.mark.parametrize(
    ("network", "choose"),
    [
        pytest.param("two_stream", "entropy", marks=pytest.mark.slow),
        pytest.param("transformer", "random", marks=pytest.mark.slow),
        ("deep_nade", "order"),
    ],
)
def test_observed_sites_count_as_drawn(network, choose):
    """Rounds that they cover cost nothing; the rest follows the schedule of the whole."""
    model, params = build(network)
    order, given = np.asarray(model.factorization.order), cases.random_x(TOKENS, 12)
    for num, rounds in ((1, 3), (4, 1), (6, 0)):
        observed = np.isin(np.arange(6), order[:num]).reshape(3, 2)
        options = {"given": given, "observed": observed}
        x, stats = draw(model, params, f"parallel(steps=3,choose='{choose}')", **options)
        np.testing.assert_array_equal(x[:, observed], given[:, observed])
        prompt = 1  # one call reads all of it
        assert stats == {"network_calls": prompt + rounds + max(rounds - 1, 0), "steps": 6 - num}


@pytest.mark.slow
def test_blocks_are_drawn_several_at_a_time():
    model, params = build("deep_nade", partition="sizes(sizes=(1, 3, 2))")
    x, _ = draw(model, params, "parallel(steps=3,choose='order')")
    np.testing.assert_array_equal(x, draw(model, params, "naive")[0])
    assert draw(model, params, "parallel(steps=2,choose='order')")[1] == {"network_calls": 3, "steps": 3}
    observed = np.isin(np.arange(6), np.asarray(model.factorization.order)[:2]).reshape(3, 2)
    given = {"given": cases.random_x(TOKENS, 12), "observed": observed}  # one block whole, and one of the next three
    x, _ = draw(model, params, "parallel(steps=3,choose='order')", **given)
    np.testing.assert_array_equal(x, draw(model, params, "naive", **given)[0])
    np.testing.assert_array_equal(x[:, observed], given["given"][:, observed])


@pytest.mark.parametrize("options", ["steps=3,sizes=(3,3)", "schedule='cosine',sizes=(3,3)"])
def test_rounds_have_sizes_or_a_schedule(options):
    assert "has 2 rounds of given sizes: leave steps=" in refusal(make_sampler, f"parallel({options})")


REFUSED = [
    ("parallel", {"network": "made"}, "the network 'made' predicts the steps one after another"),
    ("parallel", {"orders": ""}, "needs a model of all orders"),
    ("parallel", {"orders": "pool(num=3)"}, "needs a model of all orders"),
    ("parallel(choose='entropy')", {"partition": "blocks(size=2)"}, "choose='entropy' chooses among single sites"),
    ("parallel(choose='confidence')", {"event": EventSpec((2, 3), (), "real", 0)}, "needs a list of probabilities"),
    ("parallel(choose='margin')", {"event": EventSpec((2, 3), (), "real", 0)}, "choose='margin' needs a list"),
    ("parallel(sizes=(2, 3))", {}, "add up to 5, but the model has 6 steps"),
    ("parallel(steps=7)", {}, "'parallel' asks for 7 rounds, but the model has 6 steps, at least one a round"),
    ("parallel(schedule='optimal')", {}, "is measured on validation data"),
]


@pytest.mark.parametrize(("call", "choice", "sentence"), REFUSED)
def test_models_that_cannot_are_refused(call, choice, sentence):
    model, params = build(**{"network": "deep_nade"} | choice)
    assert sentence in refusal(model.draw, params, KEYS, sampler=call)


@pytest.mark.parametrize(
    "call",
    [
        "gaussian",
        *(pytest.param(f"{kind}_mixture(components=1)", marks=pytest.mark.slow) for kind in ("gaussian", "logistic")),
    ],
)
def test_the_random_order_is_not_made_of_the_noise_of_the_values(call):
    """Some conditionals split the keys of steps, and split(key)[1] is fold_in(key, 1)."""
    family = make_conditional(call, EventSpec((4,), (), "real", 0))
    features, sampler = np.zeros(family.num_params, np.float32), make_sampler("parallel")

    def both(key):
        keys_S = jax.random.split(key, 4)
        return sampler._first_order(keys_S, 0), jax.vmap(lambda key: family.sample(key, features))(keys_S)

    order, values = map(np.asarray, jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(0), 4000)))
    assert 0.03 < (order == values.argsort(1)).all(1).mean() < 0.055  # 1/24
    assert 0.03 < (order == values.argsort(1)[:, ::-1]).all(1).mean() < 0.055


@pytest.mark.slow
@pytest.mark.parametrize("choose", ["entropy", "confidence"])
def test_truncated_draws_are_chosen_by_the_scores_of_the_model(choose):
    vectors, nested = EventSpec((4,), (3,), "tokens", 3), {"conditional": "nested(hidden_sizes=(6,), features=4)"}
    model, params = build("masked_transformer", vectors, **nested) if choose == "entropy" else build("deep_nade")
    call = f"parallel(steps=2,choose='{choose}')"
    best, cold = (draw(model, params, call, **options)[0] for options in ({"top_k": 1}, {"temperature": 1e-9}))
    np.testing.assert_array_equal(best, cold)


def compositions(num_steps: int, rounds: int):
    for cuts in itertools.combinations(range(1, num_steps), rounds - 1):
        yield tuple(np.diff((0, *cuts, num_steps)).tolist())


def nats(sizes: tuple[int, ...], losses: np.ndarray) -> float:
    return sum(size * losses[start] for size, start in zip(sizes, np.cumsum((0, *sizes[:-1])), strict=True))


@pytest.mark.parametrize("rounds", [1, 2, 4, 8, 9])
def test_the_dynamic_programme_finds_the_best_of_all(rounds):
    losses = np.sort(np.random.default_rng(rounds).exponential(size=9))[::-1]
    found = optimal_sizes(losses, rounds)
    assert len(found) == rounds and sum(found) == 9 and min(found) >= 1
    assert nats(found, losses) == pytest.approx(min(nats(sizes, losses) for sizes in compositions(9, rounds)))


@pytest.mark.parametrize(("schedule", "expected"), [("uniform", (2, 3, 2, 3)), ("cosine", (1, 2, 3, 4))])
def test_sizes_of_a_schedule(schedule, expected):
    assert make_sizes(schedule, 10, 4) == expected
    for num_steps, steps in [(1, 1), (7, 7), (5, 5), (64, 8), (64, 63), (784, 50)]:
        sizes = make_sizes(schedule, num_steps, steps)
        assert (len(sizes), sum(sizes)) == (steps, num_steps) and min(sizes) >= 1


def test_losses_are_smoothed_to_what_never_rises():
    """The nearest such sequence in weighted squares: means of runs, as by brute force over all cuts into runs."""
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=7), rng.uniform(0.5, 2, size=7)
    best = np.inf
    for rounds in range(1, 8):
        for sizes in compositions(7, rounds):
            runs = np.split(np.arange(7), np.cumsum(sizes)[:-1])
            fit = np.concatenate([np.full(len(run), np.average(values[run], weights=weights[run])) for run in runs])
            if (np.diff(fit) <= 0).all():
                best = min(best, (weights * (fit - values) ** 2).sum())
    found = non_increasing(values, weights)
    assert (np.diff(found) <= 0).all() and (weights * (found - values) ** 2).sum() == pytest.approx(best)
