"""Autoregressive models of any data: any order, any network, any conditional distribution.

    import arjax

    run = arjax.fit("configs/digits.py:network=wavenet", workdir="runs/wavenet")  # all that the command `arjax` does
    run = arjax.open_run("runs/wavenet")  # later, or while it is still training
    run.results, run.history, run.log_prob(x), run.sample(16), run.plot_samples()
    arjax.compare("runs/wavenet", "runs/lstm")  # paired differences of their nats

    model = arjax.make_model(arjax.EventSpec((5,)), "made")
    fitted = arjax.fit_arrays(model, train=x, validation=y, steps=2000)  # own arrays, no config and no files
    fitted.save("model.safetensors")
    arjax.load("model.safetensors")

    table = arjax.fit_table("people.csv")  # or a frame: any columns given any others
    table.sample(1000, given={"sex": "Female"}), table.impute(frame), table.probability({"age": (30, 40)})

JAX is imported when one of these names is used first: `import arjax` alone is quick. From then on JAX keeps compiled
programs in a folder of the user's (`arjax.core.kept_programs`).
"""

import importlib
from typing import TYPE_CHECKING, Any

from arjax.core import __version__
from arjax.core.kept_programs import keep_programs

if TYPE_CHECKING:  # for editors and type checkers; `__getattr__` imports them when they are used
    from arjax.api.arrays import fit_arrays
    from arjax.api.comparing import compare
    from arjax.api.fitting import fit
    from arjax.api.loading import load
    from arjax.api.planning import plan, plan_draws
    from arjax.api.run import Run, open_run
    from arjax.api.trained_model import Fitted
    from arjax.core import ContextSpec, EventSpec, UserError
    from arjax.data import make_dataset
    from arjax.models import make_model
    from arjax.tables import TableModel, fit_table, load_table
    from arjax.testing.auditing import audit

_PLACES = {
    "arjax.api.arrays": ("fit_arrays",),
    "arjax.api.comparing": ("compare",),
    "arjax.api.fitting": ("fit",),
    "arjax.api.loading": ("load",),
    "arjax.api.planning": ("plan", "plan_draws"),
    "arjax.api.run": ("Run", "open_run"),
    "arjax.api.trained_model": ("Fitted",),
    "arjax.core": ("ContextSpec", "EventSpec", "UserError"),
    "arjax.data": ("make_dataset",),
    "arjax.models": ("make_model",),
    "arjax.tables": ("TableModel", "fit_table", "load_table"),
    "arjax.testing.auditing": ("audit",),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "ContextSpec",
    "EventSpec",
    "Fitted",
    "Run",
    "TableModel",
    "UserError",
    "__version__",
    "audit",
    "compare",
    "fit",
    "fit_arrays",
    "fit_table",
    "load",
    "load_table",
    "make_dataset",
    "make_model",
    "open_run",
    "plan",
    "plan_draws",
]


def __getattr__(name: str) -> Any:
    """The public names, each imported when it is used first."""
    if name not in _MODULE_OF:
        from arjax.core.errors import did_you_mean

        raise AttributeError(f"module 'arjax' has no attribute {name!r}{did_you_mean(name, __all__)}")
    keep_programs()
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
