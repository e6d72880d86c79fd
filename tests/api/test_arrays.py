"""Training on arrays."""

import shutil
import signal
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal

import arjax
from arjax.core.arrays import fingerprint_of_arrays
from arjax.core.errors import UserError
from arjax.reporting.writers import MetricWriter

from .conftest import OPTIONS, binary_arrays


def test_it_learns_and_chooses_on_validation(fitted, model):
    arrays = binary_arrays()
    # four fair bits and one that is their function: 4 log 2 nats
    assert 4 * np.log(2) - 0.05 < fitted.results["nll_nats"] < 4 * np.log(2) + 0.35
    assert -fitted.log_prob(arrays["test"]).mean() == pytest.approx(fitted.results["nll_nats"], rel=1e-6)
    curve = fitted.history["validation/nll_nats"]
    assert curve.steps.tolist() == list(range(50, 401, 50))
    best = int(curve.values.argmin())
    assert curve.steps[best] == fitted.results["best_step"]
    assert -fitted.log_prob(arrays["validation"]).mean() == pytest.approx(curve.values[best], rel=1e-5)
    assert fitted.model is model and "test 2." in repr(fitted) and "made" in repr(fitted)
    for figure in (fitted.plot_history(), fitted.plot_entropy("validation"), fitted.plot_order()):
        assert figure.axes


def test_conditionals_are_tables_of_probabilities(fitted):
    x = binary_arrays()["test"][:7]
    found = fitted.conditionals(x)
    assert found.probabilities.shape == (7, 5, 2)
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, rtol=1e-5)
    of_value = np.take_along_axis(found.probabilities, x[..., None], -1)[..., 0]
    np.testing.assert_allclose(np.log(of_value).sum(1), fitted.log_prob(x), rtol=1e-4)
    np.testing.assert_allclose(found.log_prob, np.log(of_value), rtol=1e-4, atol=1e-5)
    p = found.probabilities[..., 1]
    np.testing.assert_allclose(found.mean, p, rtol=1e-5)
    np.testing.assert_allclose(found.std, np.sqrt(p * (1 - p)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.entropy, -(p * np.log(p) + (1 - p) * np.log1p(-p)), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_arrays_in_standard_units_are_scored_in_their_own(tmp_path, capsys):
    """As after standardising by hand, where the score lacks the logarithms of the deviations."""
    x = np.random.default_rng(0).normal([1700, 0.7], [80, 0.01], (64, 2))
    model = arjax.make_model(arjax.EventSpec((2,), kind="real"), "made", hidden_sizes=(8,))
    options = {"steps": 3, "batch_size": 16, "quiet": True}
    z = ((x - x[:48].mean(0)) / x[:48].std(0)).astype(np.float32)
    by_hand = arjax.fit_arrays(model, train=z[:48], test=z[48:], **options)
    own = arjax.fit_arrays(model, train=x[:48], test=x[48:], standardise="sites", **options)
    units = np.log(x[:48].std(0)).sum()
    assert own.results["nll_nats"] == pytest.approx(by_hand.results["nll_nats"] + units, rel=1e-5)
    np.testing.assert_allclose(own.log_prob(own.standardise(x[48:])), by_hand.log_prob(z[48:]) - units, rtol=1e-4)
    np.testing.assert_allclose(own.in_data_units(own.sample(3, seed=1)), own.in_data_units(by_hand.sample(3, seed=1)))
    of_train = [each.history["train/nll_nats"].values[-1] for each in (own, by_hand)]
    assert of_train[0] == pytest.approx(of_train[1] + units, rel=1e-5)
    assert own.history["train/loss"].values[-1] == pytest.approx(by_hand.history["train/loss"].values[-1], rel=1e-5)
    own.log_prob(x[48:])
    assert "up to 1" in (told := capsys.readouterr().err) and "give `standardise(x)`" in told
    own.save(tmp_path / "model.safetensors")
    again = arjax.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(again.standardise(x[48:]), z[48:], rtol=1e-4, atol=1e-5)
    assert "standardised where" in refusal(arjax.fit_arrays, model, train=own.dataset, standardise="sites", **options)


@pytest.mark.slow
def test_arrays_in_other_units_are_another_training(tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 2))
    model = arjax.make_model(arjax.EventSpec((2,), kind="real"), "made", hidden_sizes=(8,))
    options = {"steps": 2, "batch_size": 16, "quiet": True, "workdir": tmp_path, "standardise": "sites"}
    first = arjax.fit_arrays(model, train=x, **options)
    assert arjax.fit_arrays(model, train=x, **options).results["nll_nats"] == first.results["nll_nats"]
    assert "the data have changed" in refusal(arjax.fit_arrays, model, train=2 * x, **options)


@pytest.mark.slow
def test_arrays_of_bfloat16_identify_a_training():
    x = np.float32([[0.5, 2.0], [1.0, -3.0]])
    short = jnp.asarray(x, jnp.bfloat16)
    assert fingerprint_of_arrays(short) == fingerprint_of_arrays(np.asarray(short)) != fingerprint_of_arrays(x)
    empty = np.zeros((0, 2))
    assert fingerprint_of_arrays((empty, np.float64(1))) == fingerprint_of_arrays((empty, np.ones(())))


def test_no_files_are_left(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arrays = binary_arrays()
    options = OPTIONS | {"steps": 200, "eval_every": 20, "patience": 1, "learning_rate": 10.0, "quiet": False}
    early = arjax.fit_arrays(model, train=arrays["train"], validation=arrays["validation"], **options)
    assert early.results["step"] < 200 and early.results["split"] == "validation", "stops early"
    curve = early.history["validation/nll_nats"].values
    assert -early.log_prob(arrays["validation"]).mean() == pytest.approx(curve.min(), rel=1e-5)
    assert curve[-1] > curve.min() + 0.01, "the last parameters are not the best"
    assert "step 20/200" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_validation_the_training_split_is_scored(model, capsys):
    x, options = binary_arrays()["train"], OPTIONS | {"steps": 20, "eval_every": 20}
    last = arjax.fit_arrays(model, train={"x": x}, **options)
    assert arjax.fit_arrays(model, train=x, **options, seed=1).results["nll_nats"] != last.results["nll_nats"]
    assert last.results["split"] == "train" and last.results["validation_nll_nats"] is None
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_folder_goes_on_and_keeps_the_model(model, tmp_path, monkeypatch, capsys):
    arrays, write = binary_arrays(), MetricWriter.write
    options = OPTIONS | {"steps": 40, "eval_every": 10}
    whole = arjax.fit_arrays(model, **arrays, **options)

    def interrupted(self, step, values):
        write(self, step, values)
        if step == 20 and "train/loss" in values:
            signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "arrays"
    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", interrupted)
        for workdir, then in ((None, "nothing is kept"), (folder, "the same call resumes from there")):
            with pytest.raises(KeyboardInterrupt, match=f"stopped at step 20 of 40; {then}"):
                arjax.fit_arrays(model, **arrays, **options | {"quiet": False}, workdir=workdir)
            assert "resumes" not in capsys.readouterr().out  # the exception alone tells what can be done
    resumed = arjax.fit_arrays(model, **arrays, **options, workdir=folder)
    assert resumed.results["nll_nats"] == whole.results["nll_nats"]
    assert {path.name for path in folder.iterdir()} >= {"record.json", "results.json", "model.safetensors"}
    loaded = arjax.load(folder / "model.safetensors")
    np.testing.assert_array_equal(loaded.log_prob(arrays["test"]), whole.log_prob(arrays["test"]))
    others = {"train": arrays["train"][::-1]}
    for changes, sentence in (
        ({"learning_rate": 0.02}, "optimizer.learning_rate was 0.03 there and is 0.02 now; choose another"),
        ({"steps": 30}, "train.steps was 40 there and is 30 now; a run can be made longer"),
        (others, "the data have changed since the run"),
    ):
        assert sentence in refusal(arjax.fit_arrays, model, **arrays | options | changes, workdir=folder)
    assert "was made by arjax.fit_arrays" in refusal(arjax.open_run, folder)


def test_a_folder_with_something_else(model, run, tmp_path):
    shutil.copy(run.workdir / "config.json", tmp_path)
    assert "the run of a config" in refusal(arjax.fit_arrays, model, **binary_arrays(), **OPTIONS, workdir=tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "record.json").write_text("{")
    assert "record.json is damaged" in refusal(arjax.fit_arrays, model, **binary_arrays(), **OPTIONS, workdir=tmp_path)


def test_it_begins_with_the_parameters_of_a_trained_model(fitted, model, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    loaded = arjax.load(tmp_path / "model.safetensors")
    arrays = {split: 1 - x for split, x in binary_arrays().items()}  # other data of the same shape
    before = -loaded.log_prob(arrays["train"]).mean()
    options = OPTIONS | {"steps": 1, "learning_rate": 1e-9, "quiet": True}
    tuned = arjax.fit_arrays(model, **arrays, **options, init_from=loaded, workdir=tmp_path / "tuned")
    assert -tuned.log_prob(arrays["train"]).mean() == pytest.approx(before, rel=1e-4)
    assert "train.init_from was " in refusal(arjax.fit_arrays, model, **arrays, **options, workdir=tmp_path / "tuned")
    other = arjax.make_model(model.event, "made", hidden_sizes=(7,))
    assert "do not fit this model" in refusal(arjax.fit_arrays, other, **arrays, **options, init_from=loaded)
    assert "be a trained model" in refusal(arjax.fit_arrays, model, **arrays, **options, init_from="model.safetensors")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"train": np.zeros((4, 3), int)}, "the train examples must have shape (N, 5)"),
        ({"validation": np.full((4, 5), 2)}, "the validation examples of binary data must be 0 to 1"),
        ({"steps": 0}, "exactly one of train.steps, train.examples and train.epochs must be above 0"),
        ({"eval_every": 2.5}, "eval_every must be an integer"),
        ({"ema_decay": 1}, "ema_decay must be at least 0 and below 1"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        *[({"seed": seed}, "seed must be a whole number, at ") for seed in (-1, 1.5, "3", 2**32, True)],
        ({"num_orders": 2}, "num_orders=2 is for models of several orders, and this one has one"),
        ({"patience": 3, "validation": None}, "a patience of 3 counts validations, "),
        ({"objective": "order_agnostic"}, "needs model.orders"),
        ({"test": {"x": np.zeros((2, 5), int), "context": [1, 2]}}, "have a 'context'"),
    ],
)
def test_mistakes(model, options, sentence):
    assert sentence in refusal(arjax.fit_arrays, model, **binary_arrays() | OPTIONS | options)


@pytest.mark.slow
def test_a_whole_data_set(model, fitted):
    splits, options = binary_arrays(), OPTIONS | {"steps": 20, "eval_every": 20}
    arrays = arjax.fit_arrays(model, **splits, **options)
    whole = arjax.fit_arrays(model, train=fitted.dataset, **options)
    assert whole.results["nll_nats"] == arrays.results["nll_nats"] and whole.dataset is fitted.dataset
    with pytest.raises(UserError, match="has its own splits"):
        arjax.fit_arrays(model, train=fitted.dataset, test=splits["test"], **options)
    assert " does not fit" in refusal(arjax.fit_arrays, model, train=arjax.make_dataset("digits"), **options)


@pytest.mark.slow
def test_contexts_and_several_orders():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 3, 90)
    image = ((np.arange(6).reshape(2, 3) % 3 == label[:, None, None]) ^ (rng.random((90, 2, 3)) < 0.05)).astype(int)
    context = arjax.ContextSpec("label", 3)
    model = arjax.make_model(arjax.EventSpec((2, 3)), "made", context=context, orders="pool(num=2)", hidden_sizes=(12,))
    arrays = {"x": image, "context": label}
    options = {"steps": 150, "eval_every": 150, "learning_rate": 0.03, "num_orders": 2, "quiet": True}
    fitted = arjax.fit_arrays(model, train=arrays, validation=arrays, **options)
    assert fitted.results["num_orders"] == 2
    nats = -fitted.log_prob(image, context=label)
    assert nats.mean() == pytest.approx(fitted.results["nll_nats"], rel=1e-6) and nats.mean() < 2.5
    np.testing.assert_allclose(fitted.log_prob(image[:4], context=1), fitted.log_prob(image[:4], context=[1] * 4))
    drawn = fitted.sample(20, context=2)
    assert drawn[:, :, 2].mean() > drawn[:, :, :2].mean() + 0.5
    assert len(fitted.plot_samples(6).axes) == 2 and fitted.plot_samples(6, context=1).axes
    assert "needs a label context" in refusal(fitted.log_prob, image)
