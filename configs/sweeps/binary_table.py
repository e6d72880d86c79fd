"""The best density of a small binary table of yours, chosen on validation, as one command and one number.

The rows of `:mixture` are mixtures of 16 orders of the columns, each trained apart, under weights that are fitted on
validation: one for each strength of dropout, and `all`, in which the weights choose among the strengths as well.
Its number is the test nats. Without `:mixture`, one order under each strength; the best on validation is marked.

Where rows are few, the rate of Adam matters as much as the dropout: wide tables are best after some epochs at the usual
rate, and better after many epochs at a tenth of it. There the first order of each strength is trained at three rates,
and the other orders at the one that is best on validation.

    arjax-sweep --sweep=configs/sweeps/binary_table.py:mixture,file=my.csv --workdir=runs/mine --executor=population
    arjax-sweep --sweep=configs/sweeps/binary_table.py:file=my.csv --workdir=runs/strengths
"""

from pathlib import Path

from arjax.config import parse_arg, pick
from arjax.sweep import Mixture, Run

RECIPES = ("small", "medium", "strong")
#: of tables of at most so many rows; the first is that of configs/binary_table.py, and of longer tables
RATES, FEW = (3e-3, 1e-3, 3e-4), 5000
RATE = "optimizer.learning_rate"


def get_sweep(arg: str = "") -> list[Run | Mixture]:
    """`mixture`: orders trained apart; `orders`: how many; `recipe`: one strength alone; `file`, `validation`, `test`,
    `delimiter`, `skip`, `smoke`: of configs/binary_table.py.
    """
    files = {"file": "", "validation": "", "test": "", "delimiter": "", "skip": ""}
    arg = parse_arg(arg, mixture=False, smoke=False, orders=16, recipe=pick(("all", *RECIPES), "all"), **files)
    given = [f"{key}={getattr(arg, key)}" for key in files if getattr(arg, key)] + ["smoke"] * arg.smoke
    recipes = RECIPES if arg.recipe == "all" else (arg.recipe,)
    rates = RATES if _num_rows(arg.file) <= FEW else RATES[:1]
    others = [f"random(seed={seed})" for seed in range(1, arg.orders)] if arg.mixture else []
    runs = {recipe: _runs(recipe, rates, others, given, listed=not arg.mixture) for recipe in recipes}
    every = [run for of in runs.values() for run in of]
    if not arg.mixture:
        return every
    mixtures = [_mixture(f"MADE {recipe}", recipe, of) for recipe, of in runs.items()]
    return [*every, *mixtures, *([_mixture("MADE", "all", every)] if len(runs) > 1 else [])]


def _num_rows(file: str) -> int:
    """The lines of a table; of one that is missing, which its runs will name, as many as need no other rate."""
    path = Path(file).expanduser() if file else Path(__file__).parents[1] / "parity.csv"
    if not path.is_file():
        return FEW + 1
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def _runs(recipe: str, rates: tuple, others: list[str], given: list[str], listed: bool) -> list[Run]:
    config = "configs/binary_table.py:" + ",".join([f"recipe={recipe}", *given])
    pilots = [
        Run(
            f"{recipe}-0" + f"-rate={rate:g}" * (rate != RATES[0]),
            config,
            {"model.ordering": "raster", **({RATE: rate} if rate != RATES[0] else {})},
            model=f"MADE {recipe}" + f", rate {rate:g}" * (len(rates) > 1),
            listed=listed,
        )
        for rate in rates
    ]
    waits_for = tuple(pilot.name for pilot in pilots) if len(rates) > 1 else ()
    return pilots + [
        Run(f"{recipe}-{i}", config, {"model.ordering": order}, model=f"MADE {recipe}", listed=listed, pilots=waits_for)
        for i, order in enumerate(others, start=1)
    ]


def _mixture(model: str, name: str, runs: list[Run]) -> Mixture:
    words = f"{model}, {len(runs)} mixed, fitted weights"
    return Mixture(name, [run.name for run in runs], weights="fitted", model=words)
