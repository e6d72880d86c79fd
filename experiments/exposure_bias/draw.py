"""The excess against the length, and the table of the page, of the finished runs of sweep.py.

    python experiments/exposure_bias/draw.py runs/exposure_bias

Reads the results and the curves (`exposure.npz`) of each run. Writes excess.csv, which has every row, exposure.png, a
row of panels for each truth with a panel for each student, and the table of README.md beside them: teacher forcing, and
two other regimes on the truth on which errors accumulate. Rows that are not finished there keep their line, and their
curve in curves.npz: the excess and its standard error, in per cent. Without a folder, picture and table are made of
these files alone. Intervals cover 95 %.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sweep import LENGTH, REGIMES, STAGED, STUDENTS, TRUTHS

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.files import read_arrays, read_json_object
from arjax.evaluation.exposure import Z
from arjax.reporting.figures import FIRST_STEP, SOFT, label_axes, new_figure, save_figure

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import keep_arrays, markdown_table, write_measured

HERE = Path(__file__).parent
#: Colours of Okabe and Ito, which colour-blind readers tell apart, and lines.
STYLES = {
    "input_noise": ("#e69f00", "--"),
    "scheduled_sampling": ("#d55e00", "-."),
    "rollout": ("#cc79a7", ":"),
    "soft": ("#56b4e9", "--"),
    "oracle": ("#0072b2", "-"),
    "teacher_forcing": ("#000000", "-"),
}
#: Lengths of the last columns of the table, the whole sequence last.
AT = (32, 64, 128, LENGTH)
COLUMNS = ["truth", "student", "regime", "nats, prefixes of the data", "nats, own prefixes"]
COLUMNS += ["more than teacher forcing, nats", "NLL", *(f"excess at {length}, %" for length in AT)]
#: Columns of the page, and the regimes that it shows besides teacher forcing.
SHOWN = [*COLUMNS[:6], COLUMNS[-1]]
SHOWN_REGIMES = ("scheduled_sampling", "oracle")


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


def draw(path: Path, excess: Mapping[str, np.ndarray]) -> None:
    """The excess up to each length in per cent, a line for each regime with its band.

    Args:
      excess: by the name of the run, its excess and the standard error, [2, S].
    """
    keys = ((truth, student, regime) for truth in TRUTHS for student in STUDENTS for regime in STYLES)
    found = {key: excess["-".join(key)] for key in keys if "-".join(key) in excess}
    truths = [truth for truth in TRUTHS if any(key[0] == truth for key in found)]
    students = [student for student in STUDENTS if any(key[1] == student for key in found)]
    figure = new_figure(3.4 * len(students), 2.7 * len(truths))
    axes = figure.subplots(len(truths), len(students), squeeze=False, sharex=True, sharey="row")
    for (truth, student, regime), curve in found.items():
        axis = axes[truths.index(truth), students.index(student)]
        y, half = curve[0], Z * curve[1]
        lengths = np.arange(len(y)) + FIRST_STEP
        color, line = STYLES[regime]
        axis.fill_between(lengths, y - half, y + half, color=color, alpha=0.12, linewidth=0)
        axis.plot(lengths, y, line, color=color, linewidth=1.5, label=REGIMES[regime].words)
        axis.axhline(0, color=SOFT, linewidth=0.8, zorder=0)
        label_axes(axis, "length", "excess, per cent", f"{STUDENTS[student]}, {TRUTHS[truth]}")
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


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


def renew(path: Path, found: Sequence[Sequence[str]]) -> list[list[str]]:
    """Puts rows into excess.csv, each in place of the one with the same first cells; returns all of them in order."""
    _, *kept = csv.reader(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else [[]]
    rows = {tuple(row[:3]): list(row) for row in [*kept, *found]}
    order = [(TRUTHS[t], STUDENTS[s], r.words) for t in TRUTHS for s in STUDENTS for r in REGIMES.values()]
    rows = [rows[key] for key in order if key in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return rows


def shown(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows and cells of the page."""
    always, others = REGIMES["teacher_forcing"].words, [REGIMES[name].words for name in SHOWN_REGIMES]
    staged = [TRUTHS[name] for name in STAGED]
    chosen = [row for row in rows if row[2] == always or (row[0] in staged and row[2] in others)]
    return [[row[COLUMNS.index(name)] for name in SHOWN] for row in chosen]


def main(argv: Sequence[str]) -> int:
    """Reads, draws, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="the workdir of the sweep [only draw again]")
    parser.add_argument("--out", type=Path, default=HERE, help="where picture and page are [this folder]")
    flags = parser.parse_args(argv)
    found = read(flags.folder) if flags.folder else {}
    curves = {"-".join(key): run.curves for key, run in found.items()}
    both = {name: np.float32([of["excess"], of["excess_stderr"]]) for name, of in curves.items()}
    path = flags.out / "curves.npz"
    draw(flags.out / "exposure.png", keep_arrays(path, both) if both else read_arrays(path))
    table = markdown_table(SHOWN, shown(renew(flags.out / "excess.csv", lines(found))), SHOWN[3:])
    print(table)
    write_measured(flags.out / "README.md", table)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("draw", lambda: main(sys.argv[1:])))
