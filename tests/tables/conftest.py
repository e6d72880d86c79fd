"""`fit_table` without its training."""

import numpy as np
import pytest

from arjax.models import make_model
from arjax.tables import fitting
from arjax.tables.any_order import AnyOrderTable, Sites
from arjax.tables.table import TableModel
from arjax.testing.examples import random_like


@pytest.fixture
def untrained(monkeypatch):
    def fit(columns, left_out, frame, cells, minutes, seed):
        sites = Sites(tuple(column.num_codes for column in columns))
        model = make_model(sites.event, "deep_nade", orders="uniform", hidden_sizes=(8,))
        engine = AnyOrderTable(columns, model, random_like(model.param_shapes), sites)
        usual = np.tile(np.linspace(0, 5, 11), (len(columns), 1))
        return TableModel(engine, usual, {}, left_out, frame)

    monkeypatch.setattr(fitting, "_fit", fit)
