"""A misspelled argument of a call in Python ends in one sentence with the nearest name."""

import functools
import pickle

import jax
import numpy as np
import pytest

import arjax
from arjax.api.trained_model import Settings
from arjax.core.errors import UserError
from arjax.core.options import named_arguments
from arjax.core.spec import ContextSpec, EventSpec, class_label
from arjax.data import from_arrays
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.sweep import Mean, Mixture, Run, Search, grid

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
    "make_model takes no 'orderng', did you mean 'ordering'?": lambda f, x: make_model(
        f.model.event, "made", orderng=""
    ),
    "'made' has no option 'droput', did you mean 'dropout'?": lambda f, x: make_model(
        f.model.event, "made", droput=0.1
    ),
    "make_factorization takes no 'partiton', did": lambda f, x: make_factorization((4,), partiton="sites"),
    "from_arrays takes no 'trian', did you mean 'train'?": lambda f, x: from_arrays(f.model.event, trian=x),
    "EventSpec takes no 'kid', did you mean 'kind'?": lambda f, x: EventSpec((5,), kid="binary"),
    "Run takes no 'modl', did you mean 'model'?": lambda f, x: grid("c.py", {"seed": [1]}, modl="a"),
    "Mean takes no 'off', did you mean 'of'?": lambda f, x: Mean("a", off=["b"]),
    "Mixture takes no 'wieghts', did you mean 'weights'?": lambda f, x: Mixture("a", ["b"], wieghts="equal"),
    "Search takes no 'trails', did you mean 'trials'?": lambda f, x: Search("c.py", {}, trails=3),
}


@pytest.fixture(scope="module")
def untrained():
    """A model as `fit_arrays` returns it, with fresh parameters."""
    x = np.arange(15).reshape(3, 5) % 2
    model = make_model(EventSpec((5,)), "made", hidden_sizes=(4,))
    settings = Settings(mesh=None)
    return arjax.Fitted(model, model.init(KEY), from_arrays(model.event, train=x, test=x[:1]), settings), x


@pytest.mark.parametrize("sentence", MISTAKES)
def test_it_is_told_with_the_nearest_name(sentence, untrained):
    with pytest.raises(UserError) as error:
        MISTAKES[sentence](*untrained)
    assert sentence in str(error.value)


def test_parts_of_a_context():
    model = make_model(EventSpec((3,)), "made", hidden_sizes=(4,), context=ContextSpec(style=class_label(3)))
    with pytest.raises(UserError, match="needs the parts style, not stile; 'stile', did you mean 'style'"):
        model.log_prob(model.init(KEY), np.zeros((1, 3), int), context={"stile": [1]})


def test_what_is_named_rightly_is_called_as_before():
    @named_arguments
    def inner(a, /, b, *, c=3, **rest):
        return a, b, c, rest

    def options(*, width=1):
        """Not called."""

    @functools.partial(named_arguments, like=options)
    def outer(a, **rest):
        return a, rest

    assert inner(1, b=2, d=4) == (1, 2, 3, {"d": 4}) and inner.__name__ == "inner"
    assert outer(a=1, width=2) == (1, {"width": 2})
    with pytest.raises(UserError, match=r"outer takes no 'qqq' \(there are: a, width\)"):
        outer(1, qqq=2)
    run = Run("a", "c.py", model="x", published=1.0)
    assert pickle.loads(pickle.dumps(run)) == run and EventSpec((2,), kind="real") == EventSpec((2,), (), "real")
    with pytest.raises(AttributeError, match="no attribute 'fit_array', did you mean 'fit_arrays'"):
        _ = arjax.fit_array
