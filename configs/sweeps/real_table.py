"""The best density of a table of yours of real values, chosen on validation among the recipes of configs/real_table.py.

The row that is best on validation is marked; its number is the test nats. With `mixture`, all recipes are mixed with
weights that are fitted on validation, in a row `all`. Put the baseline beside them with
scripts/gaussian_mixture_baseline.py, at the same floor (--min_log_scale).

    arjax-sweep --sweep=configs/sweeps/real_table.py:file=my.csv --workdir=runs/mine
    arjax-sweep --sweep=configs/sweeps/real_table.py:file=my.csv,mixture --workdir=runs/mine
"""

from arjax.config import parse_arg
from arjax.sweep import Mixture, Run

#: name -> words
RECIPES = {
    "mixture": "MADE, 15 Gaussians",
    "strong": "MADE, 15 Gaussians, strong dropout",
    "small": "small MADE, 3 Gaussians",
    "members": "5 small MADEs, mixed",
    "spline": "MADE, splines",
    "flow": "flow over MADE, 10 Gaussians",
    "few_gaussians": "3 Gaussians with full covariances, from EM",
    "gaussians": "5 Gaussians with full covariances, from EM",
    "smooth_gaussians": "3 wide Gaussians with full covariances, from EM",
    "noisy": "MADE, 15 Gaussians, strong dropout, noise",
    "many_gaussians": "30 Gaussians with full covariances, from EM",
}


def get_sweep(arg: str = "") -> list[Run | Mixture]:
    """`mixture`: also all recipes mixed; `file`, `validation`, `test`, `delimiter`, `skip`, `floor`,
    `components`, `smoke`: of configs/real_table.py.
    """
    given = {"file": "", "validation": "", "test": "", "delimiter": "", "skip": "", "floor": "", "components": ""}
    arg = parse_arg(arg, mixture=False, smoke=False, **given)
    options = [f"{key}={getattr(arg, key)}" for key in given if getattr(arg, key)] + ["smoke"] * arg.smoke
    words_of = RECIPES | ({"gaussians": f"{arg.components}{RECIPES['gaussians'][1:]}"} if arg.components else {})
    runs = [
        Run(recipe, "configs/real_table.py:" + ",".join([f"recipe={recipe}", *options]), model=words)
        for recipe, words in words_of.items()
    ]
    words = f"{len(runs)} recipes mixed, fitted weights"
    return [
        *runs,
        *([Mixture("all", [run.name for run in runs], weights="fitted", model=words)] if arg.mixture else []),
    ]
