"""From a config to typed components; nothing below this file sees a config object. Impossible combinations end here."""

from __future__ import annotations

from ml_collections import ConfigDict

from arjax.conditionals import check_temperature, truncate
from arjax.data import Dataset, make_dataset
from arjax.factorization import graph_needs_data, needs_data, orders_need_data
from arjax.models import AutoregressiveModel, make_model


def build_dataset(config: ConfigDict) -> Dataset:
    """The data set of `config.dataset`: a name and the options of the data set function."""
    options = config.dataset.to_dict()
    return make_dataset(options.pop("name"), **options)


def build_model(config: ConfigDict, dataset: Dataset) -> AutoregressiveModel:
    """The model of `config.model`, `config.network` and `config.dtype` for a data set.

    Raises:
      UserError: an unknown name or option, or a combination that does not work, before anything compiles.
    """
    options = config.network.to_dict()
    reads_data = (
        needs_data(config.model.ordering)
        or (bool(config.model.orders) and orders_need_data(config.model.orders))
        or graph_needs_data(config.model.graph)
    )
    model = make_model(
        dataset.event,
        options.pop("name"),
        context=dataset.context,
        ordering=config.model.ordering,
        partition=config.model.partition,
        orders=config.model.orders,
        graph=config.model.graph,
        conditional=config.model.conditional,
        dtype=config.dtype,
        data=dataset.some_examples("train") if reads_data else None,
        **options,
    )
    check_temperature(config.sample.temperature)
    truncate(model.conditional, config.sample.top_k, config.sample.top_p)  # says here where it cannot be
    return model
