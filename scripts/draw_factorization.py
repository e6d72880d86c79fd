"""Draws an ordering, its partition and the possible dependencies of each site.

    python scripts/draw_factorization.py --grid=8,8 --ordering=hilbert --partition="blocks(size=4)" --out=hilbert.png
    python scripts/draw_factorization.py --grid=3 --names=A,B,C --ordering="list(order=(2, 0, 1))" --out=cab.png

With --network, the dependencies of that network (a window, a sparse pattern) instead of all that the order allows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.reporting.diagrams import factorization_figure
from arjax.reporting.figures import save_figure


def grid_shape(text: str) -> tuple[int, ...]:
    """`8,8` -> (8, 8); raises `UserError` for anything that is no grid."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UserError(f"--grid must name positive sizes, such as 8,8, not {text!r}")
    return shape


def main(argv: Sequence[str]) -> int:
    """Reads the flags and draws."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", required=True, help="sizes of the grid, such as 8,8")
    parser.add_argument("--ordering", default="raster", help="call string [raster]")
    parser.add_argument("--partition", default="sites", help="call string [sites]")
    parser.add_argument("--graph", default="", help="call string of a dependency graph [all earlier sites]")
    parser.add_argument("--network", default="", help="draw the dependencies of this network with its default options")
    parser.add_argument("--names", default="", help="of the sites, such as A,B,C")
    parser.add_argument("--out", required=True, help="plot to write")
    flags = parser.parse_args(argv)
    shape = grid_shape(flags.grid)
    factorization = make_factorization(shape, flags.ordering, flags.partition, graph=flags.graph)
    names = flags.names.split(",") if flags.names else []
    if names and len(names) != factorization.num_sites:
        raise UserError(f"--names gives {len(names)} names, but there are {factorization.num_sites} sites")
    dependencies = None
    if flags.network:
        choice = {"ordering": flags.ordering, "partition": flags.partition, "graph": flags.graph}
        model = make_model(EventSpec(shape), flags.network, **choice)
        dependencies = model.network.dependencies(model.factorization)
    save_figure(factorization_figure(factorization, dependencies, names), flags.out)
    print(f"wrote {flags.out}")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("draw_factorization", lambda: main(sys.argv[1:])))
