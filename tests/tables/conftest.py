"""`fit_table` without its training."""

import pytest
from example_table import table_of
from example_table import untrained as untrained_engine

from arjax.tables import fitting


@pytest.fixture
def untrained(monkeypatch):
    def fit(left_out, frame, budget):
        return table_of(untrained_engine(budget.training.columns), left_out, frame=frame)

    monkeypatch.setattr(fitting, "_fit", fit)
