"""Splits that are read one by one: anything with a length and numbers, such as a grain MapDataset."""

import numpy as np
import pytest
from refusals import refusal

import arjax
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.data import from_arrays
from arjax.data.sources import ArraySource, source_of

EVENT = EventSpec((3,), kind="tokens", num_levels=7)
X = (np.arange(60).reshape(20, 3) * 5 % 7).astype(np.uint8)


class Items:
    """Something with a length and numbers; `read` makes the item of a number."""

    def __init__(self, read, num=20):
        self.read, self.num, self.numbers = read, num, []

    def __len__(self):
        return self.num

    def __getitem__(self, number):
        self.numbers.append(number)
        return self.read(number)


def test_items_are_the_rows_of_arrays():
    labels, mask = np.arange(20) % 4, (np.arange(60).reshape(20, 3) % 3 > 0).astype(np.float64)
    context = ContextSpec("label", 4)
    whole = from_arrays(EVENT, train={"x": X, "context": labels, "mask": mask}, context=context)
    items = Items(lambda i: {"x": X[i], "context": labels[i], "mask": mask[i]})
    single = from_arrays(EVENT, train=items, context=context)
    numbers = np.array([3, 17, 3])
    left, right = (data.splits["train"].__getitems__(numbers) for data in (whole, single))
    for name in ("x", "mask"):
        assert getattr(left, name).dtype == getattr(right, name).dtype
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    np.testing.assert_array_equal(left.context["label"], right.context["label"])
    assert items.numbers[-3:] == [3, 17, 3] and len(single.splits["train"]) == 20


@pytest.mark.parametrize("on_device", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_items_train_like_arrays(on_device):
    model = arjax.make_model(EVENT, "made", hidden_sizes=(4,))
    options = {"steps": 6, "batch_size": 5, "eval_every": 3, "quiet": True, "data_on_device": on_device}
    one, other = (
        arjax.fit_arrays(model, train=make(X), validation=make(X[:7]), **options)
        for make in (lambda x: x, lambda x: Items(x.__getitem__, len(x)))
    )
    np.testing.assert_array_equal(one.log_prob(X), other.log_prob(X))


def test_arrays_of_all_libraries_stay_arrays():
    for x in (X, X.tolist(), tuple(X), {"x": X}, np.ma.array(X)):
        assert isinstance(source_of(EVENT, NO_CONTEXT, "train", x), ArraySource)


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (lambda i: None if i == 7 else X[i], "item 7 of the train examples is None, as in a MapDataset"),
        (lambda i: (X[i], 3), "item 0 of the train examples is a pair or a list: make it an array, or a dict"),
        (lambda i: X[i, : 1 + i % 3], "differ in the names or the shapes of their arrays"),
        (lambda i: {"x": X[i]} if i else {"y": X[i]}, "differ in the names or the shapes of their arrays"),
        (lambda i: {"y": X[i]}, "nothing reads the train array 'y'"),
        (lambda i: X[i, :2], "the train examples must have shape (N, 3), not (20, 2)"),
        (lambda i: X[i] + 1, "7"),
    ],
)
def test_wrong_items_are_one_sentence(read, sentence):
    assert sentence in refusal(lambda: from_arrays(EVENT, train=Items(read)))


def test_wrong_lengths_and_missing_values_are_one_sentence():
    assert "there are no train examples" in refusal(lambda: from_arrays(EVENT, train=Items(None, 0)))
    assert "have no end: leave out" in refusal(lambda: from_arrays(EVENT, train=Items(None, 2**63 - 1)))
    real, items = EventSpec((2,), kind="real"), Items(lambda i: np.array([i, np.nan if i == 3 else 0.5]))
    assert "items have all values" in refusal(lambda: from_arrays(real, train=items))
    items = Items(lambda i: np.array([i, 0.5]))
    assert "standardise those that are read one by one" in refusal(
        lambda: from_arrays(real, train=items, standardise="sites")
    )
    items = Items(lambda i: np.array([i * 1e-9 + 1, 0.5]))
    assert "float32" in refusal(lambda: from_arrays(real, train=items))


def test_a_map_dataset_of_grain():
    grain = pytest.importorskip("grain")
    rows = grain.MapDataset.source(list(range(20))).map(lambda i: {"x": X[i]})
    data = from_arrays(EVENT, train=rows, validation=grain.MapDataset.source(X)[:5])
    np.testing.assert_array_equal(data.splits["train"].__getitems__(np.array([4, 2])).x, X[[4, 2]])
    assert len(data.splits["validation"]) == 5
    assert "have no end" in refusal(lambda: from_arrays(EVENT, train=rows.repeat()))
    assert "as in a MapDataset that was filtered" in refusal(
        lambda: from_arrays(EVENT, train=rows.filter(lambda row: row["x"][0] > 2))
    )
