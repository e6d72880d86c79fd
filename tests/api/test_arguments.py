"""Wrong types, absurd values and misspelled names in calls from Python: one sentence that names the argument."""

from __future__ import annotations

import contextlib
import os
import pickle

import jax
import numpy as np
import pytest
from refusals import refusal

import arjax
from arjax.api import arrays, fitting
from arjax.api.comparing import mixture_of_runs
from arjax.api.trained_model import Settings
from arjax.core.options import checked_arguments
from arjax.core.spec import ContextSpec, EventSpec, class_label
from arjax.data import from_arrays, make_dataset
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.sweep import Mean, Mixture, Run, Search, grid

WRONG = (None, 3, -1, 1.5, "a", "", b"x", [], {}, object(), True, float("nan"), float("inf"), 10**12, 10**30, 2 + 3j)
WRONG += (np.array("a"), np.zeros((2, 2)), np.array([None]), [[1], [1, 2]], (1, 2), {"a": 1}, "a\0b", print, {1, 2})


class ReachedTheTrainingError(Exception):
    """All arguments were taken."""


@pytest.fixture
def untrained(monkeypatch):
    def stop(*args, **kwargs):
        raise ReachedTheTrainingError

    monkeypatch.setattr(fitting, "train_in", stop)
    monkeypatch.setattr(arrays, "_fit", stop)


def check_call(function, good, **taken):
    """Every value in the place of every argument is a sentence, unless it is one of those that are `taken` there."""
    for name in good:
        for wrong in WRONG:
            told, fine = "", taken.get(name, ())
            with contextlib.suppress(ReachedTheTrainingError):
                told = refusal(function, **good | {name: wrong})
            assert told or any(wrong is value or repr(wrong) == repr(value) for value in fine), (name, wrong)


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
    taken = dict.fromkeys(("steps", "batch_size", "eval_every", "patience", "num_orders"), (3,)) | {"objective": ("",)}
    taken |= {"validation": (None,), "seed": (3, 10**12), "quiet": (True,), "name": ("a", "", "a\0b")}
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
        assert refusal(call, **arguments) == sentence
    with pytest.raises(TypeError, match="too many positional"):
        call(*range(9))


KEY = jax.random.key(0)
MISTAKES = {
    "sample takes no 'temprature', did you mean 'temperature'?": lambda f, x: f.sample(2, temprature=0.5),
    "stream takes no 'temprature', did you mean 'temperature'?": lambda f, x: f.stream(9, temprature=0.5),
    "plot_samples takes no 'temprature', did": lambda f, x: f.plot_samples(2, temprature=0.5),
    "log_prob takes no 'contxt', did you mean 'context'?": lambda f, x: f.log_prob(x, contxt=1),
    "evaluate takes no 'splt', did you mean 'split'?": lambda f, x: f.evaluate(splt="test"),
    "has no tets split, did you mean 'test'?": lambda f, x: f.evaluate("tets"),
    "conditionals takes no 'sede', did you mean 'seed'?": lambda f, x: f.conditionals(x, sede=1),
    "suggest takes no 'lenght', did you mean 'length'?": lambda f, x: f.suggest("a", lenght=3),
    "save takes no 'pth', did you mean 'path'?": lambda f, x: f.save(pth="a"),
    "draw takes no 'temprature', did you mean": lambda f, x: f.model.sample(f.params, KEY, 2, temprature=0.5),
    "log_prob takes no 'maks', did you mean 'mask'?": lambda f, x: f.model.log_prob(f.params, x, maks=1),
    "conditionals takes no 'contxt', did you": lambda f, x: f.model.conditionals(f.params, x, contxt=1),
    "fit_arrays takes no 'stepss', did you mean 'steps'?": lambda f, x: arjax.fit_arrays(f.model, train=x, stepss=1),
    "fit takes no 'quite', did you mean 'quiet'?": lambda f, x: arjax.fit("digits:smoke", "nowhere", quite=True),
    "open_run takes no 'workdri', did you mean 'workdir'?": lambda f, x: arjax.open_run(workdri="a"),
    "load takes no 'paht', did you mean 'path'?": lambda f, x: arjax.load(paht="a"),
    "make_model takes no 'orderng', did": lambda f, x: make_model(f.model.event, "made", orderng=""),
    "'made' has no option 'droput', did": lambda f, x: make_model(f.model.event, "made", droput=0.1),
    "make_factorization takes no 'partiton', did": lambda f, x: make_factorization((4,), partiton="sites"),
    "from_arrays takes no 'trian', did you mean 'train'?": lambda f, x: from_arrays(f.model.event, trian=x),
    "EventSpec takes no 'kid', did you mean 'kind'?": lambda f, x: EventSpec((5,), kid="binary"),
    "Run takes no 'modl', did you mean 'model'?": lambda f, x: grid("c.py", {"seed": [1]}, modl="a"),
    "Mean takes no 'off', did you mean 'of'?": lambda f, x: Mean("a", off=["b"]),
    "Mixture takes no 'wieghts', did you mean 'weights'?": lambda f, x: Mixture("a", ["b"], wieghts="equal"),
    "Search takes no 'trails', did you mean 'trials'?": lambda f, x: Search("c.py", {}, trails=3),
}


@pytest.fixture(scope="module")
def fresh():
    """A model as `fit_arrays` returns it, with fresh parameters."""
    x = np.arange(15).reshape(3, 5) % 2
    model = make_model(EventSpec((5,)), "made", hidden_sizes=(4,))
    settings = Settings(mesh=None)
    return arjax.Fitted(model, model.init(KEY), from_arrays(model.event, train=x, test=x[:1]), settings), x


@pytest.mark.parametrize("sentence", MISTAKES)
def test_it_is_told_with_the_nearest_name(sentence, fresh):
    assert sentence in refusal(MISTAKES[sentence], *fresh)


def test_parts_of_a_context():
    model = make_model(EventSpec((3,)), "made", hidden_sizes=(4,), context=ContextSpec(style=class_label(3)))
    told = refusal(model.log_prob, model.init(KEY), np.zeros((1, 3), int), context={"stile": [1]})
    assert "needs the parts style, not stile; 'stile', did you mean 'style'" in told


def test_what_is_named_rightly_is_called_as_before():
    @checked_arguments()
    def inner(a, /, b, *, c=3, **rest):
        return a, b, c, rest

    def options(*, width=1):
        """Not called."""

    @checked_arguments(like=options)
    def outer(a, **rest):
        return a, rest

    assert inner(1, b=2, d=4) == (1, 2, 3, {"d": 4}) and inner.__name__ == "inner"
    assert outer(a=1, width=2) == (1, {"width": 2})
    assert "outer takes no 'qqq' (there are: a, width)" in refusal(outer, 1, qqq=2)
    run = Run("a", "c.py", model="x", published=1.0)
    assert pickle.loads(pickle.dumps(run)) == run and EventSpec((2,), kind="real") == EventSpec((2,), (), "real")
    with pytest.raises(AttributeError, match="no attribute 'fit_array', did you mean 'fit_arrays'"):
        _ = arjax.fit_array
