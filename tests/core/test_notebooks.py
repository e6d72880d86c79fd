"""What notebooks show of models, trained models and tables."""

import re

import numpy as np
import pytest

import arjax
from arjax.core.notebooks import InNotebook

# treescope looks at all that numpy has.
pytestmark = pytest.mark.filterwarnings("ignore:The chararray class is deprecated:DeprecationWarning")


def shown(thing):
    """The view in a notebook, without its script and its tags; it is the same inside of other objects."""
    import treescope

    bundle = thing._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(thing) and re.search("<[a-z-]+", bundle["text/html"])
    return treescope.render_to_text([thing])


def test_a_notebook_shows_models_and_trained_models_by_their_parts():
    model = arjax.make_model(arjax.EventSpec((5,)), "made", hidden_sizes=(4,))
    text = shown(model)
    assert "network=MADE(" in text and "hidden_sizes=(4,)" in text and "conditional=Bernoulli(" in text
    x = np.random.default_rng(0).integers(0, 2, (20, 5))
    text = shown(arjax.fit_arrays(model, train=x, steps=2, eval_every=1, quiet=True))
    assert "results={" in text and "'out_kernel': <jax.Array float32(4, 5)" in text and "'train/loss': Curve(" in text


class Thing(InNotebook):
    def __init__(self):
        self.columns, self.engine = ["a: numbers"], object()

    def in_notebook(self):
        return {"columns": self.columns}


def test_other_objects_name_what_is_shown():
    text = shown(Thing())
    assert "columns=['a: numbers']" in text and "engine" not in text
