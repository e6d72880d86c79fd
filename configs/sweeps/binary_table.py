"""The best density of a small binary table of yours, chosen on validation, as one command and one number.

The rows of `:mixture` are mixtures of 16 orders of the columns, each trained apart, under weights that are fitted on
validation: one for each strength of dropout, and `all`, in which the weights choose among the strengths as well.
Its number is the test nats. Without `:mixture`, one order under each strength; the best on validation is marked.

    arjax-sweep --sweep=configs/sweeps/binary_table.py:mixture,file=my.csv --workdir=runs/mine --executor=population
    arjax-sweep --sweep=configs/sweeps/binary_table.py:file=my.csv --workdir=runs/strengths
"""

from arjax.config import parse_arg, pick
from arjax.sweep import Mixture, Run

RECIPES = ("small", "medium", "strong")


def get_sweep(arg: str = "") -> list[Run | Mixture]:
    """`mixture`: orders trained apart; `orders`: how many; `recipe`: one strength alone; `file`, `validation`, `test`,
    `delimiter`, `smoke`: of configs/binary_table.py.
    """
    files = {"file": "", "validation": "", "test": "", "delimiter": ""}
    arg = parse_arg(arg, mixture=False, smoke=False, orders=16, recipe=pick(("all", *RECIPES), "all"), **files)
    given = [f"{key}={getattr(arg, key)}" for key in files if getattr(arg, key)] + ["smoke"] * arg.smoke
    recipes = RECIPES if arg.recipe == "all" else (arg.recipe,)
    orders = ["raster", *(f"random(seed={seed})" for seed in range(1, arg.orders))] if arg.mixture else ["raster"]
    runs = {recipe: _runs(recipe, orders, given, listed=not arg.mixture) for recipe in recipes}
    every = [run for of in runs.values() for run in of]
    if not arg.mixture:
        return every
    mixtures = [_mixture(f"MADE {recipe}", recipe, of) for recipe, of in runs.items()]
    return [*every, *mixtures, *([_mixture("MADE", "all", every)] if len(runs) > 1 else [])]


def _runs(recipe: str, orders: list[str], given: list[str], listed: bool) -> list[Run]:
    config = "configs/binary_table.py:" + ",".join([f"recipe={recipe}", *given])
    return [
        Run(f"{recipe}-{i}", config, {"model.ordering": ordering}, model=f"MADE {recipe}", listed=listed)
        for i, ordering in enumerate(orders)
    ]


def _mixture(model: str, name: str, runs: list[Run]) -> Mixture:
    words = f"{model}, {len(runs)} mixed, fitted weights"
    return Mixture(name, [run.name for run in runs], weights="fitted", model=words)
