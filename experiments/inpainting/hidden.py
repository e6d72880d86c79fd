"""A table of the nats of hidden halves, from the files of `arjax --mode=inpaint` for the sweep's runs.

python experiments/inpainting/hidden.py runs/inpainting
"""

from __future__ import annotations

import sys
from pathlib import Path

from arjax.cli.command_line import tell_mistakes, workdir_of
from arjax.core.files import read_json_object
from arjax.sweep.results import COLUMNS, read_csv, write_csv


def main(folder: Path) -> int:
    """Writes hidden.csv beside the results of the sweep: nats of one half, for every run and question."""
    rows = []
    for row in read_csv(folder / "results.csv"):
        workdir = row["command"].rpartition("runs/")[2]
        for question, scores in (read_json_object(folder / workdir / "inpainting" / "scores.json") or {}).items():
            half, _, visible, _ = question.split("_")
            given = "the other" if visible == "rest" else "nothing"
            command = f"arjax --mode=inpaint --workdir=runs/inpainting/{workdir} --config.inpaint.hidden={half}"
            if visible == "nothing":
                command += " --config.inpaint.visible=nothing"
            rows.append(
                dict.fromkeys(COLUMNS, "")
                | {key: row[key] for key in ("dataset", "ordering", "seed", "num_params", "device")}
                | {
                    "model": f"{row['model']}: {half} half given {given}",
                    "metric": "nll_nats",
                    "command": command,
                }
                | {"value": f"{scores['nll_nats']:.6g}", "value_stderr": f"{scores['nll_stderr']:.3g}"}
            )
    write_csv(folder / "hidden.csv", rows)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("hidden", lambda: main(workdir_of(sys.argv[1:], __doc__))))
