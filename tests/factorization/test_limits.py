"""Rules about several options of orders, partitions and graphs, or about an option and the grid."""

from __future__ import annotations

import pytest

from arjax.core.errors import UserError
from arjax.factorization import make_factorization, make_orders

GRID = (4, 6)
EDGE, MUST = "an edge is", "must (be|name)"
#: What is called, the call, the values that it takes, those that it refuses, and the sentence.
LIMITS = [
    ("ordering", "symmetry(axes={})", ("()", "(1, 0)"), ("(0, 0)", "(0,)", "(1, 2)", "'x'"), MUST),
    ("ordering", "symmetry(flip={})", ("()", "(1,)", "(0, 1)"), ("(0, 0)", "(2,)", "(-1,)"), MUST),
    ("partition", "blocks(size={})", ("1", "24"), ("5", "25"), r"blocks of \d+ do not divide 24 sites; give unequal"),
    ("partition", "scales(by_site={})", ("0", "2"), ("3",), "by_site of the partition 'scales' must be from 0 to 2"),
    ("partition", "scales(interleave={})", ("1",), ("2",), r"multiscale\(factor=2, levels=1, interleave=2\)"),
    ("graph", "edges(arrows=({},))", ("(0, 23)", "(0, 1)"), ("(0, 24)", "(-1, 2)", "(0, 1, 2)", "(1,)", "3"), EDGE),
    ("orders", "weighted(of=('raster', 'uniform'), weights={})", ("(1, 2.5)", "(1e-9, 1)"), ("(1,)", "2", "()"), "we"),
    ("orders", "weighted(of={}, weights=(1,))", ("('raster',)", "('pool',)"), ("()", "'raster'", "('unifrom',)"), ""),
    ("orders", "any_of(orderings={})", ("('raster',)", "('raster', 'hilbert')"), ("('raster', 3)", "'raster'"), ""),
]


@pytest.mark.parametrize(("what", "call", "taken", "refused", "sentence"), LIMITS, ids=[row[1] for row in LIMITS])
def test_limits(what, call, taken, refused, sentence):
    def make(value):
        text = call.format(value)
        ordering = "multiscale" if text.startswith("scales") else "raster"
        return (
            make_orders(text, GRID)
            if what == "orders"
            else make_factorization(GRID, **{"ordering": ordering, what: text})
        )

    for value in taken:
        make(value)
    for value in refused:
        with pytest.raises(UserError, match=sentence or None):
            make(value)
