"""Likelihoods of a split, entropy along the order, the numbers of a report, and paired differences."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.stats
from compiled import of_model
from refusals import refusal

from arjax.core.scores import SAMPLE_SCORE
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, class_label
from arjax.data import from_arrays, make_dataset
from arjax.data.vocabulary import make_vocabulary
from arjax.evaluation.entropy import step_entropy
from arjax.evaluation.likelihood import Evaluator, codes_in_use
from arjax.evaluation.report import Measures, report
from arjax.evaluation.sampling import Conditioning, parse_context, prompt_tokens
from arjax.evaluation.splits import Scoring, spread_rows
from arjax.evaluation.summaries import mean_over_runs, paired_difference, ratio_of_means, stderr_of, summarize_rows
from arjax.factorization import Shares
from arjax.models import make_model
from arjax.parallel.sharding import make_mesh

EVENT = EventSpec((5,))


@pytest.fixture(scope="module")
def model():
    return make_model(EVENT, "made", hidden_sizes=(8,))


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (23, 5))
    mask[:, 2] = 1
    mask[4] = 0
    return {"x": rng.integers(0, 2, (23, 5)), "mask": mask}


@pytest.mark.parametrize("batch_size", [7, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 23, 50))])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_definition_for_every_batch_size(model, params, arrays, batch_size, masked):
    arrays = arrays if masked else {"x": arrays["x"]}
    mask = arrays["mask"] if masked else np.ones((23, 5), int)
    dataset = from_arrays(EVENT, train=arrays, test=arrays)
    scores = Evaluator(model, dataset, Scoring(batch_size, make_mesh()))(params, "test")

    per_site = np.asarray(of_model(model, "log_prob_per_site", params, arrays["x"]), np.float64)
    nll = -(per_site * mask).sum(1)[mask.sum(1) > 0]
    assert scores["num_examples"] == len(nll) == (22 if masked else 23)
    np.testing.assert_allclose(scores["nll_nats"], nll.mean(), rtol=1e-6)
    np.testing.assert_allclose(scores["nll_stderr"], nll.std(ddof=1) / len(nll) ** 0.5, rtol=1e-5)
    np.testing.assert_allclose(scores["bits_per_dim"], nll.sum() / mask.sum() / np.log(2), rtol=1e-6)
    ratio, sites = nll.sum() / mask.sum(), mask.sum(1)[mask.sum(1) > 0]
    stderr = np.std(nll - ratio * sites, ddof=1) / sites.mean() / len(nll) ** 0.5 / np.log(2)
    np.testing.assert_allclose(scores["bits_per_dim_stderr"], stderr, rtol=1e-5)
    assert scores.keys() == {"nll_nats", "nll_stderr", "bits_per_dim", "bits_per_dim_stderr", "num_examples"}


@pytest.mark.slow
def test_compiles_once_for_all_parameters_and_splits(model, params, arrays):
    dataset = from_arrays(EVENT, train=arrays, validation={k: a[:9] for k, a in arrays.items()}, test=arrays)
    evaluator = Evaluator(model, dataset, Scoring(8, make_mesh()))
    first = evaluator(params, "test")
    size = evaluator.scorer.program._cache_size()
    changed = evaluator(jax.tree.map(lambda p: p + 0.5, params), "test")
    evaluator(params, "validation")
    assert first != changed and evaluator(params, "test") == first
    assert evaluator.scorer.program._cache_size() == size
    assert Evaluator(model, dataset, Scoring(8, make_mesh())).scorer.program is evaluator.scorer.program


@pytest.mark.slow
def test_transform_gets_a_key_that_does_not_change_between_calls(model, params, arrays):

    def redraw(key, batch, train):
        assert not train
        return batch.replace(x=jax.random.bernoulli(key, 0.5, batch.x.shape).astype(int))

    dataset = dataclasses.replace(from_arrays(EVENT, train=arrays, test=arrays), transform=redraw)
    evaluator = Evaluator(model, dataset, Scoring(8, make_mesh()))
    assert evaluator(params, "test") == evaluator(params, "test")


def test_mistakes(model, params, arrays):
    dataset = from_arrays(EVENT, train=arrays, test={"x": arrays["x"], "mask": np.zeros((23, 5), int)})
    assert "has no validation" in refusal(Evaluator(model, dataset, Scoring(8, make_mesh())), params, "validation")
    assert "masks of all that count" in refusal(Evaluator(model, dataset, Scoring(8, make_mesh())), params, "test")
    dataset = from_arrays(EVENT, train=arrays, test={"x": arrays["x"], "weight": np.zeros(23, int)})
    assert "the weights of all" in refusal(Evaluator(model, dataset, Scoring(8, make_mesh())), params, "test")


def scored_in_orders(arrays, orders):
    """A model, its scores as a mixture of three orders, and log p of each scored example under each of them."""
    model = make_model(EVENT, "made", hidden_sizes=(8,), orders=orders)
    params = jax.jit(model.init)(jax.random.key(0))
    dataset = from_arrays(EVENT, train=arrays, test=arrays)
    scores = Evaluator(model, dataset, Scoring(8, make_mesh(), num_orders=3))(params, "test")
    keep = arrays["mask"].sum(1) > 0
    score = jax.jit(lambda p, f: model.log_prob(p, arrays["x"], mask=arrays["mask"], factorization=f))
    per_order = np.stack([np.asarray(score(params, f), np.float64)[keep] for f in model.orders.members(3)])
    return model, dataset, scores, per_order


def test_a_mixture_of_weighted_orders_has_their_weights(arrays):
    model, _, scores, per_order = scored_in_orders(arrays, "weighted(of=('raster', 'uniform'), weights=(0.6, 0.4))")
    assert np.asarray(model.orders.members(3)[0].order).tolist() == list(range(5))
    raster = 0.6 + 0.4 / 120
    weights = np.array([raster, (1 - raster) / 2, (1 - raster) / 2])
    np.testing.assert_allclose(scores["nll_nats"], -np.log(weights @ np.exp(per_order)).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["negative_elbo_nats"], -(weights @ per_order).mean(), rtol=1e-5)
    by_number = [-per_order[0].mean(), scores["nll_nats"]]
    np.testing.assert_allclose(scores["nll_nats_by_num_orders"][::2], by_number, rtol=1e-5)


def test_a_mixture_of_orders_averages_whole_examples(arrays):
    model, dataset, scores, per_order = scored_in_orders(arrays, "pool(num=5)")
    mixtures = [-np.log(np.exp(per_order[:k]).mean(0)).mean() for k in (1, 2, 3)]
    assert scores["num_orders"] == 3
    np.testing.assert_allclose(scores["nll_nats"], mixtures[2], rtol=1e-6)
    np.testing.assert_allclose(scores["nll_nats_by_num_orders"], mixtures, rtol=1e-6)
    np.testing.assert_allclose(scores["negative_elbo_nats"], -per_order.mean(), rtol=1e-6)
    stderr = per_order.mean(1).std(ddof=1) / 3**0.5 * (1 - 3 / 5) ** 0.5  # three of five, without replacement
    np.testing.assert_allclose(scores["negative_elbo_stderr"], stderr, rtol=1e-5)
    assert scores["nll_nats"] < scores["negative_elbo_nats"]
    assert "there are 5 orders to score," in refusal(Evaluator, model, dataset, Scoring(8, make_mesh(), num_orders=6))


def test_a_model_of_one_order_has_no_mixture_of_orders():
    dataset = make_dataset("noise", grid=(4,), num_levels=3, num_examples=8)
    one = make_model(dataset.event, "made")
    Measures().check(one, dataset)
    Measures(num_orders=2, steps=4).check(make_model(dataset.event, "masked_transformer", orders="uniform"), dataset)
    assert "num_orders=2 is for models of several orders, and" in refusal(Measures(num_orders=2).check, one, dataset)


def test_the_mixture_of_orders_under_drawn_bounds_is_an_estimate():
    dataset = make_dataset("noise", grid=(4,), num_levels=3, num_examples=8)
    rows = {"nll": np.ones(8), "sites": np.full(8, 4.0)}

    def kind_of(num, kind, unbiased):
        about = {"score_kind": kind, "traits": () if unbiased else ("biased",), "event": dataset.event, "orders": None}
        model = SimpleNamespace(**about, __dataclass_fields__={})
        options = {"mesh": None, "seed": 0, "open_run": None, "rows": rows}
        scores = report(model, None, dataset, "test", Measures(num_orders=num), **options).scores
        assert scores.get("unbiased") == (unbiased if scores["kind"] == "bound" else None)
        return scores["kind"]

    cases = itertools.product((1, 2), ("exact", "bound", "none"), (True, False))
    found = {case: kind_of(*case) for case in cases}
    assert found.pop((2, "bound", False)) == "estimate"
    assert all(value == kind for (_, kind, _), value in found.items())


LETTERS = EventSpec((5,), kind="tokens", num_levels=3)
PROMPTED = SimpleNamespace(name="mine", event=LETTERS, vocabulary=make_vocabulary("abc"), context=NO_CONTEXT)


def test_prompts_are_the_beginning_of_examples_or_of_longer_texts():
    assert prompt_tokens(PROMPTED, "ba").tolist() == [1, 0] and len(prompt_tokens(PROMPTED, "abca")) == 4
    assert prompt_tokens(PROMPTED, "abcabca", 8).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert list(Conditioning("ba").options(PROMPTED, 8)) == ["given"] and Conditioning().options(PROMPTED, 0) == {}
    for prompt, length, sentence in (
        ("abcab", 0, "a prompt has 1 to 4 characters, as examples of 'mine' have 5; this one has 5"),
        ("abcabcab", 8, "a prompt of 8 characters leaves nothing to draw of a text of 8"),
        ("abx", 0, "the prompt has the character 'x'"),
    ):
        assert sentence in refusal(prompt_tokens, PROMPTED, prompt, length)
    assert Conditioning("ab", "3").about() == {"prompt": "ab", "context": "3"} and Conditioning().about() == {}


def test_classes_of_a_context():
    one, two = ContextSpec("label", 3), ContextSpec(writer=class_label(12), style=class_label(4))
    assert parse_context(one, "2") == parse_context(one, " label = 2 ") == {"label": 2}
    assert parse_context(two, "writer=11, style=3") == {"writer": 11, "style": 3}
    for spec, text in (
        *((one, text) for text in ("3", "-1", "x", "1.0", "", "lable=1", "1,2", "label=1,label=2")),
        *((two, text) for text in ("writer=11", "writer=0,style=0,style=1", "1,2")),
        (NO_CONTEXT, "1"),
    ):
        assert refusal(parse_context, spec, text)
    for text, sentence in (
        ("3", "--context=style=...,writer=..."),
        ("style=1,stile=2", "did you mean 'style'"),
        ("style=1,writer=12", "'writer' of the context is a class from 0 to 11, not '12'"),
        ("style=-1,writer=0", "'style' of the context is a class from 0 to 3, not '-1'"),
    ):
        assert sentence in refusal(parse_context, two, text)
    assert "'sketch' of the context is no class" in refusal(parse_context, ContextSpec(sketch=EventSpec((2, 2))), "1")


def test_scored_examples_are_spread_over_a_split():
    weight = np.array([1, 1, 0, 1, 1, 1, 1], np.float32)
    x = np.arange(7)[:, None].repeat(2, 1).astype(np.float32)
    dataset = from_arrays(EventSpec((2,), kind="real"), train={"x": x, "weight": weight})
    for num, rows in ((3, [0, 4]), (7, [0, 1, 3, 4, 5, 6]), (99, [0, 1, 3, 4, 5, 6]), (1, [0])):
        found = spread_rows(dataset, "train", num, jax.random.key(0))
        assert found.x[:, 0].tolist() == rows and found.weight is None
    changed = dataclasses.replace(dataset, transform=lambda key, batch, train: batch.replace(x=batch.x + 10 + train))
    assert spread_rows(changed, "train", 2, jax.random.key(0)).x[:, 0].tolist() == [10, 13]


def test_a_model_without_codes_has_no_use_of_them():
    model = make_model(EventSpec((2,)), "made", hidden_sizes=(2,))
    dataset = from_arrays(model.event, train=np.zeros((3, 2), np.int32))
    params = model.init(jax.random.key(0))
    assert "has no codes whose use could be counted" in refusal(codes_in_use, model, params, dataset, "train")


NLL, SITES, SCORED = np.array([3.0, 99.0, 6.0, 1.5]), np.array([2, 0, 4, 3]), [0, 2, 3]
N, L = NLL[SCORED], SITES[SCORED]
LOG_2 = math.log(2)
#: Nats per site, and its error by the variance of a ratio.
PER_SITE = 10.5 / 9
PER_SITE_ERROR = np.std(N - PER_SITE * L, ddof=1) / math.sqrt(3) / 3


def mean_and_error(name, values):
    return {name: np.mean(values), f"{name}_stderr": np.std(values, ddof=1) / math.sqrt(len(values))}


def scaled(name, factor=1.0):
    return {name: factor * PER_SITE, f"{name}_stderr": factor * PER_SITE_ERROR}


#: Of an event with two numbers at a site; values are given out of all of which masked ones do not count.
PLAIN = {
    "nll_nats": 3.5,
    "nll_stderr": np.std(N, ddof=1) / math.sqrt(3),
    **scaled("bits_per_dim", 1 / (2 * LOG_2)),
    "num_examples": 3,
}
ORDERS = np.array([[1.0, 0, 2, 3], [2.0, 9, 5, 1]])
TERM = np.array([0.5, 70.0, 1.0, 3.0])
#: The bits of the term for each scored number, with an error as that of the nats for a site.
KL_ERROR = np.std(TERM[SCORED] - 4.5 / 9 * L, ddof=1) / math.sqrt(3) / 3
KL_BITS = {"kl_bits_per_dim": 4.5 / (LOG_2 * 2 * 9), "kl_bits_per_dim_stderr": KL_ERROR / (LOG_2 * 2)}
TEXT = PLAIN | scaled("bits_per_dim", 1 / LOG_2) | scaled("nll_nats_per_char") | scaled("bits_per_char", 1 / LOG_2)
TEXT |= {"perplexity": math.exp(PER_SITE), "perplexity_stderr": math.exp(PER_SITE) * PER_SITE_ERROR}
OF_TRUTH = {"truth_nll_nats": 3.0, "truth_nll_stderr": np.std([2.0, 5, 2], ddof=1) / math.sqrt(3)}
OF_TRUTH |= {"excess_nats": 0.5, "excess_stderr": np.std([1.0, 1, -0.5], ddof=1) / math.sqrt(3)}
OF_CODES = {"num_tokens": 2, "num_codes": 5, "token_bits": 2 * math.log2(5), "codes_used": 3, "codes_perplexity": 3.0}
MIXED = [2.0, -np.log(np.exp(-ORDERS[:, SCORED]).mean(0)).mean()]
OF_ORDERS = {"num_orders": 2, "negative_elbo_nats": (2 + 8 / 3) / 2, "negative_elbo_stderr": (8 / 3 - 2) / 2}
OF_ONE = {"num_orders": 1, "negative_elbo_nats": 2.0, "nll_nats_by_num_orders": [2.0]}
OF_KL = {"kl_nats": 1.5, "kl_stderr": np.std(TERM[SCORED], ddof=1) / math.sqrt(3)} | KL_BITS
GRID = EventSpec((2, 2), (2,))
CASES = [
    ({}, GRID, "", PLAIN),
    ({}, EventSpec((4,), (2,)), "", PLAIN | scaled("nll_nats_per_frame")),
    ({}, EventSpec((4,), kind="tokens", num_levels=3), "char", TEXT),
    ({"terms/kl": TERM}, GRID, "", PLAIN | OF_KL),
    ({"truth": np.array([2.0, 50.0, 5.0, 2.0])}, GRID, "", PLAIN | OF_TRUTH),
    ({"answers/greedy_error": TERM}, GRID, "", PLAIN | mean_and_error("greedy_error", TERM[SCORED])),
    ({"codes/5": np.array([[0.0, 4, 1, 1], [0, 4, 3, 3]])}, GRID, "", PLAIN | OF_CODES),
    ({"by_order": ORDERS}, GRID, "", PLAIN | OF_ORDERS | {"nll_nats_by_num_orders": MIXED}),
    ({"by_order": ORDERS[:1]}, GRID, "", PLAIN | OF_ONE),
]


@pytest.mark.parametrize(("rows", "event", "text", "expected"), CASES)
def test_every_number_of_a_report(rows, event, text, expected):
    num = len(rows.get("by_order", ()))
    shares = Shares(np.full(num, 1 / max(num, 1)), np.zeros(num, bool))
    found = summarize_rows({"nll": NLL, "sites": SITES} | rows, event, text, shares=shares)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_orders_count_by_their_shares():
    """One listed order and two random ones: the error of their mean is that of the random ones alone."""
    nll_KB = np.array([[1.0, 2, 3], [2.0, 5, 1], [4.0, 4, 2]])
    shares = Shares(np.array([0.5, 0.25, 0.25]), np.array([False, True, True]))
    rows = {"nll": NLL[SCORED], "sites": SITES[SCORED], "by_order": nll_KB}
    found = summarize_rows(rows, EventSpec((2, 2), (2,)), shares=shares)
    means = nll_KB.mean(1)
    assert found["negative_elbo_nats"] == pytest.approx(means @ shares.weights)
    assert found["negative_elbo_stderr"] == pytest.approx(0.5 * abs(means[1] - means[2]) / 2)
    all_drawn = summarize_rows(rows, EventSpec((2, 2), (2,)), shares=shares._replace(population=2))
    assert all_drawn["negative_elbo_stderr"] == 0.0  # they are all that there are
    one, of_24 = rows | {"by_order": nll_KB[:1]}, Shares(np.ones(1), np.array([True]), 24)
    assert "negative_elbo_stderr" not in summarize_rows(one, EventSpec((2, 2), (2,)), shares=of_24)
    p = np.exp(-nll_KB)
    mixtures = [p[0], (p[0] + p[1]) / 2, p[0] / 2 + (p[1] + p[2]) / 4]
    np.testing.assert_allclose(found["nll_nats_by_num_orders"], [-np.log(mixture).mean() for mixture in mixtures])


def test_scores_of_samples_are_no_nats():
    rows = {"nll": NLL, "sites": SITES, "terms/kl": TERM, "answers/error": TERM}
    found = summarize_rows(rows, EventSpec((2, 2), (2,)), kind="none")
    expected = mean_and_error(SAMPLE_SCORE, N) | {"num_examples": 3} | mean_and_error("error", TERM[SCORED])
    assert found == pytest.approx(expected, rel=1e-9)


def test_nothing_is_scored():
    for kind in ("exact", "none"):
        rows = {"nll": NLL, "sites": 0 * SITES}
        assert "nothing is scored" in refusal(summarize_rows, rows, EventSpec((4,)), kind=kind)


def test_errors_of_means():
    assert stderr_of(np.array([1.0])) == 0 and stderr_of(np.zeros((1, 2))).tolist() == [0, 0]
    assert stderr_of(np.array([1.0, 3.0])) == pytest.approx(1.0)
    mean, error = mean_over_runs([[1.0, 2], [3, 2]])
    assert mean.tolist() == [2, 2] and error.tolist() == pytest.approx([1, 0])
    for runs in ([[1.0, 2]], [[1.0, np.inf], [3, 2]]):
        assert np.isnan(mean_over_runs(runs)[1]).all()


def test_the_error_of_a_ratio_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    sites = rng.integers(1, 9, (2000, 100))
    values = 1.5 * sites + rng.normal(size=sites.shape) * np.sqrt(sites)
    found = np.array([ratio_of_means(*rows) for rows in zip(values, sites, strict=True)])
    np.testing.assert_allclose(found[:, 0].mean(), 1.5, rtol=0.01)
    np.testing.assert_allclose(found[:, 1].mean(), found[:, 0].std(), rtol=0.05)
    assert ratio_of_means(np.array([2.0, 6.0, 3.0]), np.array([2, 4, 2]))[0] == 11 / 8


def test_a_paired_difference_is_the_paired_test_by_hand():
    rng = np.random.default_rng(0)
    first, second = rng.normal(80, 20, 300), rng.normal(0, 1, 300)
    second += first + 0.5  # hard examples are hard for both models
    found = paired_difference(first[None], second[None])
    t = scipy.stats.ttest_rel(first, second)
    assert found.mean == pytest.approx(first.mean() - second.mean())
    assert found.mean / found.stderr == pytest.approx(t.statistic)
    assert found.stderr < 0.1 < np.hypot(first.std(), second.std()) / 300**0.5
    assert (found.wins, found.losses) == ((first < second).mean(), (first > second).mean())
    assert np.isnan(found.seeds_stderr) and not found.is_tie


@pytest.mark.parametrize("num", [2, 3, 8])
def test_two_equal_models_are_told_apart_as_rarely_as_two_standard_errors_say(num):
    rng = np.random.default_rng(num)
    pairs = rng.normal(size=(1000, 2, num, 1)) + rng.normal(scale=1e-6, size=(1000, 2, num, 4))
    wrong = np.mean([not paired_difference(first, second).is_tie for first, second in pairs])
    assert wrong < 0.0455 + 0.02


def test_seeds_have_an_error_of_their_own_and_a_copy_is_a_tie():
    rng = np.random.default_rng(1)
    nats = rng.normal(80, 20, 50)
    first, second = nats + np.array([[0.0], [3.0], [6.0]]), nats + np.array([[4.0], [5.0]])
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(-1.5) and found.stderr == pytest.approx(0, abs=1e-9)
    assert found.seeds_stderr == pytest.approx((9 / 3 + 0.5 / 2) ** 0.5)  # Welch, by hand
    by_scipy = scipy.stats.ttest_ind(*(each.mean(1) for each in (first, second)), equal_var=False)
    low, high = by_scipy.confidence_interval(1 - 2 * scipy.stats.norm.sf(2))
    assert found.tie == pytest.approx((high - low) / 2)
    assert found.is_tie  # by its seeds, though every example has the same difference
    assert not paired_difference(np.full((1, 3), np.inf), np.ones((1, 3))).is_tie
    assert not paired_difference(np.ones((2, 3)), np.array([[1, np.inf, 1], [1, 1, 1]])).is_tie
    copy = paired_difference(nats[None], nats[None])
    assert copy.is_tie and (copy.mean, copy.wins, copy.losses) == (0, 0, 0)
    assert paired_difference(np.zeros((1, 1)), np.ones((1, 1))).is_tie  # one example has no standard error
    assert not paired_difference(np.zeros((1, 3)), np.ones((1, 3))).is_tie


IMAGE = EventSpec((2, 3), kind="levels", num_levels=4)


@pytest.fixture(scope="module")
def parts():
    model = make_model(IMAGE, "made", hidden_sizes=(8,), ordering="reversed", partition="blocks(size=2)")
    x = np.random.default_rng(0).integers(0, 4, (7, 2, 3))
    mask = np.ones((7, 2, 3), np.float32)
    mask[:3, 0, 0] = 0
    return model, jax.jit(model.init)(jax.random.key(0)), x, mask


def by_hand(model, params, x, mask):
    """[N, S] entropies and -log p by step, and which rows count, one example at a time."""
    log_prob, entropy = (np.asarray(v, np.float64).reshape(len(x), -1) for v in jax.jit(model.conditionals)(params, x))
    mask = mask.reshape(len(x), -1)
    blocks = np.asarray(model.factorization.blocks)
    return [np.stack([(v * mask)[:, sites].sum(1) for sites in blocks], 1) for v in (entropy, -log_prob)]


@pytest.mark.parametrize("batch_size", [pytest.param(2, marks=pytest.mark.slow), 7, 16])
def test_means_and_errors_by_hand(parts, batch_size):
    model, params, x, mask = parts
    found = step_entropy(
        model, params, from_arrays(IMAGE, train=x, test={"x": x, "mask": mask}), "test", Scoring(batch_size)
    )
    entropy, nll = by_hand(model, params, x, mask)
    np.testing.assert_allclose(found.entropy, entropy.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.nll, nll.mean(0), rtol=1e-5)
    # the first entropy is the same for all examples: in float32 its error is not quite 0
    np.testing.assert_allclose(found.entropy_stderr, entropy.std(0, ddof=1) / np.sqrt(7), rtol=1e-3, atol=5e-4)
    np.testing.assert_allclose(found.nll_stderr, nll.std(0, ddof=1) / np.sqrt(7), rtol=1e-3, atol=1e-4)
    assert found.num_examples == 7 and found.entropy_over_grid.shape == (2, 3)


def test_sum_over_steps_is_the_likelihood(parts):
    model, params, x, _ = parts
    found = step_entropy(model, params, from_arrays(IMAGE, train=x), "train", Scoring(4))
    assert found.nll.sum() == pytest.approx(-float(jax.jit(model.log_prob)(params, x).mean()), rel=1e-5)


def test_the_first_examples_only(parts):
    model, params, x, _ = parts
    some = step_entropy(model, params, from_arrays(IMAGE, train=x), "train", Scoring(2), max_examples=5)
    first = step_entropy(model, params, from_arrays(IMAGE, train=x[:5]), "train", Scoring(5))
    assert some.num_examples == 5
    np.testing.assert_allclose(some.nll, first.nll, rtol=1e-5)


def test_a_step_that_nobody_has_is_nan(parts):
    model, params, x, _ = parts
    mask = np.ones((7, 2, 3), np.float32)
    mask[:, 1, 1:] = 0  # the first step of the reversed order
    found = step_entropy(model, params, from_arrays(IMAGE, train={"x": x, "mask": mask}), "train", Scoring(4))
    assert np.isnan(found.entropy[0]) and np.isfinite(found.entropy[1:]).all()


@pytest.mark.slow
def test_estimates_have_other_noise_in_each_batch():
    """Equal examples, one in a batch: entropies and -log p of a head that draws differ by its noise alone."""
    head = "diffusion(steps=2, schedule='cosine', prediction='velocity', features=2, width=4, layers=1)"
    model = make_model(EventSpec((2,), (2,), "real"), "made", hidden_sizes=(4,), conditional=head)
    data = from_arrays(model.event, train=np.ones((3, 2, 2), np.float32))
    found = step_entropy(model, jax.jit(model.init)(jax.random.key(0)), data, "train", Scoring(1))
    assert (found.entropy_stderr > 0.01).all() and (found.nll_stderr > 0.01).all()


SCALE, SHIFT = np.float32([0.01, 3.0, 50.0]), np.float32([1.0, -2.0, 0.0])
Z = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
MASK = np.float32(np.arange(60).reshape(20, 3) % 3 != 1)


@pytest.fixture(scope="module")
def scored():
    """A model, its parameters, and how it scores z in both units, with and without a mask."""
    model = make_model(EventSpec((3,), (), "real", 0), "made", hidden_sizes=(8,), ordering="reversed")
    params = jax.jit(model.init)(jax.random.key(0))
    mesh, results = make_mesh(1, 1, 1), {}
    for units, masked in [(u, m) for u in ("z", "x") for m in (False, True)]:
        test = {"x": Z} | ({"mask": MASK} if masked else {})
        data = from_arrays(model.event, train=Z, test=test)
        if units == "x":
            data = dataclasses.replace(data, scale=SCALE, shift=SHIFT)
        results[units, masked] = (
            Evaluator(model, data, Scoring(8, mesh))(params, "test")["nll_nats"],
            step_entropy(model, params, data, "test", Scoring(8)),
        )
    return model, params, results


def test_log_likelihoods_are_those_of_the_data(scored):
    model, params, results = scored
    expected = -np.asarray(jax.jit(model.log_prob)(params, Z)).mean()
    np.testing.assert_allclose(results["z", False][0], expected, rtol=1e-5)
    np.testing.assert_allclose(results["x", False][0], expected + np.log(SCALE).sum(), rtol=1e-5)


def test_a_mixture_of_orders_is_a_density_of_the_data_too():
    """Every order gets the same Jacobian, and so do the mixture and its bound."""
    model = make_model(EventSpec((3,), (), "real", 0), "made", hidden_sizes=(8,), orders="pool(num=2)")
    params, results = jax.jit(model.init)(jax.random.key(0)), []
    for units in ({}, {"scale": SCALE, "shift": SHIFT}):
        data = dataclasses.replace(from_arrays(model.event, train=Z, test=Z), **units)
        results.append(Evaluator(model, data, Scoring(20, num_orders=2))(params, "test"))
    for name in ("nll_nats", "negative_elbo_nats"):
        np.testing.assert_allclose(results[1][name] - results[0][name], np.log(SCALE).sum(), rtol=1e-4)


def test_sites_that_do_not_count_add_nothing(scored):
    _, _, results = scored
    added = results["x", True][0] - results["z", True][0]
    np.testing.assert_allclose(added, np.log(SCALE[[0, 2]]).sum(), rtol=1e-4)


def test_entropies_along_the_order_are_those_of_the_data(scored):
    model, _, results = scored
    order = np.asarray(model.factorization.order)
    for name, places in (("entropy", order), ("nll", order), ("entropy_over_grid", np.arange(3))):
        difference = getattr(results["x", False][1], name) - getattr(results["z", False][1], name)
        np.testing.assert_allclose(difference, np.log(SCALE)[places], rtol=1e-4, atol=1e-5)


def test_a_gaussian_fits_in_any_units():
    """The definition: the density of x = shift + scale z."""
    data = dataclasses.replace(from_arrays(EventSpec((3,), (), "real", 0), train=Z), scale=SCALE, shift=SHIFT)
    x = data.in_data_units(Z)
    np.testing.assert_allclose(x, SHIFT + SCALE * Z, rtol=1e-6)
    np.testing.assert_allclose(data.log_scale_D, np.log(SCALE), rtol=1e-6)
    plain = from_arrays(EventSpec((3,), (), "real", 0), train=Z)
    assert plain.in_data_units(Z) is Z and not plain.log_scale_D.any()
