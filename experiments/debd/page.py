"""Compares the queries of every set with table 3 of the paper: the tables of README.md, queries.csv,
products.csv and queries.png.

python experiments/debd/page.py runs/debd
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from published import BEST, PERCENT

from arjax.cli.command_line import tell_mistakes, workdir_of
from arjax.core.errors import UserError
from arjax.reporting import figures

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

HERE = Path(__file__).resolve().parent
#: What is compared: its column in queries.csv, the column of the published number, and the model of that.
COMPARED = {"joint": ("id_spn", "ID-SPN"), "single": ("winmine", "WinMine")}
Cells = Mapping[tuple[str, int], Mapping[str, str]]


def verdict(row: Mapping[str, str], ours: str) -> str:
    """Whether our number is better than the published one by two of its standard errors."""
    lead = float(row[COMPARED[ours][0]]) - float(row[ours])
    return "tie" if abs(lead) <= 2 * float(row[f"{ours}_stderr"]) else "better" if lead > 0 else "worse"


def table(cells: Cells, ours: str) -> str:
    """A row for each set and a column for each percentage."""
    published, model = COMPARED[ours]
    lines = []
    for name in dict.fromkeys(name for name, _ in cells):
        of_set = [cells[name, percent] for percent in PERCENT]
        texts = [f"{row[ours]} ± {row[f'{ours}_stderr']} / {row[published]} {verdict(row, ours)}" for row in of_set]
        lines.append([name, model_of(of_set[0]), *texts])
    counts = [sum(verdict(row, ours) == word for row in cells.values()) for word in ("better", "tie", "worse")]
    found = "{} cells are better, {} are ties and {} are worse.".format(*counts)
    columns = ["set", "ours", *(f"{percent} %" for percent in PERCENT)]
    words = {"joint": "Joint conditionals", "single": "Single conditionals"}[ours]
    return f"**{words}**, ours / {model}: {found}\n\n{markdown_table(columns, lines, right=columns[2:])}"


def model_of(row: Mapping[str, str]) -> str:
    """What answers the queries of a set, in words."""
    num, part = int(row["networks"]), float(row["products"])
    words = [f"{num} network" + "s" * (num > 1)] * (num > 0) + [f"{part:.3g} products"] * (0 < part < 1)
    return ", ".join(words) or "products"


def whole_rows(rows: Iterable[Mapping[str, str]]) -> str:
    """The table of the mixtures of products: nats of whole rows."""
    lines = []
    for row in rows:
        (nats, model), error = BEST[row["set"]], float(row["test_stderr"])
        lead = nats - float(row["test"])
        word = "tie" if abs(lead) <= 2 * error else "better" if lead > 0 else "worse"
        ours = [f"{float(row[split]):.2f} ± {float(row[f'{split}_stderr']):.2f}" for split in ("validation", "test")]
        lines.append([row["set"], row["products"], *ours, f"{nats} ({model}) {word}"])
    columns = ["set", "products", "validation", "test", "published"]
    return f"**Mixtures of products**, nats of whole rows:\n\n{markdown_table(columns, lines, right=columns[1:])}"


#: A mark for each set, in the colours of Okabe and Ito, which colour-blind readers tell apart.
LOOKS = [
    {"marker": marker, "color": color}
    for marker, color in zip(
        "osD^v<>PX",
        ("#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999"),
        strict=True,
    )
]


def draw_picture(path: Path, cells: Cells) -> None:
    """Our nats minus the published ones for each query variable, with two standard errors."""
    figure = figures.new_figure(9.0, 3.8)
    axes = figures.row_of_axes(figure, 2)
    for axis, (ours, (published, model)) in zip(axes, COMPARED.items(), strict=True):
        for i, name in enumerate(dict.fromkeys(name for name, _ in cells)):
            rows = [cells[name, percent] for percent in PERCENT]
            nats = [float(row[ours]) - float(row[published]) for row in rows]
            errors = [2 * float(row[f"{ours}_stderr"]) for row in rows]
            places = [percent + 1.2 * (i - 4) for percent in PERCENT]
            axis.errorbar(places, nats, errors, **LOOKS[i], markersize=4, linewidth=1, linestyle="", label=name)
        axis.axhline(0, color="#888888", linewidth=0.8)
        axis.set_xticks(PERCENT)
        axis.set_yscale("symlog", linthresh=0.02)
        figures.label_axes(axis, "queried variables, %", "ours - published, nats", f"{ours} conditionals and {model}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=len(LOOKS))
    figures.save_figure(figure, path)


def main(folder: Path) -> int:
    """Writes the tables and the picture."""
    path = folder / "queries.csv"
    if not path.is_file():
        raise UserError(f"{folder} has no queries.csv: run experiments/debd/queries.py first")
    with path.open() as file:
        cells = {(row["set"], int(row["percent"])): row for row in csv.DictReader(file)}
    tables = [table(cells, ours) for ours in COMPARED]
    if (products := folder / "products.csv").is_file():
        with products.open() as file:
            tables.append(whole_rows(csv.DictReader(file)))
    for each in filter(Path.is_file, (path, products)):
        if each.resolve() != HERE / each.name:
            shutil.copyfile(each, HERE / each.name)
    write_measured(HERE / "README.md", "\n\n".join(tables))
    draw_picture(HERE / "queries.png", cells)
    return 0


if __name__ == "__main__":
    folder = workdir_of(sys.argv[1:], __doc__)
    sys.exit(tell_mistakes("page", lambda: main(folder)))
