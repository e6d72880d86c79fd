"""Samples under another model: the nats of a judge, of examples and, in a script of the study, along texts."""

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
from arjax.data.windows import RandomWindows
from arjax.evaluation.exposure import check_judge, judged_examples
from arjax.evaluation.splits import spread_rows
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


@pytest.fixture(scope="module")
def along(load_script):
    return load_script("experiments/exposure_bias/along_text.py")


def test_texts_are_read_in_windows_or_whole(along):
    """Windows of 4 that overlap by half; a network that goes on reads the sequence as one of that length."""
    x = random_x(EventSpec((9,), kind="tokens", num_levels=3), 3)
    model, params = random_model("made", hidden_sizes=(6,))
    nats = {
        start: -np.asarray(of_model(model, "log_prob_per_site", params, x[:, start : start + 4]))
        for start in (0, 2, 4, 5)
    }
    expected = np.concatenate([nats[0], nats[2][:, 2:], nats[4][:, 2:], nats[5][:, 3:]], 1)
    np.testing.assert_allclose(along.site_nats(model, params, x, 2), expected, rtol=1e-5)
    np.testing.assert_allclose(along.site_nats(model, params, x[:, :3], 3), nats[0][:, :3], rtol=1e-5)
    model, params = random_model()
    whole = -np.asarray(of_model(of_length(model, 9), "log_prob_per_site", params, x))
    np.testing.assert_allclose(along.site_nats(model, params, x, 3), whole, rtol=1e-5)


def test_pieces_of_the_data_and_means_of_their_parts(along):
    """Of 5 sites each its own; of 97 parts of three sites, of which the last has one."""
    tokens = np.arange(31, dtype=np.uint8) % 3
    dataset = Dataset("line", LINE, ContextSpec(), {"train": RandomWindows(tokens, 4)})
    texts = tokens[np.array([0, 6, 12, 18])[:, None] + np.arange(6)]  # of the five pieces of the text four
    np.testing.assert_array_equal(along.texts_of_data(dataset, "train", 4, 6), texts)
    assert len(along.texts_of_data(dataset, "train", 4, 32)) == 0
    nats = np.arange(10.0).reshape(2, 5)
    place, mean, stderr = along.along_text(nats)
    assert place.tolist() == [1, 2, 3, 4, 5] and mean.tolist() == nats.mean(0).tolist()
    assert stderr.tolist() == pytest.approx([2.5] * 5)
    nats = np.random.default_rng(0).normal(size=(3, 97))
    place, mean, stderr = along.along_text(nats)
    parts = [nats[:, start : start + 3].mean(1) for start in range(0, 97, 3)]
    assert len(place) == 33 <= along.PARTS and place[:2].tolist() == [2, 5] and place[-1] == 97
    np.testing.assert_allclose(mean, np.mean(parts, 1))
    np.testing.assert_allclose(stderr, np.std(parts, 1, ddof=1) / 3**0.5)


def test_refusals():
    """Of other data, and without a likelihood: its scores are neither nats nor bits."""
    model, _ = random_model()
    longer, _ = random_model(event=EventSpec((5,), kind="tokens", num_levels=3))
    with pytest.raises(UserError, match="the judge is of"):
        check_judge(model, longer)
    event = EventSpec((3,), (2,), "real")
    energy = make_model(event, "made", conditional="energy(features=4, width=8, layers=1)", hidden_sizes=(4,))
    with pytest.raises(UserError, match=r"^config.evaluate.judge needs a likelihood, and this model has none"):
        check_judge(energy, energy)
