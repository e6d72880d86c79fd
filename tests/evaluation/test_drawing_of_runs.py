"""Samplers, contexts and prompts of the samples of a run, with models and data sets that are written down."""

import types

import numpy as np
import pytest
from refusals import refusal

from arjax.core.spec import ContextSpec, EventSpec
from arjax.evaluation import sampling, suggestions
from arjax.evaluation.sampling import Conditioning, parse_context, prepare_sampler


def run_of(*traits):
    model = types.SimpleNamespace(network=types.SimpleNamespace(traits=traits), traits=frozenset({"length"}))
    return types.SimpleNamespace(model=model, params="params of the draft")


@pytest.mark.parametrize("own", [(), ("unbounded",)])
@pytest.mark.parametrize("other", [(), ("unbounded",)])
def test_a_draft_of_a_longer_draw_goes_on_where_the_model_does(own, other, monkeypatch):
    monkeypatch.setattr(sampling, "make_sampler", lambda sampler: sampler)
    monkeypatch.setattr(sampling, "of_length", lambda model, length: (model, length))
    monkeypatch.setattr(sampling, "spread_examples", lambda *args: args)
    model, draft = run_of(*own).model, run_of(*other)

    def prepare(of, params, resources):
        assert of == (model, 20) and params == "params"
        assert resources.examples("train", 3) == ("data", "train", 3, "this sampler")
        return resources.open_run("runs/draft")

    arguments = types.SimpleNamespace(prepare=prepare), model, "params", "data", {"runs/draft": draft}.get, 20
    if own and not other:
        sentence = "the network of the draft 'runs/draft' does not go on behind its window, as that of the model"
        assert refusal(prepare_sampler, *arguments) == sentence
    elif own:
        opened = prepare_sampler(*arguments)
        assert opened.model == (draft.model, 20) and opened.params == "params of the draft"
    else:
        assert prepare_sampler(*arguments) is draft


def test_a_sampler_without_a_length_is_prepared_from_the_data(monkeypatch):
    monkeypatch.setattr(sampling, "make_sampler", lambda sampler: ("made", sampler))
    monkeypatch.setattr(sampling, "prepared", lambda *args: args)
    monkeypatch.setattr(sampling, "spread_examples", lambda *args: args)
    sampler, model, params, resources = prepare_sampler("naive", "model", "params", "data", "open")
    assert (sampler, model, params, resources.open_run) == (("made", "naive"), "model", "params", "open")
    assert resources.examples("test", 5) == ("data", "test", 5, "this sampler")


def test_a_class_has_a_name_where_the_data_have_names():
    spec = ContextSpec("label", 2)
    assert parse_context(spec, "dog", ("cat", "dog")) == {"label": 1}
    assert parse_context(spec, "1") == {"label": 1} and parse_context(spec, " label = 0") == {"label": 0}
    assert "cat" in refusal(parse_context, spec, "cow", ("cat", "dog"))
    two = ContextSpec(a=EventSpec((), (), "levels", 3), b=EventSpec((), (), "levels", 4))
    assert parse_context(two, "b=3,a=2") == {"a": 2, "b": 3}
    for text, sentence in (
        ("a=1", "--context=a=1 does not fit: the context of this model is --context=a=...,b=..."),
        ("a=1,c=2", "--context=a=1,c=2 does not fit"),
        ("a=3,b=0", "the part 'a' of the context is a class from 0 to 2, not '3'"),
        ("a=x,b=0", "the part 'a' of the context is a class from 0 to 2, not 'x'"),
    ):
        assert refusal(parse_context, two, text).startswith(sentence), text
    real = ContextSpec(z=EventSpec((), (2,), "real"))
    assert refusal(parse_context, real, "1").startswith("the part 'z' of the context is no class")
    assert refusal(parse_context, ContextSpec(), "1") == "this model has no context, so --context cannot be given"
    assert Conditioning("ab", "").about() == {"prompt": "ab"} and Conditioning().about() == {}


@pytest.mark.parametrize(
    ("end", "prompt", "length", "expected"),
    [
        (3, 4, 9, (4, 0, 4)),  # the rest of a string
        (3, 7, 9, (7, 0, 1)),
        (3, 4, 2, (4, 0, 2)),
        (None, 4, 2, (4, 0, 2)),
        (None, 9, 2, (6, 3, 2)),  # the last tokens of a window of 8
        (None, 6, 3, (5, 1, 3)),
        (None, 6, 9, (4, 2, 4)),  # half of the window, with a remark
    ],
)
def test_the_end_of_a_prompt_is_read(end, prompt, length, expected, monkeypatch, capsys):
    monkeypatch.setattr(suggestions, "encode_prompt", lambda dataset, text: np.arange(prompt))
    vocabulary = types.SimpleNamespace(end=end, units="characters")
    dataset = types.SimpleNamespace(event=EventSpec((8,), (), "tokens", 5), name="data")
    tokens, dropped, further = suggestions._read(vocabulary, dataset, "text", length)
    assert (len(tokens), dropped, further) == expected and tokens[-1] == prompt - 1
    remark = "continuations have at most 4 characters, half of a window, not 9"
    assert (remark in capsys.readouterr().err) == (end is None and length == 9)


def test_a_prompt_that_fills_a_string_is_refused(monkeypatch):
    monkeypatch.setattr(suggestions, "encode_prompt", lambda dataset, text: np.arange(8))
    vocabulary = types.SimpleNamespace(end=3, units="characters")
    dataset = types.SimpleNamespace(event=EventSpec((8,), (), "tokens", 5), name="data")
    sentence = "the prompt has 8 characters, but no string of 'data' has more than 7"
    assert refusal(suggestions._read, vocabulary, dataset, "text", 3) == sentence
