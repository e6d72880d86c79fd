"""Exposure bias on small events: errors against the truth, of decodings, and of samples under a judge."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from compiled import of_model
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import make_dataset
from arjax.data.base import Dataset, Truth, from_arrays
from arjax.data.windows import RandomWindows
from arjax.evaluation.exposure import (
    ROUNDING,
    Z,
    _along_the_order,
    _excess,
    check_decoding,
    check_judge,
    check_truth,
    decoding_errors,
    exposure,
    judged_examples,
    open_truth,
)
from arjax.evaluation.report import Measures, report
from arjax.evaluation.splits import spread_rows
from arjax.models import make_model
from arjax.models.draws import keys_of
from arjax.models.longer import of_length
from arjax.objectives import Companion
from arjax.testing.examples import all_values, random_like, random_x

EVENT = EventSpec((4,), kind="tokens", num_levels=3)
ORDER = "list(order=(2, 0, 3, 1))"
X = all_values(EVENT)


def random_model(network="markov", event=EVENT, seed=0, **options):
    model = make_model(event, network, **options)
    return model, random_like(model.param_shapes, seed=seed)


@pytest.fixture(scope="module")
def truth():
    return Truth(*random_model("hidden_markov", seed=1, states=3, ordering=ORDER))


@pytest.fixture(scope="module")
def built():
    return random_model(seed=2, ordering=ORDER)


def enumerated(model, params, truth):
    """KL of each step in both directions under both kinds of prefixes, by marginals of both joints, float64[4, S]."""

    def marginals(model, params):
        """p(first t values in the order), [3] * 4 for each t: with axes of length 1 behind them."""
        joint = np.exp(np.asarray(of_model(model, "log_prob", params, X), np.float64))
        joint = joint.reshape(3, 3, 3, 3).transpose(2, 0, 3, 1)
        return [joint.sum(tuple(range(t, 4)), keepdims=True) for t in range(5)]

    q, p = marginals(model, params), marginals(truth.model, truth.params)
    found = np.zeros((4, 4))
    for t in range(4):
        p_t, q_t = p[t + 1] / p[t], q[t + 1] / q[t]
        for row, (prefix, left, right) in enumerate(((q, p_t, q_t), (p, p_t, q_t), (q, q_t, p_t), (p, q_t, p_t))):
            found[row, t] = (prefix[t] * left * np.log(left / right)).sum()
    return found


def rows_of(found):
    return found.forward_own, found.forward_data, found.reverse_own, found.reverse_data


def test_errors_are_those_of_all_sequences(built, truth):
    found = exposure(*built, truth, num=3000, key=jax.random.key(0), batch_size=1000)
    exact = enumerated(*built, truth)
    # the excess is a ratio of the sums, in per cent
    ratio = found.forward_own.accumulated[1:] / found.forward_data.accumulated[1:]
    np.testing.assert_allclose(found.excess[1:], 100 * (ratio - 1), rtol=1e-6)
    for row, expected in zip(rows_of(found), exact, strict=True):
        assert (np.abs(row.accumulated - expected.cumsum()) <= 4 * row.accumulated_stderr + 1e-6).all()
        assert row.accumulated_stderr[0] < 1e-7
        assert (row.accumulated_stderr[1:] < 0.05 * expected.cumsum()[1:]).all()
    excess = 100 * (exact[0].cumsum() / exact[1].cumsum() - 1)
    assert abs(excess[-1]) > 5  # else nothing tells the kinds of prefixes apart
    assert (np.abs(found.excess - excess) <= 4 * found.excess_stderr + 1e-4).all()
    # Whole examples: the last sums are divergences of the joints.
    both = (truth.model, truth.params), built
    log_p, log_q = (np.asarray(of_model(m, "log_prob", w, X), np.float64) for m, w in both)
    np.testing.assert_allclose(exact[1].sum(), (np.exp(log_p) * (log_p - log_q)).sum(), rtol=1e-4)
    np.testing.assert_allclose(exact[2].sum(), (np.exp(log_q) * (log_q - log_p)).sum(), rtol=1e-4)


def test_errors_of_sums_and_of_ratios_know_that_steps_go_together():
    """Rows whose steps err alike: the standard errors of the sums add up themselves, and not their squares. The error
    of the ratio is that of the jackknife.
    """
    rng = np.random.default_rng(0)
    own = 1 + rng.normal(size=(400, 1)) * (0.2, 0.3, 0.1)
    data = 0.8 * own + rng.normal(size=(400, 3)) * 0.05
    found = _along_the_order(own)
    np.testing.assert_allclose(found.accumulated_stderr, np.cumsum(own.std(0, ddof=1) / 20), rtol=1e-6)
    excess, stderr = _excess(own, data)
    sums = [each.cumsum(1) for each in (own, data)]
    without = [(each.sum(0) - each) / 399 for each in sums]  # the mean of all other rows, for each row
    ratio_NS = 100 * without[0] / without[1]
    jackknife = np.sqrt(399 / 400 * ((ratio_NS - ratio_NS.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(stderr, jackknife, rtol=0.01)
    np.testing.assert_allclose(excess, 100 * sums[0].mean(0) / sums[1].mean(0) - 100, rtol=1e-6)


def test_behind_the_end_of_a_string_there_are_no_errors():
    """Of a chain that is the truth but for what follows an end, and of another one."""
    model, params = random_model(seed=1)
    truth = Truth(model, params, end=2)
    behind = {"table": np.array(params["table"])}
    behind["table"][-1] += np.float32([1, -2, 0])  # the row of the history 2
    options = {"num": 50, "key": jax.random.key(0)}
    assert all(row.accumulated.max() < 1e-7 for row in rows_of(exposure(model, behind, truth, **options)))
    whole = exposure(model, behind, dataclasses.replace(truth, end=None), **options)
    assert all(np.diff(row.accumulated).min() > 0.01 > row.accumulated[0] for row in rows_of(whole))
    other = exposure(model, random_like(model.param_shapes, seed=2), truth, **options).forward_own.accumulated
    assert np.diff(other, prepend=0).min() > 0.001


@pytest.mark.slow
def test_a_model_that_is_its_truth_has_no_error(truth):
    found = exposure(truth.model, truth.params, truth, num=50, key=jax.random.key(0))
    for row in rows_of(found):
        assert np.abs(row.accumulated).max() < ROUNDING
    assert (found.excess == 0).all() and (found.excess_stderr == 0).all()


@pytest.mark.slow
def test_intervals_cover(built, truth):
    """About 95 % of 100 repetitions hold the exact value, and the spread of these is the standard error. Prefixes under
    shared keys make the excess more certain than the errors of its two parts do.
    """
    exact = enumerated(*built, truth)
    excess = 100 * (exact[0].sum() / exact[1].sum() - 1)
    key, hits, values, parts = jax.random.key(3), [], [], []
    for n in range(100):
        found = exposure(*built, truth, num=100, key=jax.random.fold_in(key, n), batch_size=100)
        own = found.forward_own
        inside = abs(own.accumulated[-1] - exact[0].sum()) <= Z * own.accumulated_stderr[-1]
        beside = abs(found.excess[-1] - excess) <= Z * found.excess_stderr[-1]
        hits.append((inside, beside))
        values.append((own.accumulated[-1], own.accumulated_stderr[-1], found.excess[-1], found.excess_stderr[-1]))
        parts.append([row.accumulated_stderr[-1] / row.accumulated[-1] for row in rows_of(found)[:2]])
    assert Z == 1.96 and (np.mean(hits, axis=0) >= 0.88).all()
    spread, stderr = np.std(values, axis=0)[::2], np.mean(values, axis=0)[1::2]
    np.testing.assert_allclose(spread, stderr, rtol=0.25)
    assert stderr[1] < 0.8 * 100 * exact[0].sum() / exact[1].sum() * np.hypot(*np.mean(parts, axis=0))


@pytest.mark.slow
def test_a_model_of_all_orders_is_measured_in_the_order_of_the_truth(truth):
    model, params = random_model("masked_transformer", width=8, num_layers=1, num_heads=1, orders="uniform")
    found = exposure(model, params, truth, num=40, key=jax.random.key(0))
    fixed = dataclasses.replace(model, factorization=truth.model.factorization, orders=None)
    assert found.excess.tolist() == exposure(fixed, params, truth, num=40, key=jax.random.key(0)).excess.tolist()
    with pytest.raises(UserError, match="exact in its own order alone"):
        exposure(dataclasses.replace(model, orders=None), params, truth, num=4, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("event", "options", "sentence"),
    [
        (EventSpec((4,)), {}, "the truth is of"),
        (EVENT, {"partition": "blocks(size=2)"}, "exact in its own order alone"),
        (EVENT, {"context": ContextSpec("label", 2)}, "without a context"),
        (EVENT, {"conditional": "mixture_of_products(components=2)"}, "probabilities of all values"),
    ],
)
def test_refusals(truth, event, options, sentence):
    assert sentence in refusal(check_truth, make_model(event, "made", ordering=ORDER, **options), truth)
    assert "needs discrete data" in refusal(check_decoding, make_model(EventSpec((4,), kind="real"), "made"))


def test_a_model_of_several_orders_needs_that_of_the_truth_among_them(truth):
    """With its blocks: under an order that is not trained, the conditionals of the model mean nothing."""
    size = {"width": 8, "num_layers": 1, "num_heads": 1}
    build = lambda **options: make_model(EVENT, "masked_transformer", **size, **options)  # noqa: E731
    with_it = build(orders=f"any_of(orderings=('raster', {ORDER!r}))")
    np.testing.assert_array_equal(check_truth(with_it, truth).factorization.order, truth.model.factorization.order)
    blocks = Truth(build(ordering=ORDER, partition="sizes(sizes=(1, 2, 1))"), {})
    for model, other in (
        (build(orders="any_of(orderings=('reversed', 'random(seed=3)'))"), truth),
        (build(orders="uniform", partition="sizes(sizes=(2, 1, 1))"), blocks),
    ):
        assert "exact in its own order alone" in refusal(check_truth, model, other)


SOME = X[np.random.default_rng(0).integers(0, 81, 36)]
MASK = np.broadcast_to([True, True, True, False], SOME.shape)


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
def test_both_errors_are_those_of_the_table(mask):
    """A chain of order 1, whose most probable next value is a function of the last one."""
    model, params = random_model()
    best = np.asarray(params["table"]).argmax(-1)[1:]
    second, third, fourth = SOME[:, 1], SOME[:, 2], SOME[:, 3]
    single = np.stack([best[second] != third, best[third] != fourth], 1)
    decoded = np.stack([best[second] != third, best[best[second]] != fourth], 1)
    sites = 2 if mask is None else 1
    found = decoding_errors(model, params, Batch(SOME, mask=mask), batch_size=20)
    for name, wrong in (("next_step_error", single), ("greedy_error", decoded)):
        wrong = wrong[:, :sites].mean(1)
        assert found[name] == pytest.approx(wrong.mean())
        assert found[f"{name}_stderr"] == pytest.approx(wrong.std(ddof=1) / 6)
    assert (found["greedy_error"] == found["next_step_error"]) == (mask is not None)


def test_the_excess_is_the_mean_difference_of_the_examples_and_that_of_the_truth_is_none():
    dataset = make_dataset("markov_chain", levels=3, length=6, num_examples=80)
    model = make_model(dataset.event, "markov")
    params, truth = random_like(model.param_shapes), open_truth(dataset)
    rest = {"mesh": None, "seed": 0, "open_run": None}
    found = report(model, params, dataset, "train", Measures(32), **rest).scores
    x = dataset.splits["train"].__getitems__(np.arange(80)).x
    both = (model, params), (truth.model, truth.params)
    own, best = (-np.asarray(jax.jit(m.log_prob)(p, x), np.float64) for m, p in both)
    np.testing.assert_allclose(found["truth_nll_nats"], best.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["excess_nats"], (own - best).mean(), rtol=1e-4)
    np.testing.assert_allclose(found["excess_stderr"], (own - best).std(ddof=1) / 80**0.5, rtol=1e-4)
    same = report(truth.model, truth.params, dataset, "train", Measures(32), **rest).scores
    assert same["excess_nats"] == same["excess_stderr"] == 0


KEY = jax.random.key(5)


@pytest.mark.slow
def test_samples_and_data_under_a_judge():
    """Under the contexts of the data, in batches that do not divide the samples."""
    label = ContextSpec("label", 2)
    model, params = random_model("made", context=label, hidden_sizes=(4,))
    judge = Companion(*random_model("made", seed=1, context=label, hidden_sizes=(8,)))
    data = {"x": random_x(EVENT, 5), "context": np.array([0, 1, 1, 0, 1])}
    dataset = from_arrays(EVENT, train=data, context=label)
    rows = spread_rows(dataset, "train", 9, KEY)
    found = judged_examples(model, params, dataset, rows, judge, num=7, batch_size=3, key=KEY)
    labels = np.array([0, 1, 1, 0, 1, 0, 1])
    x = model.draw(params, keys_of(jax.random.fold_in(KEY, 0), 7), context=labels).x
    for name, values, context in (("own", x, labels), ("data", data["x"], labels[:5])):
        nats = -np.asarray(of_model(judge.model, "log_prob", judge.params, values, context=context), np.float64)
        assert found[f"judge_{name}_nll_nats"] == pytest.approx(nats.mean(), rel=1e-5)
        assert found[f"judge_{name}_nll_stderr"] == pytest.approx(nats.std(ddof=1) / len(nats) ** 0.5, rel=1e-4)
        assert found[f"judge_{name}_num_examples"] == len(nats)


def test_samples_are_judged_at_the_sites_of_the_data():
    """As the windows of a text, which overlap: their first sites are scored in the window before."""
    model, params = random_model()
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]], bool)
    data = Batch(random_x(EVENT, 3), {}, mask)
    dataset, judge = from_arrays(EVENT, train=data.x), Companion(model, params)
    found = judged_examples(model, params, dataset, data, judge, num=5, batch_size=2, key=KEY)
    x = np.asarray(model.draw(params, keys_of(jax.random.fold_in(KEY, 0), 5)).x)
    nats = -np.asarray(of_model(model, "log_prob", params, x, mask=mask[[0, 1, 2, 0, 1]]), np.float64)
    assert found["judge_own_nll_nats"] == pytest.approx(nats.mean(), rel=1e-5)
    assert found["judge_own_bits_per_dim"] == pytest.approx(nats.sum() / 15 / np.log(2), rel=1e-5)


def test_strings_are_judged_up_to_their_end():
    model, params = random_model()
    dataset = from_arrays(EVENT, train=random_x(EVENT, 5))
    ends = dataclasses.replace(dataset, vocabulary=types.SimpleNamespace(end=2, unit="char"))
    judge, rest = Companion(model, params), {"num": 30, "batch_size": 30, "key": KEY}
    rows = spread_rows(dataset, "train", 5, KEY)
    found = judged_examples(model, params, ends, rows, judge, **rest)
    x = np.asarray(model.draw(params, keys_of(jax.random.fold_in(KEY, 0), 30), end=2).x)
    mask = np.stack([np.arange(4) <= (list(row).index(2) if 2 in row else 4) for row in x])
    nats = -np.asarray(of_model(model, "log_prob", params, x, mask=mask), np.float64)
    assert found["judge_own_nll_nats_per_char"] == pytest.approx(nats.sum() / mask.sum(), rel=1e-5)


@pytest.fixture(scope="module")
def along(load_script):
    return load_script("experiments/exposure_bias/along_text.py")


def test_texts_are_read_in_windows_or_whole(along):
    """Windows of 4 that overlap by half; a network that goes on reads the sequence as one of that length."""
    x = random_x(EventSpec((9,), kind="tokens", num_levels=3), 3)
    model, params = random_model("made", hidden_sizes=(6,))
    windows = {start: x[:, start : start + 4] for start in (0, 2, 4, 5)}
    nats = {start: -np.asarray(of_model(model, "log_prob_per_site", params, x)) for start, x in windows.items()}
    expected = np.concatenate([nats[0], nats[2][:, 2:], nats[4][:, 2:], nats[5][:, 3:]], 1)
    np.testing.assert_allclose(along.site_nats(model, params, x, 2), expected, rtol=1e-5)
    np.testing.assert_allclose(along.site_nats(model, params, x[:, :3], 3), nats[0][:, :3], rtol=1e-5)
    model, params = random_model()
    whole = -np.asarray(of_model(of_length(model, 9), "log_prob_per_site", params, x))
    np.testing.assert_allclose(along.site_nats(model, params, x, 3), whole, rtol=1e-5)


def test_pieces_of_the_data_and_means_of_their_parts(along):
    """Of 5 sites each its own; of 97 parts of three sites, of which the last has one."""
    tokens = np.arange(31, dtype=np.uint8) % 3
    dataset = Dataset("line", EVENT, ContextSpec(), {"train": RandomWindows(tokens, 4)})
    texts = tokens[np.array([0, 6, 12, 18])[:, None] + np.arange(6)]  # of the five pieces of the text four
    np.testing.assert_array_equal(along.texts_of_data(dataset, "train", 4, 6), texts)
    assert len(along.texts_of_data(dataset, "train", 4, 32)) == 0
    nats = np.arange(10.0).reshape(2, 5)
    place, mean, stderr = along.along_text(nats)
    assert place.tolist() == [1, 2, 3, 4, 5] and mean.tolist() == nats.mean(0).tolist()
    assert stderr.tolist() == pytest.approx([2.5] * 5)
    nats = np.random.default_rng(0).normal(size=(3, 97))
    place, mean, stderr = along.along_text(nats)
    parts = [nats[:, start : start + 3].mean(1) for start in range(0, 97, 3)]
    assert len(place) == 33 <= along.PARTS and place[:2].tolist() == [2, 5] and place[-1] == 97
    np.testing.assert_allclose(mean, np.mean(parts, 1))
    np.testing.assert_allclose(stderr, np.std(parts, 1, ddof=1) / 3**0.5)


def test_judges_of_other_data_and_without_a_likelihood_are_refused():
    model, _ = random_model()
    longer, _ = random_model(event=EventSpec((5,), kind="tokens", num_levels=3))
    assert "the judge is of" in refusal(check_judge, model, longer)
    event = EventSpec((3,), (2,), "real")
    energy = make_model(event, "made", conditional="energy(features=4, width=8, layers=1)", hidden_sizes=(4,))
    assert "judge needs a likelihood, and this model has none" in refusal(check_judge, energy, energy)
