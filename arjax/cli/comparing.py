"""The mode `compare`: paired differences of the nats of runs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

from arjax.api.comparing import compare
from arjax.api.comparing import row_in_words as in_a_line
from arjax.api.run import Run
from arjax.api.run import open_run as open_other
from arjax.cli.opening import open_run
from arjax.cli.scoring import write_rows
from arjax.config.files import apply_overrides
from arjax.config.validate import validate
from arjax.core.files import own_folder, write_json
from arjax.training.reporter import announce

FOLDER = "comparisons"


def compare_runs(flags: SimpleNamespace) -> None:
    """Prints how a run compares with those of --other. Writes `comparisons/OTHER.json`, the numbers, and `.csv`, the
    nats of each example. The names state a split other than test, and the number of examples if it is limited.
    """
    run = open_run(flags)
    others = [_other(flags, name) for name in map(str.strip, flags.other.split(",")) if name]  # a mistake ends here
    split, num = run.config.evaluate.split, run.config.evaluate.examples
    of_examples = f"-{split}" * (split != "test") + f"-{num}-examples" * bool(num)
    announce(f"comparing the nats of the {split} split ...", sys.stderr)
    comparison = compare(run, *others, split=split)
    names = [Path(other.name).resolve().name for other in comparison.others]
    folder = own_folder(run.workdir, FOLDER)
    for i, row in enumerate(comparison.rows()):
        print(in_a_line(row))
        name = names[i] + f"-{i + 1}" * (names[i] in names[:i]) + of_examples
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        write_json(folder / f"{name}.json", finite | {"dataset": run.dataset.name, "split": split})
        print(folder / f"{name}.json")
        first, other = (model.nats_SN.mean(0) for model in (comparison.first, comparison.others[i]))
        write_rows(str(folder / f"{name}.csv"), {"example": comparison.examples, "first": first, "other": other})


def _other(flags: SimpleNamespace, workdir: str) -> Run:
    run = open_other(workdir)
    overrides = [override for override in flags.overrides if override[0].startswith("evaluate.")]
    apply_overrides(run.config, overrides)
    return Run(run.workdir, validate(run.config)) if overrides else run
