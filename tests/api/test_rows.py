"""Rows of the user in trained models: units, names of columns, classes by Bayes' rule, orders that a user chooses."""

import itertools

import jax
import numpy as np
import pytest
from refusals import refusal
from scipy.stats import multivariate_normal

import arjax
from arjax.api.saving import rows_as_json
from arjax.api.trained_model import Fitted, Settings
from arjax.core.errors import say_once
from arjax.core.spec import class_label
from arjax.data import Dataset, from_arrays, make_dataset
from arjax.evaluation.report import Measures
from arjax.models import ModelChoice, make_model
from arjax.models.gaussian_mixture import gaussian_params
from arjax.testing.examples import random_like

NAMES = ("long", "wide", "high")


def trained(model, dataset=None, params=None, num_orders=1) -> Fitted:
    """A model with these parameters, or random ones, as if it had been trained on this data set, or on nothing."""
    params = random_like(model.param_shapes) if params is None else params
    dataset = dataset or Dataset("mine", model.event, model.context_spec, {})
    return Fitted(model, params, dataset, Settings(measures=Measures(batch_size=16, num_orders=num_orders)))


def lengths(unit: float) -> np.ndarray:
    """Rows in metres, or in another unit."""
    x = np.random.default_rng(0).normal(size=(60, 3)) @ [[2, 1, 0], [0, 1, 0.5], [0, 0, 0.1]] + [10, 5, 1]
    return x.round(4) * unit


def as_dict(x: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, x.T, strict=True))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The data set `table` of a csv file of reals."""
    folder = tmp_path_factory.mktemp("tables")

    def of(x: np.ndarray, name: str):
        np.savetxt(folder / name, x, delimiter=",", header=",".join(NAMES), comments="", fmt="%.10g")
        return make_dataset("table", path=str(folder / name))

    return of


@pytest.fixture(scope="module")
def metres(table):
    dataset = table(lengths(1), "metres.csv")
    return trained(make_model(dataset.event, "made", hidden_sizes=(8,), conditional="gaussian"), dataset)


def test_densities_are_those_of_the_units_of_the_file(table, metres):
    dataset = table(lengths(1000), "millimetres.csv")
    small = trained(metres.model, dataset, metres.params)
    x = lengths(1)[:20]
    of_metres, of_millimetres = metres.log_prob(as_dict(x)), small.log_prob(as_dict(1000 * x))
    np.testing.assert_allclose(of_metres - of_millimetres, 3 * np.log(1000), atol=1e-4)
    assert np.argsort(of_metres).tolist() == np.argsort(of_millimetres).tolist()
    found = small.conditional_log_prob(as_dict(1000 * x), query=["wide", "high"], evidence=["long"])
    expected = metres.conditional_log_prob(as_dict(x), query=["wide", "high"], evidence=["long"])
    np.testing.assert_allclose(expected - found, 2 * np.log(1000), atol=1e-4)


def test_only_arrays_can_be_in_the_wrong_units(metres, capsys):
    """Rows are standardised when they are read, however far from the mean they are."""
    x = np.full((1, len(NAMES)), 1e6)
    metres.log_prob(as_dict(x))
    assert "standardise(x)" not in capsys.readouterr().err
    metres.log_prob(x)
    assert "hold values up to 1e+06" in capsys.readouterr().err
    metres.log_prob(np.full((1, len(NAMES)), 255, np.uint8))
    assert "hold values up to 255, and this model reads standardised ones" in capsys.readouterr().err
    metres.log_prob(np.zeros((1, len(NAMES)), np.uint8))
    assert not capsys.readouterr().err


def normal(table):
    """One Gaussian, with its mean and covariance in the units of the file, where NaN is a missing value."""
    x = lengths(100)
    dataset, rows = table(x, "normal.csv"), np.random.default_rng(3).normal(size=(3, 3))
    model = make_model(dataset.event, kind="gaussian_mixture", components=1, start="random", min_log_scale=-4.6)
    mean, covariance = rows[0], rows @ rows.T + 0.1 * np.eye(3)
    params = jax.tree.map(np.float32, gaussian_params(np.ones(1), mean[None], covariance[None], -4.6))
    scale = dataset.scale
    return trained(model, dataset, params), mean * scale + dataset.shift, covariance * np.outer(scale, scale)


def test_a_normal_distribution_has_the_numbers_of_the_books(table):
    fitted, mean, covariance = normal(table)
    x = lengths(100)[:7]
    expected = multivariate_normal(mean, covariance).logpdf(x)
    np.testing.assert_allclose(fitted.log_prob(as_dict(x)), expected, rtol=1e-4)
    given = multivariate_normal(mean[[0, 2]], covariance[np.ix_([0, 2], [0, 2])]).logpdf(x[:, [0, 2]])
    found = fitted.conditional_log_prob(as_dict(x), query=["wide"])  # given all others
    np.testing.assert_allclose(found, expected - given, atol=2e-3)
    alone = fitted.conditional_log_prob({"wide": x[:, 1]}, query="wide", evidence=())
    np.testing.assert_allclose(alone, multivariate_normal(mean[1], covariance[1, 1]).logpdf(x[:, 1]), atol=1e-3)
    columns = as_dict(x) | {"high": [None] * 7}
    pair = multivariate_normal(mean[:2], covariance[:2, :2]).logpdf(x[:, :2])
    np.testing.assert_allclose(fitted.log_prob(columns), pair, rtol=1e-3)
    np.testing.assert_allclose(fitted.log_prob({"wide": x[:, 1]}, unknown="missing"), alone, atol=1e-3)
    found = fitted.conditional_log_prob(columns, query=["wide", "high"], evidence=["long"])
    long = multivariate_normal(mean[0], covariance[0, 0]).logpdf(x[:, 0])
    np.testing.assert_allclose(found, pair - long, atol=2e-3)


def test_conditionals_multiply_to_the_joint_and_read_their_columns_alone(metres):
    x = as_dict(lengths(1)[:9])
    first = metres.conditional_log_prob({"long": x["long"]}, query=["long"], evidence=[])
    rest = metres.conditional_log_prob(x, query=np.array([False, True, True]))
    np.testing.assert_allclose(first + rest, metres.log_prob(x), rtol=1e-5)
    np.testing.assert_array_equal(metres.conditional_log_prob(metres.encode(x), query=("wide", "high")), rest)
    for options, sentence in (
        ({"query": ["widht"]}, "the table has no column 'widht', did you mean 'wide'"),
        ({"query": ["long"], "evidence": ["long"]}, "share none with the evidence"),
        ({"query": []}, "the query must have a site"),
        ({"query": ["long"]}, "this order cannot condition on the observed sites"),
        ({"query": [0, 1]}, "query has shape (2,), but the grid is (3,)"),
    ):
        assert sentence in refusal(metres.conditional_log_prob, x, **options)


def test_draws_keep_values_given_by_names(metres):
    drawn = metres.decode(metres.sample(5, given={"long": 12.5}))
    assert drawn["long"] == pytest.approx([12.5] * 5, rel=1e-6) and np.ptp(drawn["wide"]) > 0
    expected = metres.sample(5, given=metres.encode(as_dict(lengths(1)))[0], observed=[True, False, False])
    np.testing.assert_allclose(metres.sample(5, given={"long": lengths(1)[0, 0]}), expected, atol=1e-5)
    assert "are observed: leave" in refusal(metres.sample, given={"long": 1.0}, observed=[True, False, False])


def test_a_model_in_a_file_reads_rows_without_the_data(metres, tmp_path):
    x = as_dict(lengths(1)[:5])
    loaded = arjax.load(metres.save(tmp_path / "metres.safetensors"))
    again = arjax.load(loaded.save(tmp_path / "again.safetensors"))
    for other in (loaded, again):
        np.testing.assert_array_equal(other.log_prob(x), metres.log_prob(x))
        assert other.decode(other.encode(x)) == metres.decode(metres.encode(x))
    (tmp_path / "mixed.csv").write_text("colour,size,code\n" + "red,3,1\nblue,4,?\ngreen,3.0,2\nred,5,1\n" * 4)
    mixed = {"path": str(tmp_path / "mixed.csv"), "mixed": True, "missing": "level"}
    (tmp_path / "strings.csv").write_text("language,text\n" + "it,anna\nde,hans\nit,luna\nde,otto\n" * 4)
    strings = {"file": str(tmp_path / "strings.csv"), "labels": "language"}
    (tmp_path / "book.txt").write_text("to be or not to be " * 20)
    book = {"file": str(tmp_path / "book.txt"), "length": 8, "eval_stride": 4}
    for name, options, network in (("table", mixed, "made"), ("strings", strings, "gru"), ("text", book, "gru")):
        dataset = make_dataset(name, **options)
        model = make_model(dataset.event, network, context=dataset.context)
        loaded = arjax.load(trained(model, dataset).save(tmp_path / f"{name}.safetensors"))
        assert rows_as_json(loaded.dataset.rows) == rows_as_json(dataset.rows)
        assert loaded.dataset.classes == dataset.classes
        new = options.get("path") or options["file"]
        np.testing.assert_array_equal(loaded.encode(new), dataset.rows.read(new).arrays["x"])


def test_what_has_no_names_or_no_conditionals_says_so(metres):
    parts = {name: ModelChoice(network="made") for name in ("1", "2")}
    mixture = trained(make_model(metres.model.event, kind="mixture", parts=parts), metres.dataset)
    assert mixture.log_prob(as_dict(lengths(1))).shape == (60,)
    assert "needs the conditionals of any" in refusal(mixture.conditional_log_prob, as_dict(lengths(1)), query=["long"])
    assert "MixtureModel cannot draw with given" in refusal(mixture.sample, given={"long": 1.0})
    bits = from_arrays(arjax.EventSpec((3,)), train=np.eye(3, dtype=int))
    other = trained(make_model(bits.event, "made", hidden_sizes=(4,)), bits)
    for call in (lambda: other.log_prob({"a": [1]}), lambda: other.encode("rows.csv"), lambda: other.decode([1, 0, 1])):
        assert "rows are those of a table, of strings or of a text that the model was" in refusal(call)
    assert "given by names needs the columns of a table, and 'arrays' has none" in refusal(other.sample, given={"a": 1})
    assert "query by names needs the columns" in refusal(other.conditional_log_prob, np.eye(3, dtype=int), query=["a"])


def labelled(num: int = 3):
    """Bits given a class, whose frequencies in the train split are 5, 3 and 2 tenths."""
    event, context = arjax.EventSpec((3,)), arjax.ContextSpec("label", num)
    x, label = np.random.default_rng(0).integers(0, 2, (20, 3)), np.repeat([0, 1, 2], [10, 6, 4])
    dataset = from_arrays(event, train={"x": x, "context": label}, context=context)
    return trained(make_model(event, "made", context=context, hidden_sizes=(8,), direct=False), dataset)


EVERY = np.array(list(itertools.product((0, 1), repeat=3)))


def test_posteriors_are_those_of_bayes_rule():
    fitted = labelled()
    p_CN = np.exp([fitted.log_prob(EVERY, context=c) for c in range(3)])
    np.testing.assert_allclose(p_CN.sum(1), 1, rtol=1e-5)
    assert np.ptp(p_CN, 0).max() > 0.01  # the class matters
    for prior, weights in (("train", (0.5, 0.3, 0.2)), ("uniform", (1 / 3,) * 3), ((0.0, 3.0, 1.0), (0, 0.75, 0.25))):
        joint_NC = p_CN.T * np.array(weights)
        found_NC = fitted.posterior(EVERY, prior=prior)
        assert found_NC.dtype == np.float64 and found_NC.shape == (8, 3)
        np.testing.assert_allclose(found_NC, joint_NC / joint_NC.sum(1, keepdims=True), rtol=1e-5)
    half = fitted.posterior(EVERY, mask=np.tile([1, 0, 0], (8, 1)))
    np.testing.assert_allclose(half[:4], half[:1].repeat(4, 0), rtol=1e-5)


def labelled_twice(**parts):
    """Bits given two classes; the train split has some of their combinations."""
    event = arjax.EventSpec((3,))
    context = arjax.ContextSpec(**(parts or {"style": class_label(2), "colour": class_label(3)}))
    rng = np.random.default_rng(1)
    labels = {name: rng.integers(0, 2, (20, *part.shape)) for name, part in context.parts}
    x = np.random.default_rng(0).integers(0, 2, (20, 3))
    dataset = from_arrays(event, train={"x": x, "context": labels}, context=context)
    return trained(make_model(event, "made", context=context, hidden_sizes=(8,), direct=False), dataset)


def test_posteriors_of_several_classes_are_those_of_all_combinations():
    """An axis for each part in the order of their names: colour, style."""
    fitted = labelled_twice()
    p_CSN = np.exp([[fitted.log_prob(EVERY, context={"colour": c, "style": s}) for s in range(2)] for c in range(3)])
    assert min(np.ptp(p_CSN, axis).max() for axis in (0, 1)) > 0.01  # both matter
    labels = fitted.dataset.splits["train"].arrays.context
    frequencies = np.zeros((3, 2))
    np.add.at(frequencies, (np.asarray(labels["colour"]), np.asarray(labels["style"])), 1 / 20)
    given = np.array([[1, 0], [2, 3], [0, 4.0]])
    for prior, weights_CS in (("train", frequencies), ("uniform", np.full((3, 2), 1 / 6)), (given, given / 10)):
        joint_NCS = np.moveaxis(p_CSN * weights_CS[..., None], -1, 0)
        found_NCS = fitted.posterior(EVERY, prior=prior)
        np.testing.assert_allclose(found_NCS, joint_NCS / joint_NCS.sum((1, 2), keepdims=True), rtol=1e-5)


@pytest.mark.slow
def test_posteriors_of_several_parts_that_cannot_be():
    fitted = labelled_twice()
    for prior in (np.ones(6), np.ones((2, 3))):
        assert "prior must be 3 x 2 numbers of at least 0" in refusal(fitted.posterior, EVERY, prior=prior)
    sentence = "scores all 70 x 60 combinations of a and b: more than 4,096 are too many"
    assert sentence in refusal(labelled_twice(a=class_label(70), b=class_label(60)).posterior, EVERY)
    of_words = labelled_twice(a=class_label(2), b=arjax.EventSpec((3,), (), "tokens", 4))
    assert "a class, or several classes, and the context of this one is a and b" in refusal(of_words.posterior, EVERY)


def test_posteriors_that_cannot_be(metres):
    fitted = labelled()
    for prior, sentence in (
        ("trian", "prior cannot be 'trian', did you mean 'train'"),
        ((1.0, 2.0), "prior must be 3 numbers of at least 0"),
        ((1.0, -2.0, 0.0), "prior must be 3 numbers of at least 0"),
    ):
        assert sentence in refusal(fitted.posterior, EVERY, prior=prior)
    assert "needs a model whose context is a class, or several" in refusal(metres.posterior, as_dict(lengths(1)))
    bare = trained(fitted.model)
    assert "there is no train split that has class frequencies: give prior='uniform'" in refusal(bare.posterior, EVERY)
    assert bare.posterior(EVERY, prior="uniform").shape == (8, 3)


def test_posteriors_of_bounds_are_called_estimates(capsys):
    event, context = arjax.EventSpec((3,)), arjax.ContextSpec("label", 3)
    model = make_model(event, "deep_nade", kind="discrete_chain", context=context, hidden_sizes=(8,))
    fitted = trained(model, labelled().dataset)
    say_once.cache_clear()
    found_NC = fitted.posterior(EVERY)
    np.testing.assert_allclose(found_NC.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found_NC, fitted.posterior(EVERY))  # the same noise for all classes, each time
    assert "p(class | x) is an estimate: the model has bounds of log p(x | class)" in capsys.readouterr().err


@pytest.mark.slow
def test_strings_by_their_classes(tmp_path, capsys):
    pairs = [("it", "anna"), ("de", "hans"), ("it", "luna"), ("de", "otto")] * 6
    (tmp_path / "names.csv").write_text("language,text\n" + "".join(f"{a},{b}\n" for a, b in pairs))
    dataset = make_dataset("strings", file=str(tmp_path / "names.csv"), labels="language")
    model = make_model(dataset.event, "gru", context=dataset.context, hidden_size=4)
    fitted = trained(model, dataset)
    nats = fitted.log_prob(["anna", "otto"], context=["it", "de"])
    x = fitted.encode(["anna", "otto"])
    np.testing.assert_allclose(
        nats, fitted.log_prob(x, context=[1, 0], mask=fitted.read(["anna", "otto"]).arrays["mask"])
    )
    (tmp_path / "new.csv").write_text("language,text\nit,anna\nde,otto\n")
    np.testing.assert_array_equal(fitted.log_prob(tmp_path / "new.csv"), nats)
    assert fitted.posterior(tmp_path / "new.csv").shape == (2, 2)
    assert fitted.decode(fitted.sample(2, context="it"))[0] == fitted.dataset.decode(fitted.sample(2, context=1)[0])
    assert fitted.suggest("a", context="it", length=2) == fitted.suggest("a", context=1, length=2)
    assert list(fitted.stream(3, context="it")) == list(fitted.stream(3, context=1))
    for call in (fitted.sample, fitted.stream):
        assert "'fr' is none of the 2 classes of the training" in refusal(call, 2, context="fr")
    say_once.cache_clear()
    assert fitted.posterior(["anna"]).shape == (1, 2) and capsys.readouterr().err == ""
    turned = make_model(dataset.event, "made", context=dataset.context, hidden_sizes=(4,), ordering="reversed")
    assert trained(turned, dataset).posterior(["anna"]).shape == (1, 2)  # p(padding | class) is not known
    assert "p(class | x) is an estimate: the model has estimates of log p" in capsys.readouterr().err
    short = fitted.log_prob(["an", "an"], context="it")
    assert short[0] == short[1]


X = np.array(list(itertools.product([0, 1], repeat=4)), np.int32).reshape(16, 2, 2)
ANY = "deep_nade", {"hidden_sizes": (5,)}


def model_of(network, options, event=None, num_orders=1, **choices) -> Fitted:
    event = arjax.EventSpec((2, 2)) if event is None else event
    return trained(make_model(event, network, **options, **choices), num_orders=num_orders)


@pytest.fixture(scope="module")
def any_order():
    return model_of(*ANY, orders="uniform")


def by_enumeration(fitted, order):
    """sum_t log p(x_t | x_<t), each conditional from the joint probabilities of its query and its evidence."""
    total = np.zeros(len(X))
    for t, site in enumerate(order):
        sites = [np.isin(np.arange(4), some).reshape(2, 2) for some in ([site], order[:t])]
        total += np.asarray(fitted.model.conditional_log_prob(fitted.params, X, query=sites[0], evidence=sites[1]))
    return total


def test_a_likelihood_under_an_order_is_that_of_its_conditionals(any_order):
    scores = {}
    orders = {"raster": (0, 1, 2, 3), "spiral": (0, 1, 3, 2), "list(order=(3, 0, 2, 1))": (3, 0, 2, 1)}
    for ordering, order in orders.items():
        scores[ordering] = any_order.log_prob(X, ordering=ordering)
        np.testing.assert_allclose(scores[ordering], by_enumeration(any_order, order), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.exp(scores[ordering]).sum(), 1, rtol=1e-5)
    assert np.ptp(np.stack(list(scores.values())), axis=0).max() > 0.01


def test_a_likelihood_under_several_orders_is_that_of_their_mixture(any_order):
    corners = any_order.log_prob(X, orders="any_of(orderings=('raster', 'spiral'))")
    each = [any_order.log_prob(X, ordering=name) for name in ("raster", "spiral")]
    np.testing.assert_allclose(corners, np.logaddexp(*each) - np.log(2), rtol=1e-5)
    several = model_of(*ANY, num_orders=3, orders="uniform")
    for num in (3, np.int64(3)):
        np.testing.assert_allclose(any_order.log_prob(X, orders=num), several.log_prob(X), rtol=1e-5)
    np.testing.assert_allclose(several.log_prob(X, orders="uniform"), several.log_prob(X), rtol=1e-5)


def test_densities_under_an_order_are_those_of_the_units_of_the_data(run):
    x = run.dataset.splits["test"].arrays.x
    np.testing.assert_allclose(run.log_prob(x, ordering="raster"), run.log_prob(x), rtol=1e-6)


def test_one_example_needs_no_batch_axis(any_order):
    for how in ({}, {"ordering": "spiral"}, {"mask": np.eye(2)}):
        one, mask = any_order.log_prob(X[5], **how), how.get("mask")
        batch = any_order.log_prob(X[5:6], **how | ({} if mask is None else {"mask": mask[None]}))
        assert np.shape(one) == () and one == batch[0]
    query = np.array([[True, False], [False, False]])
    assert any_order.conditional_log_prob(X[5], query=query) == any_order.conditional_log_prob(X, query=query)[5]


def test_the_kind_of_a_score_is_stated(any_order, capsys):
    bounds = model_of(*ANY, arjax.EventSpec((2,), (2,), "real"), orders="uniform", conditional="diffusion(steps=2)")
    for fitted, kinds in ((any_order, ["exact"] * 3), (bounds, ["bound", "bound", "estimate"])):
        assert [fitted.score_kind(**how) for how in ({}, {"ordering": "raster"}, {"orders": 2})] == kinds
    say_once.cache_clear()
    bounds.log_prob(np.zeros((3, 2, 2)), ordering="raster")
    assert "no exact log-likelihood but of kind 'bound'" in capsys.readouterr().err


def test_an_order_that_was_not_trained_is_said(capsys):
    say_once.cache_clear()
    one = model_of("made", {"hidden_sizes": (5,)})
    np.testing.assert_allclose(one.log_prob(X, ordering="raster"), one.log_prob(X), rtol=1e-5)
    assert not capsys.readouterr().err
    np.testing.assert_allclose(np.exp(one.log_prob(X, ordering="spiral")).sum(), 1, rtol=1e-5)
    assert "was not trained under" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"ordering": "spirla"}, "unknown ordering 'spirla', did you mean 'spiral'"),
        ({"orders": "rastres"}, "'rastres', did you mean 'rasters'"),
        ({"ordering": "raster", "orders": "rasters"}, "give one of the two"),
        ({"orders": 2}, "this model has one order"),
        ({"orders": 0}, "at least 1, not 0"),
        ({"ordering": "variance"}, "is read off the training data"),
        ({"ordering": "spiral"}, "raster"),
    ],
)
def test_orders_that_cannot_be_are_one_sentence(choice, sentence):
    fitted = model_of("pixelcnn", {"hidden_size": 4, "num_layers": 1})
    for call in (lambda: fitted.log_prob(X, **choice), lambda: fitted.score_kind(**choice)):
        assert sentence in refusal(call)


def test_a_kind_without_orders_says_so():
    model = make_model(arjax.EventSpec((2,), kind="real"), kind="gaussian_mixture", components=1, start="random")
    told = refusal(trained(model).log_prob, np.zeros((3, 2)), ordering="raster")
    assert "`log_prob` under an order needs the conditionals of an autoregressive model" in told
