"""The folder of a member: what is written, in which order, and which members have none."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal

from arjax.population import train as module
from arjax.population.train import CONFIG_NAME, counted, write_member

CONFIG = types.SimpleNamespace(evaluate=types.SimpleNamespace(split="test"))
POPULATION = types.SimpleNamespace(members=["first", "second"], record=types.SimpleNamespace(data="of data"))


def scores_of(alive=True, validation=1.5):
    return types.SimpleNamespace(
        history=types.SimpleNamespace(alive=np.array([[True, True], [True, alive]])),
        validation=np.array([[1.0, 1.0], [1.0, validation]]),
        params={"w": jnp.arange(8.0).reshape(2, 2, 2)},
        best_step=np.array([[1, 2], [3, 4]]),
        notes=[["a", "b"], ["c", "d"]],
        results=[["e", "f"], ["g", "h"]],
        test_rows=np.arange(8).reshape(2, 2, 2),
        validation_rows=-np.arange(8).reshape(2, 2, 2),
        code={"file": ["version"]},
    )


@pytest.mark.parametrize("other", [None, False, True])
def test_a_member_is_written_as_its_run_would_be(other, tmp_path, monkeypatch):
    log = []

    def note(name, made=None):
        monkeypatch.setattr(module, name, lambda *args, **options: log.append((name, args, options)) or made)

    for name in ("set_results_aside", "save_config", "write_nats", "write_results"):
        note(name)
    note("other_results", other)
    note("fingerprint_of_orders", "of orders")
    note("Record", types.SimpleNamespace(write=lambda folder: log.append(("record", folder))))
    store = types.SimpleNamespace(save=lambda step, params, note: log.append((step, params["w"].tolist(), note)))
    note("best_store", store)
    if other is not None:
        (tmp_path / CONFIG_NAME).touch()
    write_member(tmp_path, CONFIG, POPULATION, scores_of(), 1, 1)
    aside = [("other_results", (CONFIG, tmp_path), {})] * (other is not None)
    aside += [("set_results_aside", (tmp_path,), {})] * bool(other)
    *first, nats, results = log
    assert first == [
        *aside,
        ("save_config", (CONFIG, tmp_path), {}),
        ("fingerprint_of_orders", ("second",), {}),
        ("Record", (), {"data": "of data", "orders": "of orders", "code": {"file": ["version"]}}),
        ("record", tmp_path),
        ("best_store", (tmp_path,), {}),
        (4, [6.0, 7.0], "d"),
    ]
    assert results == ("write_results", (tmp_path, "h"), {}), "they mark the folder as complete"
    (folder, rows), _ = nats[1:]
    assert folder == tmp_path and {name: row.tolist() for name, row in rows.items()} == {
        **{"validation": [-6, -7], "test": [6, 7]}
    }


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (scores_of(alive=False), "the loss was not finite; a lower optimizer.learning_rate or a clip_norm may help"),
        (
            scores_of(validation=np.inf),
            "no validation score of this run was finite, so there are no best parameters to test",
        ),
    ],
)
def test_a_member_without_parameters_has_no_folder(scores, sentence, tmp_path):
    assert refusal(write_member, tmp_path / "folder", CONFIG, POPULATION, scores, 1, 1) == sentence
    assert not list(tmp_path.iterdir())


def test_rows_without_a_scored_site_do_not_count():
    rows = {"nll": np.arange(12.0).reshape(2, 2, 3), "sites": np.array([[[1, 0, 2]] * 2] * 2), "truth": np.arange(3.0)}
    found = counted(rows)
    assert found["nll"][1, 1].tolist() == [9, 11] and found["truth"].tolist() == [0, 2]
