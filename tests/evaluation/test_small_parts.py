"""Small parts of evaluation by themselves: keys of bounds, limits of numbers that users give."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, class_label
from arjax.data import make_dataset
from arjax.data.base import from_arrays
from arjax.data.vocabulary import make_vocabulary
from arjax.evaluation.likelihood import codes_in_use
from arjax.evaluation.report import Measures, report
from arjax.evaluation.sampling import Conditioning, parse_context, prompt_tokens
from arjax.evaluation.splits import spread_rows
from arjax.models import make_model


def test_measures_that_there_are_not():
    dataset = make_dataset("noise", grid=(4,), num_levels=3, num_examples=8)
    one = make_model(dataset.event, "made")
    several = make_model(dataset.event, "masked_transformer", orders="uniform")
    Measures().check(one, dataset)
    Measures(num_orders=2, steps=4).check(several, dataset)
    for model, wrong in (
        (one, {"num_orders": 2}),
        (several, {"steps": 5}),
        (one, {"judge": "x"}),
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
    with pytest.raises(UserError, match="has no codes whose use could be counted"):
        codes_in_use(model, params, dataset, "train")
