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


PLANE, SCALES = EventSpec((4, 4)), "multiscale(factor=2, levels=1)"
REAL, THREE = EventSpec((2,), kind="real"), ("raster", "reversed", "spiral")
PAIR = EventSpec((2,), kind="columns", columns=(EventSpec((), (), "binary"), EventSpec((), (), "tokens", 3)))


def model(network="made", event=EVENT, **options):
    return lambda: make_model(event, network, **options)


def checked(call):
    return lambda: make_sampler(call).check(make_model(EVENT, "made"))


def objective(call):
    return lambda: make_objective(call)


def warmed(sampler, temperature=0.5):
    return lambda: tell_temperature(make_sampler(sampler), temperature)


CUT = [
    (model("local_transformer", window=9, **FEW), "beyond the 8 steps of the model: it has the effect of window=8"),
    (model("transformer_xl", segment=9, memory=0, **FEW), "it has the effect of segment=8"),
    (model("transformer_xl", segment=4, memory=5, **FEW), "it has the effect of memory=4"),
    (model("transformer_xl", segment=8, memory=1, **FEW), "it has the effect of memory=0"),
    (model("lstm", truncation=9), "it has the effect of truncation=8"),
    (model("markov", order=8), "it has the effect of order=7"),
    (checked("fixed_point(window=9)"), "the window of fixed_point, 9, is longer than the 8 steps of the model"),
    (checked("speculative(window=9)"), "the window of speculative, 9, is longer"),
    (model(conditional="ordinal(size=9)"), "size=9 of the conditional 'ordinal'"),
    (
        model("multiscale", PLANE, ordering=SCALES, kernel_size=5),
        "network.kernel_size has no effect: it is an option of",
    ),
    (model("transformer", mlp_size=9, mlp_ratio=3), "network.mlp_ratio has no effect beside"),
    (model("made", REAL, kind="flow", num_blocks=2, orderings=THREE), "takes the first 2 of its 3 orderings alone"),
    (objective("as_is(temperature=0.5)"), "temperature=0.5 of as_is has no effect: 'score' re"),
    (objective("rollout(samples=3)"), "samples=3 of rollout has no effect: the target 'data'"),
    (objective("rollout(length=0, grow=0.5)"), "grow=0.5 of rollout has no effect on a window of"),
    (
        model("made", PAIR, conditional="columns(real='logistic_mixture',tokens='categorical')"),
        "arjax: columns(real='logistic_mixture') has no effect: there is no column of real values\n",
    ),
    (warmed("greedy"), "the sampler 'greedy' finds the same values at any temperature"),
    (warmed("beam"), "the sampler 'beam' finds the same values at any temperature"),
]
WHOLE = [
    *(model("local_transformer", **FEW, **options) for options in ({"window": 8}, {})),
    model("transformer_xl", segment=2, memory=6, **FEW),
    model("lstm", truncation=8),
    *map(checked, ("fixed_point", "fixed_point(window=8)", "speculative", "speculative(window=3)")),
    model(conditional="ordinal"),
    model("multiscale", PLANE, ordering=SCALES, core="row_lstm", kernel_size=5),
    model("made", REAL, kind="flow", num_blocks=2, orderings=THREE[:2]),
    *map(objective, ("as_is(estimator='gumbel_softmax', temperature=0.5)", "rollout(target='match', samples=3)")),
    *(warmed(sampler, 1) for sampler in ("greedy", "beam")),
    warmed("cached"),
]


@pytest.mark.parametrize(("make", "sentence"), CUT, ids=[sentence for _, sentence in CUT])
def test_options_without_an_effect_are_told(make, sentence, capsys):
    """They reach beyond the steps, or another option turns them off."""
    line = said(make, capsys)
    assert sentence in line and line.count("\n") == 1


@pytest.mark.parametrize("make", WHOLE)
def test_options_with_an_effect_need_no_line(make, capsys):
    assert not said(make, capsys)


def test_texts_that_are_cut_or_left_out(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\n".join(["ab", "abc", "abcdef"] * 20))
    options = {"file": str(tmp_path / "words.txt"), "split_seed": 1}
    line = said(lambda: make_dataset("strings", max_length=3, **options), capsys)
    assert "of 48 strings of the train split of 'strings/words' are longer than max_length=3, and left out" in line
    assert not said(lambda: make_dataset("strings", max_length=6, **options), capsys)
    vocabulary = make_vocabulary("abc")
    windows = Dataset("w", EventSpec((8,), kind="tokens", num_levels=3), ContextSpec(), {}, vocabulary=vocabulary)
    assert "continuations have at most 4 characters, half" in said(lambda: _read(vocabulary, windows, "a", 5), capsys)
    assert not said(lambda: _read(vocabulary, windows, "a", 4), capsys)
