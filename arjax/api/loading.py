"""A model out of a file."""

from __future__ import annotations

import os

from arjax.api.trained_model import Fitted, Settings
from arjax.core.arguments import named_arguments
from arjax.data import Dataset
from arjax.data.vocabulary import Vocabulary
from arjax.interop.model_file import load_model
from arjax.parallel.sharding import make_mesh


@named_arguments
def load(path: str | os.PathLike) -> Fitted:
    """The model in a file that `save` has written, with its parameters: no workdir, config or data are needed.

    Raises:
      UserError: there is no such file; it is damaged or was not written by arjax; or the model has a component, such
        as a network, that is not registered here.
    """
    saved = load_model(path)
    about, model = saved.about, saved.model
    data, words = about["data"], about["data"]["vocabulary"]
    vocabulary = None if words is None else Vocabulary(**words | {"symbols": tuple(words["symbols"])})
    more = {"vocabulary": vocabulary, "scale": saved.scale, "shift": saved.shift}
    dataset = Dataset(data["name"], model.event, model.context_spec, {}, **more)
    settings = Settings(make_mesh(), num_orders=about["num_orders"], about=about)
    return Fitted(model, saved.params, dataset, settings, about["results"])
