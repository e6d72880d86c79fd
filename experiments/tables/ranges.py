"""Range queries on Adult by mixtures of products that are fitted for them.

    python experiments/tables/ranges.py --classes=512

`fit_table` stops adding classes where rows that it holds back gain nothing. Queries about the table itself, as in Naru,
need no such rows: here EM reads all rows of the table, with the least smoothing, until they gain nothing. The scalars
of the mixture stand beside the cells of the table, as a model that is as large as the table could be the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import metrics
import numpy as np
import protocol
import study

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data.frames import read_frame
from arjax.tables.columns import find_columns
from arjax.tables.engine import FitSettings
from arjax.tables.products import ProductOptions, ProductSearch
from arjax.tables.table import TableModel


def fitted(train: metrics.Table, classes: int, most_codes: int) -> TableModel:
    """A mixture of so many products of a table."""
    frame = read_frame(dict(train), ())
    columns, _ = find_columns(frame.columns, {}, most_codes)
    cells_NC = frame.cells(columns, "missing")
    search = ProductSearch(FitSettings(columns, {"train": cells_NC, "validation": cells_NC}))
    search.fit(ProductOptions(classes, width=0, rows=0))
    return TableModel(search.mixed()[0], np.zeros((len(columns), 1)), {}, {}, frame)


def main() -> int:
    """Reads the flags, fits, measures, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=512, help="of the mixture [512]")
    parser.add_argument("--codes", type=int, default=100, help="of a column of numbers, at most [100]")
    parser.add_argument("--queries", type=int, default=2000, help="their number [2000]")
    flags = parser.parse_args()
    train, _ = protocol.rows("adult")
    start = time.process_time()
    model = fitted(train, flags.classes, flags.codes)
    found: dict[str, float] = {"processor_minutes": (time.process_time() - start) / 60}
    seconds = []

    def estimate(query: Any) -> float:
        begin = time.monotonic()
        answer = model.probability(query)
        seconds.append(time.monotonic() - begin)
        return answer.value

    errors = metrics.q_errors(train, metrics.range_queries(train, flags.queries, seed=0), estimate)
    found |= {f"q_error_{q:g}": float(np.quantile(errors, q / 100)) for q in (50, 95, 99, 100)}
    found |= {"ms": 1000 * float(np.median(seconds)), "queries": len(seconds)}
    found |= {"scalars": sum(c.num_codes for c in model.columns) * flags.classes}
    found["cells"] = len(train) * metrics.size_of(train)
    study.keep("adult", "ranges", f"{flags.classes} products, {flags.codes} codes", found)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("ranges", main))
