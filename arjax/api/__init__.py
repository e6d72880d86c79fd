"""The Python interface: training, scores, samples and plots in a line each. `arjax` itself has these names, too."""

from arjax.api.arrays import fit_arrays
from arjax.api.comparing import Comparison, compare
from arjax.api.conditionals import SiteConditionals
from arjax.api.fitting import fit
from arjax.api.loading import load
from arjax.api.planning import plan, plan_draws
from arjax.api.run import Run, open_run
from arjax.api.trained_model import Curve, Fitted, TrainedModel

__all__ = [
    "Comparison",
    "Curve",
    "Fitted",
    "Run",
    "SiteConditionals",
    "TrainedModel",
    "compare",
    "fit",
    "fit_arrays",
    "load",
    "open_run",
    "plan",
    "plan_draws",
]
