"""Wrong types and absurd values in calls from Python: one sentence that names the argument, whatever the value."""

from __future__ import annotations

import os

import jax
import numpy as np
import pytest

import arjax
from arjax.api import arrays, fitting
from arjax.api.comparing import mixture_of_runs
from arjax.core.errors import UserError
from arjax.core.options import checked_arguments
from arjax.data import make_dataset

WRONG = (None, 3, -1, 1.5, "a", "", b"x", [], {}, object(), True, float("nan"), float("inf"), 10**12, 10**30, 2 + 3j)
WRONG += (np.array("a"), np.zeros((2, 2)), np.array([None]), [[1], [1, 2]], (1, 2), {"a": 1}, "a\0b", print, {1, 2})


class ReachedTheTrainingError(Exception):
    """All arguments were taken."""


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is trained."""

    def stop(*args, **kwargs):
        raise ReachedTheTrainingError

    monkeypatch.setattr(fitting, "train_in", stop)
    monkeypatch.setattr(arrays, "_fit", stop)


def check_call(function, good, **taken):
    """Every value in the place of every argument is a sentence, unless it is one of those that are `taken` there."""
    for name in good:
        for wrong in WRONG:
            try:
                function(**good | {name: wrong})
            except (UserError, ReachedTheTrainingError) as error:
                fine = isinstance(error, UserError)
            else:
                fine = False
            assert fine or any(wrong is value or repr(wrong) == repr(value) for value in taken.get(name, ())), (
                name,
                wrong,
            )


def test_training(untrained, config, run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not list(tmp_path.iterdir())
    good = {"config": config, "workdir": "w", "overrides": {}, "quiet": True, "trust": False}
    check_call(arjax.fit, good, workdir=("a", "", "a\0b"), quiet=(True,), trust=(True,), overrides=(None, {}))
    check_call(arjax.open_run, {"workdir": run.workdir, "config": "", "trust": False}, config=("",), trust=(True,))
    x = np.zeros((8, 5), int)
    good = {"model": model, "train": x, "validation": x, "steps": 1, "batch_size": 8, "eval_every": 1, "seed": 0}
    good |= {"learning_rate": 0.1, "optimizer": "adam", "schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0}
    good |= {"clip_norm": 0.0, "ema_decay": 0.0, "patience": 0, "objective": "", "num_orders": 1, "workdir": None}
    good |= {"name": "arrays", "quiet": True}
    taken = dict.fromkeys(("steps", "batch_size", "eval_every", "patience", "num_orders"), (3,))
    taken |= {
        "validation": (None,),
        "seed": (3, 10**12),
        "quiet": (True,),
        "name": ("a", "", "a\0b"),
        "objective": ("",),
    }
    taken |= {"learning_rate": (3, 1.5, 10**12, 10**30), "clip_norm": (3, 1.5, 10**12, 10**30), "workdir": (None, "a")}
    check_call(arjax.fit_arrays, good, **taken)
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "w"}


def test_trained_models(fitted, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.zeros((2, 5), int)
    check_call(arjax.load, {"path": fitted.save("m.safetensors")})
    check_call(fitted.save, {"path": "m.safetensors"}, path=("a",))
    check_call(fitted.log_prob, {"x": x, "context": None, "mask": None}, context=(None, {}), mask=(None,))
    draw = {"num": 1, "seed": 0, "prompt": "", "length": 0, "given": None, "observed": None, "context": None}
    taken = {"num": (3,), "seed": (3, 10**12), "prompt": ("",), "given": (None,), "observed": (None,), "length": (3,)}
    check_call(fitted.sample, draw, **taken, context=(None, {}))
    given = {"num": 1, "given": x[0], "observed": [1, 0, 0, 0, 0]}
    check_call(fitted.sample, given, num=(3,))
    check_call(fitted.conditionals, {"x": x, "seed": 0}, seed=(3, 10**12))
    check_call(fitted.evaluate, {"split": "test"})
    for method in (run.standardise, run.in_data_units, fitted.standardise):
        check_call(method, {"x": x[:, :3] if method.__self__ is run else x})
    check_call(fitted.plot_history, {"name": "nll_nats"})
    check_call(fitted.plot_entropy, {"split": "test", "max_examples": 4}, split=("",), max_examples=(3,))
    check_call(lambda **of: mixture_of_runs(**of), {"workdirs": [run.workdir], "weights": "fitted"})


def test_models_and_specs(model, tmp_path):
    event = arjax.EventSpec((5,))
    check_call(
        arjax.EventSpec, {"grid_shape": (5,), "kind": "levels", "num_levels": 3}, grid_shape=((1, 2),), num_levels=(3,)
    )
    check_call(arjax.ContextSpec, {"kind": "sequence", "size": 3, "length": 4}, size=(3,), length=(3,))
    good = {"event": event, "network": "made", "ordering": "raster", "partition": "sites", "orders": "", "graph": ""}
    good |= {"conditional": "", "dtype": "float32", "data": None}
    check_call(arjax.make_model, good, orders=("",), graph=("",), conditional=("",), data=(None, print))
    params, key = model.init(jax.random.key(0)), jax.random.key(0)
    check_call(model.sample, {"params": params, "key": key, "num": 1}, num=(3,))
    check_call(model.log_prob, {"params": params, "x": np.zeros((2, 5), int)})
    (tmp_path / "text.txt").write_text("abc " * 90)
    text = make_dataset("text", file=str(tmp_path / "text.txt"), length=8)
    check_call(text.decode, {"tokens": np.zeros(3, int)}, tokens=(3, True, [], (1, 2)))


def test_the_words_for_an_argument():
    @checked_arguments(count=1, other=None)
    def call(
        count: int = 1,
        rate: float = 0.5,
        path: str | os.PathLike | None = None,
        on: bool = False,
        options: Mapping[str, Any] | None = None,  # noqa: F821  read as a text
        other: int = 0,
        rest: Any = None,  # noqa: F821
        **more: int,
    ):
        """Returns its arguments."""
        return count, rate, path, on, options, other, rest, more

    assert call(np.int32(2), np.float32(1), "a", np.True_, {}, other="x", rest=print, name="y")[0] == 2
    assert call(rate=np.array(2.0))[1] == call(rate=jax.numpy.float32(2.0))[1] == 2
    assert call.__doc__ == "Returns its arguments." and call.__name__ == "call"
    for arguments, sentence in (
        ({"count": 0}, "count must be a whole number, at least 1, not 0"),
        ({"count": 2**31}, "count must be a whole number, at most 2147483647, not 2147483648"),
        ({"rate": "fast"}, "rate must be a finite number, not 'fast'"),
        ({"rate": float("nan")}, "rate must be a finite number, not nan"),
        ({"path": 3}, "path must be a text or a path or None, not 3"),
        ({"on": 1}, "on must be True or False, not 1"),
        ({"options": {1: 2}}, "options must be a dict of values by names or None, not {1: 2}"),
        ({"count": "x" * 99}, f"count must be a whole number, at least 1, not '{'x' * 59}..."),
    ):
        with pytest.raises(UserError) as error:
            call(**arguments)
        assert str(error.value) == sentence
    with pytest.raises(TypeError, match="too many positional"):
        call(*range(9))
