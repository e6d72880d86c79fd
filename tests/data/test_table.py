"""Tables: csv files as real vectors or levels, their splits, units, and what is wrong with a file in one sentence."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples_of import x_of

from arjax.cli.main import main
from arjax.conditionals import Bernoulli, make_conditional
from arjax.config import network_config
from arjax.config.build import build
from arjax.config.files import load_config_file
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import make_dataset

RNG = np.random.default_rng(0)
X = np.stack([RNG.normal(1e6, 3, 50), RNG.normal(-2, 0.01, 50), RNG.integers(0, 3, 50)], 1)


def text_of(x: np.ndarray, header: str = "a,b,grade\n", delimiter: str = ",") -> str:
    return header + "".join(delimiter.join(map(repr, map(float, row))) + "\n" for row in x)


def test_splits_are_a_partition_of_the_rows_in_data_units(write):
    path = write(text_of(X))
    dataset = make_dataset("table", path=path, validation=0.2)
    assert (dataset.name, dataset.event) == ("table/mine", EventSpec((3,), kind="real", num_levels=0))
    train, *others = (dataset.in_data_units(x_of(dataset, split)) for split in ("train", "validation", "test"))
    assert [len(part) for part in (train, *others)] == [35, 10, 5]
    together = np.concatenate([train, *others])
    np.testing.assert_allclose(together[together[:, 1].argsort()], X[X[:, 1].argsort()], rtol=1e-6, atol=1e-5)
    assert (np.diff(together[:, 0]) < 0).any()  # shuffled
    np.testing.assert_allclose([dataset.shift, dataset.scale], [train.mean(0), train.std(0)], rtol=1e-3)
    np.testing.assert_allclose(dataset.log_scale_D, np.log(dataset.scale), rtol=1e-6)
    as_it_is = make_dataset("table", path=path, standardise=False, skip=("a",))
    assert as_it_is.scale is None and np.abs(x_of(as_it_is, "train")[:, 0] + 2).max() < 0.1
    one, again, other = (x_of(make_dataset("table", path=path, split_seed=seed), "test") for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("columns", [("grade", "a"), (2, 0), ("grade", 0)])
def test_columns_by_name_or_number(write, columns):
    dataset = make_dataset("table", path=write(text_of(X)), columns=columns)
    np.testing.assert_allclose(dataset.shift, X[:, [2, 0]].mean(0), rtol=0.3)


def test_delimiters_between_cells_of_several_words_and_of_a_table_without_names(write):
    text = "home town\n" + "New York\nSan Diego\n" * 10
    assert make_dataset("table", path=write(text), levels=2).event == EventSpec((1,), kind="binary")
    with pytest.raises(UserError, match="give delimiter=' '"):
        make_dataset("table", path=write("a b\n" + "1 2\n2 3\n" * 10))
    options = {"path": write(text_of(X, "", ";")), "header": False, "delimiter": ";", "columns": ("1",)}
    np.testing.assert_allclose(make_dataset("table", **options).shift, [-2], atol=0.01)


def test_mixed_columns_become_levels(write):
    size = np.arange(40) * 1.5
    rows = "".join(f"{s},{'red' if s % 2 else 'blue'},{i % 3 * 10}\n" for i, s in enumerate(size))
    dataset = make_dataset("table", path=write("size,colour,ten\n" + rows), levels=4)
    assert dataset.event == EventSpec((3,), kind="levels", num_levels=4)
    train = x_of(dataset, "train")
    assert np.bincount(train[:, 0], minlength=4).tolist() == [8] * 4  # quarters of the train rows
    assert set(train[:, 1]) == {0, 1} and set(train[:, 2]) == {0, 1, 2}
    every = x_of(dataset)
    assert np.bincount(every[:, 1]).tolist() == [10, 30]  # blue, red
    dataset = make_dataset("table", path=write("a,b\n" + "yes,0\nno,1\n" * 5), levels=2)
    assert dataset.event == EventSpec((2,))


REAL = "a,b\n1,2\n3,2\n5,2\n"
WORD = "row 3 of the table .* holds 'red' in the column 'b', which is no number: leave the column out with `skip`"


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (None, {}, "needs a csv file: give its path, such as config.dataset.path=my.csv"),
        ("a,b\n1,2\n3,4\n", {}, "needs three rows or more, one for each split, but has 2"),
        ("1,2\n3,4\n5,6\n7,8\n", {}, "does not name its columns, but holds the numbers 1, 2: give header=False"),
        ("a,b\n1,2\n3,red\n5,6\n", {}, WORD + ", write it as numbers, or take mixed=True, with which"),
        ("a,b\n1,2\n3,red\n5,6\n", {"mixed": True, "kinds": ("b:real",)}, WORD + " or write it as numbers$"),
        ("a,b\n1,2\n3,1e300\n5,6\n", {}, "row 3 .* holds '1e300' in the column 'b', which is above 3.4e38, so scale"),
        ("a,b\n1,2e-60\n3,1e-60\n5,4e-60\n6,3e-60\n", {}, "the column 'b' of 'table/mine' varies by .*: give it in"),
        ("a,b\n1,0\n0,1\n0,1\n1,1\n", {}, "is binary, all of it is 0 or 1: give levels=2$"),
        (
            "a,b\n1,0\n3,1\n5,1\n7,0\n",
            {},
            r"nothing but 0 and 1, .* \('b'\): leave them out with `skip`, or take mixed",
        ),
        (
            "a,b\n1,0\n3,1\n5,1\n",
            {"mixed": True, "kinds": ("b:real",)},
            r"\('b'\): state no kind of theirs, or binary$",
        ),
        ("a,b\n1,2\n3,2\n5,2\n6,2\n", {}, "the column 'b' of 'table/mine' holds one number in all train rows"),
        (REAL, {"validation": 0.0}, "the part of the rows for validation must be between 0 and 1"),
        (REAL, {"test": 0.9}, "no rows are left to train on: validation=0.1 and test=0.9 take all 3"),
        (REAL, {"columns": ("c",)}, "the table has no column 'c'; there are: a, b"),
        (REAL, {"columns": (2,)}, "the table has no column 2; there are: a, b"),
        (REAL, {"columns": (-1,)}, "the table has no column -1"),
        (REAL, {"columns": ("a", 0)}, "columns of a table names one of them twice"),
        (REAL, {"skip": ("a", 1)}, "skip of a table leaves no column"),
        (REAL, {"skip": ("b", 1)}, "skip of a table names one of them twice"),
        (REAL, {"skip": ("a",), "columns": (0,)}, "give one of the two"),
        ("a,b\n1,x\n3,y\n5,z\n", {"levels": 2}, "the column 'b' of the table holds 3 different words, above levels=2"),
        ("a,b\n1,x\n3,y\n5,z\n", {"levels": 1}, "levels of a table must be 0 .* or a whole number above 1, not 1"),
    ],
)
def test_what_is_wrong_is_one_sentence(write, text, options, sentence):
    path = {} if text is None else {"path": write(text)}
    with pytest.raises(UserError, match=sentence):
        make_dataset("table", **path | options)


@pytest.mark.slow
def test_a_table_is_trained_and_scored_in_its_units(write, tmp_path):
    config = f"--config=configs/wine_quality.py:smoke,table={write(text_of(X))}"
    assert main([config, f"--workdir={tmp_path / 'run'}"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["dataset"] == "table/mine" and -30 < results["nll_nats"] < 30
    samples = np.load(tmp_path / "run" / "samples" / "samples.npy")
    assert (np.abs(samples[:, 0] - 1e6) < 1000).all()


def test_noise_is_fresh_and_of_training_alone(write):
    dataset = make_dataset("table", path=write(text_of(X)), noise=0.5)
    rows = Batch(x=jnp.asarray(x_of(dataset, "train")))
    assert dataset.transform(jax.random.key(0), rows, False) is rows
    np.testing.assert_array_equal(dataset.first_examples(3).x, x_of(dataset, "test")[:3])
    one, other = (np.asarray(dataset.transform(jax.random.key(k), rows, True).x - rows.x) for k in (0, 1))
    assert abs(one.std() - 0.5) < 0.1 and abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.3
    with pytest.raises(UserError, match="noise is for real values, and those of 'table/mine' are"):
        make_dataset("table", path=write(text_of(X)), levels=4, noise=0.1)


def test_families_for_two_levels_of_any_kind(write):
    dataset = make_dataset("table", path=write("a,b\n" + "0,1\n1,1\n1,0\n" * 5), levels=2)
    assert dataset.event == EventSpec((2,)) and make_conditional("", dataset.event) == Bernoulli()
    for call in ("gaussian", "beta", "logistic_mixture", "discretized_logistic_mixture"):
        with pytest.raises(UserError, match=r"not binary: take bernoulli$"):
            make_conditional(call, dataset.event)
    path = write("a,b\n" + "0,1\n3,1\n1,0\n" * 5)
    assert make_dataset("table", path=path, columns=("a",)).event == EventSpec((1,), kind="real")
    for kind in ("levels", "tokens"):
        event = EventSpec((2,), kind=kind, num_levels=2)
        with pytest.raises(UserError, match=f"not {kind}: take bernoulli$"):
            make_conditional("gaussian", event)
        assert make_conditional("bernoulli", event) == Bernoulli()
    with pytest.raises(UserError, match=r"not levels: take categorical$"):
        make_conditional("bernoulli", EventSpec((2,), kind="levels", num_levels=3))


def test_samples_of_another_number_of_columns_are_refused(write):
    config = load_config_file("binary_table:smoke")
    config.network = network_config("lstm", hidden_size=4)
    config.sample.length = 5
    with pytest.raises(UserError, match=r"config.sample.length needs sites that are alike, and these are columns"):
        build(config)
