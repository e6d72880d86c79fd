"""A table of three columns, 2 x 3 x 7 codes, and models that nobody trained."""

import jax
import numpy as np

from arjax.data.columns import Words
from arjax.models import make_model
from arjax.tables.any_order import AnyOrderTable, Sites
from arjax.tables.columns import Numbers
from arjax.tables.table import TableModel

SEX = Words("sex", ("m", "f"))
AGE = Numbers("age", 1.0, (0.0, 10.0, 30.0), (9.0, 29.0, 30.0), 15.0, 8.0, 1000, is_int=True)
WORK = Words("work", tuple("abcdefg"))
COLUMNS = (SEX, AGE, WORK)


def untrained(columns, most_levels: int = 256) -> AnyOrderTable:
    """A network with random parameters; columns of more than `most_levels` codes have two sites."""
    sites = Sites(tuple(column.num_codes for column in columns), most_levels)
    model = make_model(sites.event, "deep_nade", orders="uniform", hidden_sizes=(8,))

    def random(leaf):
        return 0.7 * np.random.default_rng(leaf.size).normal(size=leaf.shape).astype(np.float32)

    return AnyOrderTable(columns, model, jax.tree.map(random, model.param_shapes), sites)


def table_of(engine, left_out=(), **more) -> TableModel:
    """The table of an engine, whose validation cells have surprises from 0 to 5 nats."""
    usual = np.tile(np.linspace(0, 5, 11), (len(engine.columns), 1))
    return TableModel(engine, usual, {}, dict(left_out), **more)
