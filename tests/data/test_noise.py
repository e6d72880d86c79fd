"""Noise is valid data of the wanted shape, the same every time, and different in every split."""

import numpy as np
import pytest

from arjax.core.errors import UserError, say_once
from arjax.data import make_dataset


@pytest.mark.parametrize("kind", ["binary", "levels", "tokens", "real"])
def test_values_and_shapes(kind):
    levels = {"num_levels": 5} if kind in ("levels", "tokens") else {}
    dataset = make_dataset("noise", grid=(3, 2), value=(2,), kind=kind, num_classes=4, **levels)
    batch = dataset.splits["train"].__getitems__(np.arange(200))
    assert batch.x.shape == (200, 3, 2, 2) and batch.x.dtype == dataset.event.dtype
    assert set(np.unique(batch.context["label"])) == set(range(4))
    if dataset.event.is_discrete:
        assert set(np.unique(batch.x)) == set(range(dataset.event.num_levels))


def test_rows_do_not_depend_on_what_is_read_with_them():
    source = make_dataset("noise").splits["train"]
    np.testing.assert_array_equal(source.__getitems__(np.array([7, 3])).x[1], source.__getitems__(np.array([3])).x[0])


def test_splits_differ():
    splits = make_dataset("noise", num_examples=10).splits
    assert len(splits["test"]) == 10
    assert (splits["train"].__getitems__(np.arange(5)).x != splits["test"].__getitems__(np.arange(5)).x).any()


def test_sequences_to_condition_on_have_every_length():
    dataset = make_dataset("noise", num_classes=4, context_length=3)
    context = dataset.splits["train"].__getitems__(np.arange(200)).context["sequence"]
    assert context.shape == (200, 3) and context.dtype == np.int32
    assert set(np.unique(context)) == {-1, 0, 1, 2, 3}
    lengths = (context >= 0).sum(1)
    assert set(lengths) == {1, 2, 3}
    np.testing.assert_array_equal(context >= 0, np.arange(3) < lengths[:, None])


def test_sequences_need_tokens():
    with pytest.raises(UserError, match="'context_length' needs 'num_classes'"):
        make_dataset("noise", context_length=3)


def test_levels_are_of_levels_and_tokens(capsys):
    say_once.cache_clear()
    assert make_dataset("noise", kind="binary", num_levels=2).event.num_levels == 2
    for kind in ("binary", "real"):
        assert make_dataset("noise", kind=kind, num_levels=5).event.num_levels != 5
        assert f"num_levels=5 has no effect on {kind} data" in capsys.readouterr().err


def test_no_examples():
    with pytest.raises(UserError, match="num_examples"):
        make_dataset("noise", num_examples=0)
