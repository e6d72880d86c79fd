"""Trained models beside one another."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from refusals import refusal

import arjax
from arjax.api.comparing import mixture_of_runs, row_in_words
from arjax.api.trained_model import TrainedModel


def by_hand(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    nats = first - second
    return nats.mean(), nats.std(ddof=1) / len(nats) ** 0.5


def nats(model: TrainedModel, split: str = "test") -> np.ndarray:
    return -model.log_prob(model.dataset.splits[split].arrays.x)


@pytest.fixture(scope="module")
def three(config, run, tmp_path_factory):
    """Two seeds of a config beside another config, which has the same programs."""
    folder = tmp_path_factory.mktemp("others")
    seed = arjax.fit(config, folder / "seed", {"seed": 1}, quiet=True)
    other = arjax.fit(config, folder / "other", {"seed": 2, "train.log_every": 4}, quiet=True)
    return run, seed, other


def test_three_pairs_of_runs_equal_the_paired_test_by_hand(three):
    """The nats come out of the folders of finished runs, and of other splits from the parameters."""
    for first, second, split in ((0, 2, "test"), (0, 1, "test"), (2, 1, "validation")):
        one, two = three[first], three[second]
        found = arjax.compare(one.workdir, two, split=split)
        assert np.load(one.workdir / "rows.npz")["test"].dtype == np.float32
        assert (found.differences[0].mean, found.differences[0].stderr) == pytest.approx(
            by_hand(nats(one, split), nats(two, split)), rel=1e-3, abs=1e-5
        )
        assert found.split == split and found.first.name == str(one.workdir)


def test_runs_that_differ_in_their_seed_are_seeds_of_one_model(three):
    run, seed, other = three
    found = arjax.compare(run, other, seed)
    (difference,) = found.differences
    assert found.first.nats_SN.shape == (2, len(nats(run))) and "(2 seeds)" in repr(found)
    mean, stderr = by_hand((nats(run) + nats(seed)) / 2, nats(other))
    assert (difference.mean, difference.stderr) == pytest.approx((mean, stderr), rel=1e-3, abs=1e-5)
    assert np.isnan(difference.seeds_stderr)  # the other model has one seed


def test_a_model_ties_with_its_copy(run, tmp_path):
    shutil.copytree(run.workdir, tmp_path / "copy")
    found = arjax.compare(run, tmp_path / "copy")
    assert found.verdict() == "tie" and found.differences[0].mean == 0


def test_examples_on_which_models_differ_most_come_from_both_ends(three):
    run, _, other = three
    found = arjax.compare(run, other)
    order = np.argsort(nats(run) - nats(other))
    assert found.most_different(5).tolist() == [*order[:3], *order[-2:]]
    number = found.most_different(1)[0]
    assert found.nats(number) == pytest.approx([nats(run)[number], nats(other)[number]], rel=1e-4)


def test_models_without_a_folder_are_compared_too(fitted):
    worse = dataclasses.replace(fitted, params=jax.tree.map(np.zeros_like, fitted.params))
    found = arjax.compare(fitted, worse)
    assert found.verdict() == "better" and found.others[0].name == "model 2"
    assert found.others[0].nats_SN.mean() == pytest.approx(5 * np.log(2), rel=1e-5)


def test_what_cannot_be_compared_is_refused(run, fitted):
    assert "a comparison needs a second model" in refusal(arjax.compare, run)
    assert "has 100 examples, that of the first model" in refusal(arjax.compare, run, fitted)
    source = fitted.dataset.splits["test"]
    flipped = type(source)(fitted.model.event, source.arrays.replace(x=1 - source.arrays.x))
    other = dataclasses.replace(fitted, dataset=dataclasses.replace(fitted.dataset, splits={"test": flipped}))
    assert "model 2 has other examples in its test split" in refusal(arjax.compare, fitted, other)
    assert "no testt split, did you mean 'test'" in refusal(arjax.compare, run, run.workdir, split="testt")
    broken = dataclasses.replace(fitted, params=jax.tree.map(lambda leaf: leaf * np.nan, fitted.params))
    assert "model 2 has nats that are not finite on 100 examples of the test" in refusal(arjax.compare, fitted, broken)


def test_examples_of_which_other_sites_are_scored_are_not_paired(fitted):
    source = fitted.dataset.splits["test"]
    mask = np.ones((len(source), 5), np.float32)
    for value, refused in ((1, False), (0, True)):
        mask[:, 0] = value
        masked = type(source)(fitted.model.event, source.arrays.replace(mask=mask))
        other = dataclasses.replace(fitted, dataset=dataclasses.replace(fitted.dataset, splits={"test": masked}))
        if refused:
            assert "model 2 scores other sites of the test split" in refusal(arjax.compare, fitted, other)
        else:
            assert arjax.compare(fitted, other).verdict() == "tie"


def test_examples_of_other_weights_are_not_paired(fitted, monkeypatch):
    monkeypatch.setattr("arjax.data.sources._PIECE", 7)  # a split is read piece by piece
    source, weight = fitted.dataset.splits["test"], np.ones(100, np.float32)

    def weighted(number):
        own = np.where(np.arange(100) == number, 0, weight)
        split = type(source)(fitted.model.event, source.arrays.replace(weight=own))
        return dataclasses.replace(fitted, dataset=dataclasses.replace(fitted.dataset, splits={"test": split}))

    assert "model 2 scores other sites of the test split" in refusal(arjax.compare, weighted(3), weighted(40))
    assert 3 not in arjax.compare(weighted(3), weighted(3)).examples


def test_numbers_are_those_of_the_split_where_some_examples_are_scored(fitted):
    few = dataclasses.replace(fitted.settings, measures=dataclasses.replace(fitted.settings.measures, examples=7))
    some = dataclasses.replace(fitted, settings=few)
    found = arjax.compare(some, dataclasses.replace(some, params=jax.tree.map(np.zeros_like, fitted.params)))
    assert found.examples.tolist() == (np.arange(7) * 100 // 7).tolist()
    number = found.most_different(1)[0]
    x = fitted.dataset.splits["test"].arrays.x[[number]]
    assert found.nats(number) == pytest.approx([-fitted.log_prob(x)[0], 5 * np.log(2)], rel=1e-4)


def test_a_line_says_that_one_model_is_given_a_context():
    row = {"first": "a", "other": "b", "difference": -1.0, "stderr": 0.1, "seeds_stderr": np.nan, "wins": 1.0}
    row |= {"losses": 0.0, "verdict": "better", "first_kind": "exact", "other_kind": "exact"}
    label = {"first_given": [], "other_given": ["label"]}
    assert "nats (exact - exact given label), fewer" in row_in_words(row | label)
    assert "nats (exact), fewer" in row_in_words(row | label | {"first_given": ["label"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"standardise": False}, "sees its values in other units than that of"),
        ({"path": "other.csv"}, "has other examples in its validation split than the first model"),
    ],
)
def test_a_mixture_is_of_models_that_see_the_same_values(run, change, message, tmp_path):
    workdir = shutil.copytree(run.workdir, tmp_path / "copy")
    assert len(mixture_of_runs([run.workdir, workdir], "equal")[0].members) == 2
    config = json.loads((workdir / "config.json").read_text())
    table = np.loadtxt(config["dataset"]["path"], delimiter=",", skiprows=1)
    np.savetxt(tmp_path / "other.csv", table[::-1], delimiter=",", header="a,b,c", comments="")
    config["dataset"] |= change | ({"path": str(tmp_path / change["path"])} if "path" in change else {})
    (workdir / "config.json").write_text(json.dumps(config))
    assert message in refusal(mixture_of_runs, [run.workdir, workdir], "equal")
