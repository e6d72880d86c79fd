"""Options in steps that are longer than the steps that there are: they are cut, and a line says so."""

from __future__ import annotations

import pytest

from arjax.core.errors import say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import make_dataset
from arjax.data.base import Dataset
from arjax.data.vocabulary import make_vocabulary
from arjax.evaluation.suggestions import _read
from arjax.models import make_model
from arjax.models.draws import tell_temperature
from arjax.objectives import make_objective
from arjax.samplers import make_sampler

EVENT = EventSpec((8,), kind="levels", num_levels=5)
FEW = {"width": 8, "num_layers": 1, "num_heads": 1}


def said(make, capsys) -> str:
    say_once.cache_clear()
    make()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "options", "sentence"),
    [
        ("local_transformer", {"window": 9}, "beyond the 8 steps of the model: it has the effect of window=8"),
        ("local_transformer", {"window": 8}, ""),
        ("local_transformer", {}, ""),
        ("transformer_xl", {"segment": 9, "memory": 0}, "it has the effect of segment=8"),
        ("transformer_xl", {"segment": 4, "memory": 5}, "it has the effect of memory=4"),
        ("transformer_xl", {"segment": 8, "memory": 1}, "it has the effect of memory=0"),
        ("transformer_xl", {"segment": 2, "memory": 6}, ""),
        ("lstm", {"truncation": 9}, "it has the effect of truncation=8"),
        ("lstm", {"truncation": 8}, ""),
        ("markov", {"order": 8}, "it has the effect of order=7"),
    ],
)
def test_a_network_that_looks_back_further_than_the_first_step(network, options, sentence, capsys):
    rest = FEW if "transformer" in network else {}
    found = said(lambda: make_model(EVENT, network, **rest, **options), capsys)
    assert (sentence in found and found.count("\n") == 1) if sentence else not found


def test_windows_of_samplers_and_sizes_of_conditionals(capsys):
    model = make_model(EVENT, "made")
    for call, sentence in (
        ("fixed_point(window=9)", "the window of fixed_point, 9, is longer than the 8 steps of the model"),
        ("speculative(window=9)", "the window of speculative, 9, is longer"),
    ):
        assert sentence in said(lambda call=call: make_sampler(call).check(model), capsys)
    for call in ("fixed_point", "fixed_point(window=8)", "speculative", "speculative(window=3)"):
        assert not said(lambda call=call: make_sampler(call).check(model), capsys)
    assert "size=9 of the conditional 'ordinal'" in said(
        lambda: make_model(EVENT, "made", conditional="ordinal(size=9)"), capsys
    )
    assert not said(lambda: make_model(EVENT, "made", conditional="ordinal"), capsys)


def test_options_that_another_option_turns_off(capsys):
    plane, scales = EventSpec((4, 4)), "multiscale(factor=2, levels=1)"
    real, three = EventSpec((2,), kind="real"), ("raster", "reversed", "spiral")
    for make, sentence in (
        (
            lambda: make_model(plane, "multiscale", ordering=scales, kernel_size=5),
            "network.kernel_size has no effect: it is an option of",
        ),
        (lambda: make_model(EVENT, "transformer", mlp_size=9, mlp_ratio=3), "network.mlp_ratio has no effect beside"),
        (
            lambda: make_model(real, "made", kind="flow", num_blocks=2, orderings=three),
            "takes the first 2 of its 3 orderings alone",
        ),
        (
            lambda: make_objective("as_is(temperature=0.5)"),
            "temperature=0.5 of as_is has no effect: 'score' re",
        ),
        (lambda: make_objective("rollout(samples=3)"), "samples=3 of rollout has no effect: the target 'data'"),
        (lambda: make_objective("rollout(length=0, grow=0.5)"), "grow=0.5 of rollout has no effect on a window of"),
    ):
        found = said(make, capsys)
        assert sentence in found and found.count("\n") == 1
    for make in (
        lambda: make_model(plane, "multiscale", ordering=scales, core="row_lstm", kernel_size=5),
        lambda: make_model(real, "made", kind="flow", num_blocks=2, orderings=three[:2]),
        lambda: make_objective("as_is(estimator='gumbel_softmax', temperature=0.5)"),
        lambda: make_objective("rollout(target='match', samples=3)"),
    ):
        assert not said(make, capsys)
    pair = EventSpec((2,), kind="columns", columns=(EventSpec((), (), "binary"), EventSpec((), (), "tokens", 3)))
    call = "columns(real='logistic_mixture',tokens='categorical')"
    found = said(lambda: make_model(pair, "made", conditional=call), capsys)
    assert found == "arjax: columns(real='logistic_mixture') has no effect: there is no column of real values\n"
    for sampler in ("greedy", "beam"):
        found = said(lambda sampler=sampler: tell_temperature(make_sampler(sampler), 0.5), capsys)
        assert f"the sampler '{sampler}' finds the same values at any temperature" in found
        assert not said(lambda sampler=sampler: tell_temperature(make_sampler(sampler), 1), capsys)
    assert not said(lambda: tell_temperature(make_sampler("cached"), 0.5), capsys)


def test_texts_that_are_cut_or_left_out(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\n".join(["ab", "abc", "abcdef"] * 20))
    options = {"file": str(tmp_path / "words.txt"), "split_seed": 1}
    found = said(lambda: make_dataset("strings", max_length=3, **options), capsys)
    assert "of 48 strings of the train split of 'strings/words' are longer than max_length=3, and left out" in found
    assert not said(lambda: make_dataset("strings", max_length=6, **options), capsys)
    vocabulary = make_vocabulary("abc")
    windows = Dataset("w", EventSpec((8,), kind="tokens", num_levels=3), ContextSpec(), {}, vocabulary=vocabulary)
    assert "continuations have at most 4 characters, half" in said(lambda: _read(vocabulary, windows, "a", 5), capsys)
    assert not said(lambda: _read(vocabulary, windows, "a", 4), capsys)
