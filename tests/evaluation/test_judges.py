"""Samples under another model: the nats of a judge, of examples and along texts."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from compiled import of_model

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.base import Dataset, from_arrays
from arjax.data.sources import ArraySource
from arjax.data.vocabulary import Vocabulary
from arjax.data.windows import RandomWindows
from arjax.evaluation.judges import PARTS, check_judge, judged_examples, judged_texts, site_nats, spread_rows
from arjax.evaluation.report import Measures, report
from arjax.models import make_model
from arjax.models.draws import keys_of
from arjax.models.longer import of_length
from arjax.objectives import Companion
from arjax.testing.examples import random_like, random_x

LINE = EventSpec((4,), kind="tokens", num_levels=3)
KEY = jax.random.key(5)


def random_model(network="markov", event=LINE, seed=0, **options):
    model = make_model(event, network, **options)
    return model, random_like(model.param_shapes, seed=seed)


@pytest.mark.slow
def test_samples_and_data_under_a_judge():
    """Under the contexts of the data, in batches that do not divide the samples."""
    label = ContextSpec("label", 2)
    model, params = random_model("made", context=label, hidden_sizes=(4,))
    judge = Companion(*random_model("made", seed=1, context=label, hidden_sizes=(8,)))
    data = {"x": random_x(LINE, 5), "context": np.array([0, 1, 1, 0, 1])}
    dataset = from_arrays(LINE, train=data, context=label)
    rows = spread_rows(dataset, "train", 9, KEY)
    found = judged_examples(model, params, dataset, rows, judge, num=7, batch_size=3, key=KEY)
    labels = np.array([0, 1, 1, 0, 1, 0, 1])
    x = model.draw(params, keys_of(jax.random.fold_in(KEY, 0), 7), context=labels).x
    for name, values, context in (("own", x, labels), ("data", data["x"], labels[:5])):
        nats = -np.asarray(of_model(judge.model, "log_prob", judge.params, values, context=context), np.float64)
        assert found[f"judge_{name}_nll_nats"] == pytest.approx(nats.mean(), rel=1e-5)
        assert found[f"judge_{name}_nll_stderr"] == pytest.approx(nats.std(ddof=1) / len(nats) ** 0.5, rel=1e-4)
        assert found[f"judge_{name}_num_examples"] == len(nats)


def test_samples_are_judged_at_the_sites_of_the_data():
    """As the windows of a text, which overlap: their first sites are scored in the window before."""
    model, params = random_model()
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]], bool)
    data = Batch(random_x(LINE, 3), {}, mask)
    dataset, judge = from_arrays(LINE, train=data.x), Companion(model, params)
    found = judged_examples(model, params, dataset, data, judge, num=5, batch_size=2, key=KEY)
    x = np.asarray(model.draw(params, keys_of(jax.random.fold_in(KEY, 0), 5)).x)
    nats = -np.asarray(of_model(model, "log_prob", params, x, mask=mask[[0, 1, 2, 0, 1]]), np.float64)
    assert found["judge_own_nll_nats"] == pytest.approx(nats.mean(), rel=1e-5)
    assert found["judge_own_bits_per_dim"] == pytest.approx(nats.sum() / 15 / np.log(2), rel=1e-5)


def test_strings_are_judged_up_to_their_end():
    model, params = random_model()
    dataset = from_arrays(LINE, train=random_x(LINE, 5))
    ends = dataclasses.replace(dataset, vocabulary=types.SimpleNamespace(end=2, unit="char"))
    judge, rest = Companion(model, params), {"num": 30, "batch_size": 30, "key": KEY}
    rows = spread_rows(dataset, "train", 5, KEY)
    found = judged_examples(model, params, ends, rows, judge, **rest)
    x = np.asarray(model.draw(params, keys_of(jax.random.fold_in(KEY, 0), 30), end=2).x)
    mask = np.stack([np.arange(4) <= (list(row).index(2) if 2 in row else 4) for row in x])
    nats = -np.asarray(of_model(model, "log_prob", params, x, mask=mask), np.float64)
    assert found["judge_own_nll_nats_per_char"] == pytest.approx(nats.sum() / mask.sum(), rel=1e-5)


def test_texts_are_read_in_windows_or_whole():
    """Windows of 4 that overlap by half; a network that goes on reads the sequence as one of that length."""
    x = random_x(EventSpec((9,), kind="tokens", num_levels=3), 3)
    model, params = random_model("made", hidden_sizes=(6,))
    found = site_nats(model, params, x, batch_size=2)
    of_window = lambda start: -np.asarray(of_model(model, "log_prob_per_site", params, x[:, start : start + 4]))  # noqa: E731
    nats = {start: of_window(start) for start in (0, 2, 4, 5)}
    expected = np.concatenate([nats[0], nats[2][:, 2:], nats[4][:, 2:], nats[5][:, 3:]], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(site_nats(model, params, x[:, :3], 3), nats[0][:, :3], rtol=1e-5)
    model, params = random_model()
    whole = -np.asarray(of_model(of_length(model, 9), "log_prob_per_site", params, x))
    np.testing.assert_allclose(site_nats(model, params, x, batch_size=3), whole, rtol=1e-5)


@pytest.mark.slow
def test_texts_of_the_model_beside_those_of_the_data():
    tokens = np.arange(31, dtype=np.uint8) % 3
    dataset = Dataset("line", LINE, ContextSpec(), {"train": RandomWindows(tokens, 4)})
    model, params = random_model()
    judge = Companion(*random_model(seed=1, order=2))
    rest = {"length": 6, "batch_size": 3, "key": KEY}
    scores, along = judged_texts(model, params, dataset, "train", judge, num=4, **rest)
    x = np.asarray(model.draw(params, keys_of(KEY, 4), length=6).x)
    texts = tokens[np.array([0, 6, 12, 18])[:, None] + np.arange(6)]  # of the five pieces of the text four
    for name, values in (("own", x), ("data", texts)):
        nats = site_nats(judge.model, judge.params, values, 4)
        np.testing.assert_allclose(getattr(along, name), nats.mean(0), rtol=1e-5)
        np.testing.assert_allclose(getattr(along, f"{name}_stderr"), nats.std(0, ddof=1) / 2, rtol=1e-4)
        assert scores[f"judge_{name}_nll_nats"] == pytest.approx(nats.sum(1).mean(), rel=1e-5)
    _, along = judged_texts(model, params, dataset, "train", judge, num=4, **rest | {"length": 2 * PARTS + 1})
    x = np.asarray(model.draw(params, keys_of(KEY, 4), length=2 * PARTS + 1).x)
    parts = site_nats(judge.model, judge.params, x, 4).reshape(4, -1, 3).mean(-1)
    np.testing.assert_allclose(along.own, parts.mean(0), rtol=1e-5)
    np.testing.assert_allclose(along.own_stderr, parts.std(0, ddof=1) / 2, rtol=1e-4)
    assert along.places[:2].tolist() == [2, 5] and along.data.size == 0  # the text of the data is shorter


@pytest.mark.slow
def test_few_scored_examples_leave_the_text_of_the_data_whole():
    """The rollouts are judged beside pieces of the text, and not beside windows with gaps between them."""
    params = random_model()
    judge = Companion(*random_model(seed=1, order=2))
    tokens = np.arange(31, dtype=np.uint8) % 3
    vocabulary = Vocabulary(("a", "b", "c"))
    for source in (RandomWindows(tokens, 4), ArraySource(LINE, Batch(tokens[:28].reshape(7, 4)), ContextSpec())):
        dataset = Dataset("line", LINE, ContextSpec(), {"train": source}, vocabulary)
        opened = types.SimpleNamespace(model=judge.model, params=judge.params, dataset=dataset, step=0)
        found = [
            report(
                *params,
                dataset,
                "train",
                Measures(batch_size=4, exposure=4, judge="judge", length=6, examples=examples),
                mesh=None,
                seed=0,
                open_run=lambda _, opened=opened: opened,
            ).scores
            for examples in (0, 2)
        ]
        assert [scores["num_examples"] for scores in found] == [len(source), 2]
        assert len({scores["judge_data_nll_nats"] for scores in found}) == 1
        assert len({scores["greedy_error"] for scores in found}) == 1


def test_refusals():
    model, _ = random_model()
    dataset = from_arrays(LINE, train=random_x(LINE, 5))
    longer = Companion(*random_model(event=EventSpec((5,), kind="tokens", num_levels=3)))
    more = Companion(*random_model(event=EventSpec((4,), kind="tokens", num_levels=4)))
    with pytest.raises(UserError, match="the judge is of"):
        check_judge(model, longer.model, 0, dataset)
    with pytest.raises(UserError, match="the judge knows 4 tokens, and the model 3"):
        check_judge(model, more.model, 8, dataset)


def test_a_judge_without_a_likelihood_is_refused():
    """Its scores are neither nats nor bits."""
    event = EventSpec((3,), (2,), "real")
    energy = make_model(event, "made", conditional="energy(features=4, width=8, layers=1)", hidden_sizes=(4,))
    with pytest.raises(UserError, match=r"^config.evaluate.judge needs a likelihood, and this model has none"):
        check_judge(energy, energy, 0, from_arrays(event, train=np.zeros((1, 3, 2))))


def test_sequences_of_frames_are_judged_and_those_with_scales_refused():
    """Real values have no pieces of a text beside them; nats of standardised ones would be in other units."""
    event, conditional = EventSpec((3,), (2,), "real"), {"conditional": "gaussian"}
    model, params = random_model("made", event, hidden_sizes=(4,), **conditional)
    dataset = from_arrays(event, train=np.zeros((2, 3, 2), np.float32))
    rest = {"num": 2, "length": 4, "batch_size": 2, "key": KEY}
    scores, along = judged_texts(model, params, dataset, "train", Companion(model, params), **rest)
    x = np.asarray(model.draw(params, keys_of(KEY, 2), length=4).x)
    nats = [-np.asarray(of_model(model, "log_prob_per_site", params, x[:, start : start + 3])) for start in (0, 1)]
    assert scores["judge_own_nll_nats"] == pytest.approx((nats[0].sum(1) + nats[1][:, 2]).mean(), rel=1e-5)
    assert along.own.shape == (4,) and along.data.size == 0
    np.testing.assert_allclose(site_nats(model, params, x[:, :2], 2), nats[0][:, :2], rtol=1e-5)
    other = make_model(EventSpec((3,), (3,), "real"), "made", hidden_sizes=(4,), **conditional)
    with pytest.raises(UserError, match=r"the judge is of .* values of one kind and shape"):
        check_judge(model, other, 4, dataset)
    two = [EventSpec((4,), (), kind, 2) for kind in ("binary", "tokens")]
    bits, tokens = (make_model(event, "made", hidden_sizes=(4,)) for event in two)
    check_judge(bits, tokens, 6, from_arrays(bits.event, train=np.zeros((2, 4), np.int32)))
    scaled = dataclasses.replace(dataset, scale=np.float32(100), shift=np.float32(0))
    with pytest.raises(UserError, match=r"^config.evaluate.length needs sites that are alike"):
        check_judge(model, model, 4, scaled)
    check_judge(model, model, 0, scaled)
