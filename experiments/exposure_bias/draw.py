"""The excess against the length, and the table of the page, of the finished runs of sweep.py.

    python experiments/exposure_bias/draw.py runs/exposure_bias

Reads the results and the curves (`exposure.npz`) of each run. Writes exposure.png, a row of panels for each truth with
a panel for each student, second_stage.png, the same of the second stages, and the table of README.md beside them. Rows
that are not finished there keep the line and the curve that they have, the curve in curves.npz: the excess and its
standard error, in per cent. Intervals cover 95 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sweep import FIRST, LENGTH, REGIMES, STUDENTS, TRUTHS

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.files import read_arrays, read_json_object
from arjax.evaluation.exposure import Z
from arjax.reporting.figures import FIRST_STEP, SOFT, label_axes, new_figure, save_figure

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import keep_arrays, renew_measured

HERE = Path(__file__).parent
COLORS = dict(zip(FIRST, ("#2b5f91", "#d9722c", "#3c8d5a", "#8a5aa8", "#9a9a9a", "#b03a48"), strict=True))
#: Lengths of the last columns of the table, the whole sequence last.
AT = (32, 64, 128, LENGTH)
COLUMNS = ["truth", "student", "regime", "nats, prefixes of the data", "nats, own prefixes"]
COLUMNS += ["beside teacher forcing, nats", "NLL", *(f"excess at {length}, %" for length in AT)]


class Found(NamedTuple):
    """A finished run: its scores and its curves along the order, [S] each."""

    scores: Mapping[str, Any]
    curves: Mapping[str, np.ndarray]


def read(folder: Path) -> dict[tuple[str, str, str], Found]:
    """The finished runs by truth, student and regime."""
    found = {}
    for truth in TRUTHS:
        for student in STUDENTS:
            for regime in REGIMES:
                run = folder / f"{truth}-{student}-{regime}"
                if (run / "results.json").is_file() and (run / "exposure.npz").is_file():
                    scores = read_json_object(run / "results.json") or {}
                    found[truth, student, regime] = Found(scores, read_arrays(run / "exposure.npz"))
    if not found:
        raise UserError(f"{folder} has no finished run of experiments/exposure_bias/sweep.py")
    return found


def draw(path: Path, excess: Mapping[str, np.ndarray], second: bool = False) -> None:
    """The excess up to each length in per cent, a line for each regime with its band; no picture without runs.

    Args:
      excess: by the name of the run, its excess and the standard error, [2, S].
      second: the second stages.
    """
    keys = ((truth, student, regime) for truth in TRUTHS for student in STUDENTS for regime in REGIMES)
    of_stage = [key for key in keys if REGIMES[key[2]].second == second]
    found = {key: excess["-".join(key)] for key in of_stage if "-".join(key) in excess}
    if not found:
        return
    truths = [truth for truth in TRUTHS if any(key[0] == truth for key in found)]
    students = [student for student in STUDENTS if any(key[1] == student for key in found)]
    figure = new_figure(4.2 * len(students), 3.1 * len(truths))
    axes = figure.subplots(len(truths), len(students), squeeze=False, sharex=True, sharey="row")
    for i, truth in enumerate(truths):
        for axis, student in zip(axes[i], students, strict=True):
            if not any(key[:2] == (truth, student) for key in found):
                axis.axis("off")
                continue
            for regime in REGIMES:
                if (truth, student, regime) in found:
                    color = COLORS[regime.removeprefix("then_")]
                    _line(axis, found[truth, student, regime], color, REGIMES[regime].words)
            axis.axhline(0, color=SOFT, linewidth=0.8)
            axis.tick_params(labelbottom=True, labelleft=True)  # its neighbours may be empty
            label_axes(axis, "length", "excess, per cent", f"{STUDENTS[student]}, {TRUTHS[truth]}")
    shown = [axis.get_legend_handles_labels() for axis in axes.flat]
    handles = {label: handle for sides in shown for handle, label in zip(*sides, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save_figure(figure, path)


def _line(axis: Any, curve: np.ndarray, color: str, label: str) -> None:
    y, half = curve[0], Z * curve[1]
    lengths = np.arange(len(y)) + FIRST_STEP
    axis.fill_between(lengths, y - half, y + half, color=color, alpha=0.18, linewidth=0)
    axis.plot(lengths, y, color=color, linewidth=1.3, label=label)


def lines(found: Mapping[tuple[str, str, str], Found]) -> list[list[str]]:
    """The rows of the table.

    Nats over the truth are KL(truth || student) of whole sequences, accumulated under prefixes of the data. Beside
    teacher forcing: the accumulated error under own prefixes relative to that of the same student after as many steps.
    """
    rows = []
    for (truth, student, regime), (scores, curves) in found.items():
        own, own_error = scores["exposure_forward_own_nats"], scores["exposure_forward_own_stderr"]
        cells = [TRUTHS[truth], STUDENTS[student], REGIMES[regime].words]
        cells += [f"{scores['exposure_forward_data_nats']:.2f} ± {Z * scores['exposure_forward_data_stderr']:.2f}"]
        cells += [f"{own:.2f} ± {Z * own_error:.2f}"]
        control = "then_teacher_forcing" if REGIMES[regime].second else "teacher_forcing"
        base = found.get((truth, student, control))
        if base is None or regime == control:
            cells += ["", ""]
        else:
            before = base.scores["exposure_forward_own_nats"]
            error = Z * np.hypot(own_error, base.scores["exposure_forward_own_stderr"])
            cells += [f"{own - before:+.2f} ± {error:.2f}"]
            cells += [f"{100 * (scores['nll_nats'] / base.scores['nll_nats'] - 1):+.2f} %"]
        at = [(curves["excess"][n - 1], Z * curves["excess_stderr"][n - 1]) for n in AT if n <= len(curves["excess"])]
        rows.append(cells + [f"{excess:.1f} ± {error:.1f}" for excess, error in at] + [""] * (len(AT) - len(at)))
    return rows


def main(argv: Sequence[str]) -> int:
    """Reads, draws, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--out", type=Path, default=HERE, help="where picture and page are [this folder]")
    flags = parser.parse_args(argv)
    found = read(flags.folder)
    curves = {"-".join(key): run.curves for key, run in found.items()}
    both = {name: np.float32([of["excess"], of["excess_stderr"]]) for name, of in curves.items()}
    excess = keep_arrays(flags.out / "curves.npz", both)
    draw(flags.out / "exposure.png", excess)
    draw(flags.out / "second_stage.png", excess, second=True)
    order = [(TRUTHS[t], STUDENTS[s], r.words) for t in TRUTHS for s in STUDENTS for r in REGIMES.values()]
    renew_measured(flags.out / "README.md", COLUMNS, lines(found), order, COLUMNS[3:])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("draw", lambda: main(sys.argv[1:])))
