"""Small parts of evaluation by themselves: keys of bounds, limits of numbers that users give."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.options import typed_fields
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, class_label
from arjax.data import make_dataset
from arjax.data.base import from_arrays
from arjax.data.vocabulary import make_vocabulary
from arjax.evaluation.bounds import _key_of_transform
from arjax.evaluation.entropy import _means, _sums
from arjax.evaluation.inpainting import half_of_image
from arjax.evaluation.judges import spread_rows
from arjax.evaluation.likelihood import codes_in_use
from arjax.evaluation.report import Measures, report
from arjax.evaluation.sampling import Conditioning, parse_context, prompt_tokens
from arjax.models import make_model


def test_the_keys_of_transform_and_bound_are_apart():
    key = jax.random.key(3)
    first, second = jax.random.key_data(jax.random.split(key))
    found = jax.random.key_data(_key_of_transform(key))
    assert (found == first).all() and not (found == second).all()


LEAST = {"batch_size": 1, "num_orders": 1, "steps": 0, "samples": 0, "exposure": 0, "length": 0, "examples": 0}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_limits_of_measures(name, least):
    typed_fields(Measures, {name: least})
    for wrong in (least - 1, 1.5, True, "1"):
        with pytest.raises(UserError, match=f"^{name} must be (an integer|at least {least})"):
            typed_fields(Measures, {name: wrong})


def test_measures_that_there_are_not():
    for name in ("schedule", "judge"):
        with pytest.raises(UserError, match=f"^{name} must be a text"):
            typed_fields(Measures, {name: 3})
    dataset = make_dataset("noise", grid=(4,), num_levels=3, num_examples=8)
    one = make_model(dataset.event, "made")
    several = make_model(dataset.event, "masked_transformer", orders="uniform")
    Measures().check(one, dataset)
    Measures(num_orders=2, steps=4).check(several, dataset)
    for model, wrong in (
        (one, {"num_orders": 2}),
        (several, {"steps": 5}),
        (one, {"judge": "x"}),
        (one, {"length": 3}),
        (one, {"exposure": 2, "length": 3}),
    ):
        with pytest.raises(UserError):
            Measures(**wrong).check(model, dataset)


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

    found = {
        (num, kind, unbiased): kind_of(num, kind, unbiased)
        for num in (1, 2)
        for kind in ("exact", "bound", "none")
        for unbiased in (True, False)
    }
    assert found.pop((2, "bound", False)) == "estimate"
    assert all(value == kind for (_, kind, _), value in found.items())


LETTERS = EventSpec((5,), kind="tokens", num_levels=3)
TEXT = SimpleNamespace(name="mine", event=LETTERS, vocabulary=make_vocabulary("abc"), context=NO_CONTEXT)


def test_prompts_are_the_beginning_of_examples_or_of_longer_texts():
    assert prompt_tokens(TEXT, "ba").tolist() == [1, 0] and len(prompt_tokens(TEXT, "abca")) == 4
    assert prompt_tokens(TEXT, "abcabca", 8).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert list(Conditioning("ba").options(TEXT, 8)) == ["given"] and Conditioning().options(TEXT, 0) == {}
    for prompt, length, sentence in (
        ("abcab", 0, "a prompt has 1 to 4 characters, as examples of 'mine' have 5; this one has 5"),
        ("abcabcab", 8, "a prompt of 8 characters leaves nothing to draw of a text of 8"),
        ("abx", 0, "the prompt has the character 'x'"),
    ):
        with pytest.raises(UserError, match=sentence):
            prompt_tokens(TEXT, prompt, length)
    assert Conditioning("ab", "3").about() == {"prompt": "ab", "context": "3"} and Conditioning().about() == {}


def test_classes_of_a_context():
    one, two = ContextSpec("label", 3), ContextSpec(writer=class_label(12), style=class_label(4))
    assert parse_context(one, "2") == parse_context(one, " label = 2 ") == {"label": 2}
    assert parse_context(two, "writer=11, style=3") == {"writer": 11, "style": 3}
    for spec, text in (
        *((one, text) for text in ("3", "-1", "x", "1.0", "", "lable=1", "1,2", "label=1,label=2")),
        *((two, text) for text in ("writer=11", "3", "writer=12,style=0", "writer=0,style=0,style=1", "1,2")),
        (NO_CONTEXT, "1"),
    ):
        with pytest.raises(UserError):
            parse_context(spec, text)


def test_halves_of_images():
    assert half_of_image((3, 2), "top").tolist() == [[True] * 2, [False] * 2, [False] * 2]
    assert half_of_image((3, 2), "bottom").tolist() == [[False] * 2, [True] * 2, [True] * 2]
    assert half_of_image((2, 3), "left").tolist() == [[True, False, False]] * 2
    assert half_of_image((2, 3), "right").tolist() == [[False, True, True]] * 2
    for shape, name in (((4,), "top"), ((2, 2, 2), "top"), ((1, 4), "top"), ((4, 1), "left"), ((4, 4), "middle")):
        with pytest.raises(UserError):
            half_of_image(shape, name)
    assert half_of_image((1, 4), "bottom").all()


def test_scored_examples_are_spread_over_a_split():
    weight = np.array([1, 1, 0, 1, 1, 1, 1], np.float32)
    x = np.arange(7)[:, None].repeat(2, 1).astype(np.float32)
    dataset = from_arrays(EventSpec((2,), kind="real"), train={"x": x, "weight": weight})
    for num, rows in ((3, [0, 4]), (7, [0, 1, 3, 4, 5, 6]), (99, [0, 1, 3, 4, 5, 6]), (1, [0])):
        found = spread_rows(dataset, "train", num, jax.random.key(0))
        assert found.x[:, 0].tolist() == rows and found.weight is None
    changed = dataclasses.replace(dataset, transform=lambda key, batch, train: batch.replace(x=batch.x + 10 + train))
    assert spread_rows(changed, "train", 2, jax.random.key(0)).x[:, 0].tolist() == [10, 13]


def test_means_of_steps_leave_out_what_is_not_counted():
    """Two batches of examples, in which a step has no data."""
    rows = [
        {name: np.array(values, np.float64) for name, values in batch.items()}
        for batch in (
            {"entropy": [[1, 3], [0, 0]], "nll": [[2, 2], [0, 0]], "counted": [[1, 2], [0, 0]]},
            {"entropy": [[5, 0], [0, 0]], "nll": [[8, 0], [0, 0]], "counted": [[1, 0], [0, 0]]},
        )
    ]
    sites = {"site_entropy": np.ones((2, 2)), "site_counted": np.array([[1.0, 1], [0, 0]])}
    sums = [_sums(batch | sites) for batch in rows]
    found = _means({name: sums[0][name] + sums[1][name] for name in sums[0]}, (2, 1))
    assert found.entropy[0] == 3 and found.nll[0] == 4 and np.isnan(found.entropy[1]) and np.isnan(found.nll[1])
    assert found.entropy_stderr[0] == pytest.approx(np.std([1, 3, 5], ddof=1) / 3**0.5)
    assert found.nll_stderr[0] == pytest.approx(np.std([2, 2, 8], ddof=1) / 3**0.5)
    assert found.entropy_over_grid[0].tolist() == [1] and found.entropy_over_grid.shape == (2, 1)
    assert np.isinf(found.entropy_over_grid[1]).all()


def test_a_model_without_codes_has_no_use_of_them():
    model = make_model(EventSpec((2,)), "made", hidden_sizes=(2,))
    dataset = from_arrays(model.event, train=np.zeros((3, 2), np.int32))
    params = model.init(jax.random.key(0))
    with pytest.raises(UserError, match="has no codes whose use could be counted"):
        codes_in_use(model, params, dataset, "train")
