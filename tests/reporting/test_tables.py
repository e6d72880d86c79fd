"""Tables for terminal and README, scores in words, and the measured table of a study."""

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refusal
from sweep_cases import REPORT

import arjax
from arjax.config.files import to_json
from arjax.core.files import read_arrays
from arjax.core.spec import EventSpec
from arjax.reporting.reports import describe_scores
from arjax.reporting.tables import format_bytes, format_count, print_table
from arjax.sweep import Run
from arjax.sweep.dependencies import dependencies, in_stages
from arjax.sweep.rows import load_sweep
from arjax.sweep.runs import config_of
from arjax.sweep.table import Table


@pytest.fixture(scope="module")
def measured(load_script):
    return load_script("scripts/measured.py")


def test_markdown_is_padded_aligned_and_escaped(measured):
    table = measured.markdown_table(["name", "n"], [["a|b", 1], ["c", 23]], right=["n"])
    assert table.splitlines() == ["| name |   n |", "| ---- | --: |", "| a\\|b |   1 |", "| c    |  23 |"]


def test_a_measured_table_takes_the_place_of_the_last_one_and_is_read_back(measured, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("Before.\n\n<!-- measured -->\n<!-- end measured -->\n\nAfter.\n")
    assert measured.measured_rows(page, ["name", "n"]) == []
    for rows in ([["a|b", "1"]], [["a|b", "2"], ["", "3 ± 1"]]):
        measured.write_measured(page, measured.markdown_table(["name", "n"], rows))
        assert measured.measured_rows(page, ["name", "n"]) == rows
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- measured -->\n| name") and text.endswith("end measured -->\n\nAfter.\n")
    assert "has other columns" in refusal(measured.measured_rows, page, ["name", "m"])
    assert "none.md" in refusal(measured.write_measured, tmp_path / "none.md", "x")
    measured.write_measured(page, "| name | n |\n| -- | -- |\n| a |")
    assert "more or fewer cells" in refusal(measured.measured_table, page)
    page.write_text("<!-- measured -->\nno end")
    assert "no place for a table" in refusal(measured.write_measured, page, "x")


def test_printed_table_holds_every_cell_in_full(capsys):
    print_table(["path", "n"], [["layers/attention/" + "x" * 60, 7], ["[b]", 8]], title="Parameters")
    text = capsys.readouterr().out
    assert "Parameters" in text and "x" * 60 in text and "[b]" in text and "7" in text
    print_table(["left", "right"], [["a", "b"]], right=["right"])
    assert capsys.readouterr().out.splitlines()[-2] == "  a          b  "


COUNTS = [(12, "12"), (1234, "1.23k"), (1.3e9, "1.3B"), (2.5e12, "2.5T"), (7e6, "7M"), (0.5, "0.5"), (5e18, "5000P")]


@pytest.mark.parametrize(("n", "text"), [*COUNTS, (999.4, "999"), (999.7, "1k"), (999_700, "1M"), (999_400, "999k")])
def test_counts(n, text):
    assert format_count(n) == text


LARGE = [(1001, "1001 B"), (1010.3 * 2**20, "1010 MiB"), (1023.9 * 2**20, "1 GiB"), (1000 * 2**40, "1000 TiB")]


@pytest.mark.parametrize(("n", "text"), [(12, "12 B"), (2048, "2 KiB"), (3 * 2**30, "3 GiB"), *LARGE])
def test_bytes(n, text):
    assert format_bytes(n) == text


NATS = {"nll_nats": 86.5412, "nll_stderr": 0.712, "bits_per_dim": 1.95081, "bits_per_dim_stderr": 0.01605}
ORDERS = {"num_orders": 8, "negative_elbo_nats": 87.0, "negative_elbo_stderr": 0.5}
EXPOSURE = {"nll_nats": 1.5, "exposure_forward_own_nats": 2.0, "exposure_forward_data_nats": 1.0}
EXPOSURE |= {"exposure_excess_percent": 100.0, "exposure_excess_stderr": 5.0}
EXPOSURE |= {"greedy_error": 0.75, "next_step_error": 0.5}
EXPOSURE |= {"judge_own_nll_nats": 3.0, "judge_own_nll_stderr": 0.5, "judge_data_nll_nats": 2.5}
EXPOSED = (
    "1.5000 nats, errors of 2.0000 nats under own prefixes, 1.0000 under the data's (excess 100.0 ± 5.0 %), 75.0 % of "
    "decoded values wrong, 50.0 % of next ones, samples 3.0000 ± 0.5000 nats under the judge, data 2.5000"
)
MIXED = "a mixture of 8 orders (their mean: 87.0000 ± 0.5000)"


@pytest.mark.parametrize(
    ("scores", "bits", "words"),
    [
        (NATS, True, "86.5412 ± 0.7120 nats, 1.9508 ± 0.0160 bits/dim"),
        (NATS, False, "86.5412 ± 0.7120 nats"),
        ({"nll_nats": 1.5, "bits_per_dim": 2.0}, True, "1.5000 nats, 2.0000 bits/dim"),
        (NATS | {"nll_nats_per_frame": 3.0}, False, "86.5412 ± 0.7120 nats, 3.0000 nats/frame"),
        (NATS | ORDERS, False, f"86.5412 ± 0.7120 nats, {MIXED}"),
        (NATS | {"num_orders": 1}, False, "86.5412 ± 0.7120 nats"),
        (NATS | {"nll_stderr": 0.0}, False, "86.5412 nats"),  # of a single example
        (NATS | ORDERS | {"negative_elbo_stderr": 0.0}, False, f"86.5412 ± 0.7120 nats, {MIXED[:-10]})"),
        (EXPOSURE, False, EXPOSED),
    ],
)
def test_scores_have_units_and_standard_errors(scores, bits, words):
    assert describe_scores(scores, bits) == words


SWEEP = """
from arjax.sweep import Run
def get_sweep(arg=""):
    return [Run(*row, **fields) for row, fields in {rows}]
"""
DIGITS, BITS = EventSpec((8, 8), (), "levels", 17), "bits_per_dim"
HEAD = ["model", "bits/dim", "kind", "parameters", "minutes", "network calls", "seconds per sample"]


class Fakes:
    """A study of fake runs: their reports are written, and drawing from one gives an array with its calls."""

    def __init__(self, script, folder: Path):
        self.script, self.page, self.runs = script, folder / "page" / "README.md", folder / "runs"
        self.draws: dict[str, tuple] = {}
        self.page.parent.mkdir()
        self.page.write_text("<!-- measured -->\n<!-- end measured -->\n")

    def write(self, *rows, **reports):
        """Writes a sweep of (name, config, fields of its row); those with a report, numbers by name, are finished."""
        named = [((name, config), fields) for name, config, fields in rows]
        (self.page.parent / "sweep.py").write_text(SWEEP.format(rows=named))
        rows = load_sweep(self.sweep)
        for run in rows:
            if run.name in reports:
                folder = self.runs / run.name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "config.json").write_text(to_json(config_of(run, self.runs)))
                (folder / "results.json").write_text(json.dumps(REPORT | {"kind": "exact"} | reports[run.name]))

    @property
    def sweep(self) -> str:
        return str(self.page.parent / "sweep.py")

    def measure(self, *flags, num=5):
        """Runs the script; returns the lines of the table of the page, by column."""
        flags = [f"--sweep={self.sweep}", f"--workdir={self.runs}", f"--num={num}", *flags]
        assert self.script.main(flags) == 0
        head, *rows = self.script.measured_table(self.page)
        return [dict(zip(head, row, strict=True)) for row in rows]

    @property
    def samples(self) -> dict[str, np.ndarray]:
        return read_arrays(self.page.with_name("samples.npz"))

    def has(self, name: str) -> bool:
        return self.page.with_name(name).exists()

    def open_run(self, folder):
        event, value, calls = self.draws.get(Path(folder).name, (DIGITS, 3, 64))

        def draw(params, keys, context):
            assert context["label"].tolist() == list(range(len(keys)))
            x = np.zeros((len(keys), *event.shape)) + value
            return SimpleNamespace(x=x, stats={"network_calls": np.arange(len(keys)) + calls})

        def first_examples(num):
            return SimpleNamespace(context={"label": np.arange(num)})

        data = SimpleNamespace(in_data_units=lambda x: x, first_examples=first_examples)
        return SimpleNamespace(model=SimpleNamespace(draw=draw, event=event), dataset=data, params=None)


@pytest.fixture
def study(load_script, monkeypatch, tmp_path):
    script = load_script("scripts/measure_sweep.py")
    fakes = Fakes(script, tmp_path)
    monkeypatch.setattr(arjax, "open_run", fakes.open_run)
    ticks = itertools.accumulate(itertools.repeat(0.5))  # of a clock that is read before and after each draw
    monkeypatch.setattr(script, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    return fakes


def bits(value, **more):
    return {BITS: value, f"{BITS}_stderr": 0.25} | more


def three_rows(study):
    """A row; a bound that reads a run without a row, which reads another one."""
    tokenizer = "configs/tokens.py:tokenizer={workdir}"
    bound = "importance_bound_bits_per_dim"
    study.write(
        ("first", "configs/digits.py", {"metric": BITS, "listed": False}),
        ("second", f"{tokenizer}/first", {"metric": BITS, "listed": False}),
        ("made", "configs/digits.py", {"metric": BITS, "model": "MADE"}),
        ("vae", f"{tokenizer}/second", {"metric": bound, "model": "VAE"}),
        first=bits(1.0),
        second=bits(1.0),
        made=bits(2.0, num_params=1500),
        vae=bits(1.0, **{bound: 3.0, f"{bound}_stderr": 0.5}),
    )


def test_finished_rows_are_measured_and_others_keep_what_they_have(study, monkeypatch):
    three_rows(study)
    study.draws = {"made": (DIGITS, np.arange(8), 0), "vae": (DIGITS, 3, 0)}
    first, second = study.measure()
    # the mean of 0 to 4 calls, and half a second for five samples
    assert list(first) == HEAD
    assert list(first.values()) == ["MADE", "2.000 ± 0.250", "exact", "1,500", "1.5", "2", "0.1"]
    assert list(second.values())[:3] == ["VAE", "3.000 ± 0.500", "bound"]
    assert second["minutes"] == "4.5"  # with those of the two runs that it needs
    samples = study.samples
    np.testing.assert_array_equal(samples["made"], np.broadcast_to(np.arange(8), (5, 8, 8)))
    assert samples["made"].dtype == np.uint8 and samples["made white"] == samples["vae white"] == 16
    assert study.has("samples.png") and not study.has("calls.png")  # the calls are the same

    shutil.rmtree(study.runs / "vae")
    drawn = []
    monkeypatch.setattr(study.script, "sample_rows", lambda path, blocks: drawn.append(blocks))
    monkeypatch.setattr(study.script, "labelled_points", lambda path, panels, *labels: drawn.append(panels))
    study.draws["made"] = (DIGITS, 8, 62)
    first, again = study.measure()
    assert again == second and first["network calls"] == "64"
    assert study.samples.keys() == samples.keys()
    rows, points = drawn
    assert list(rows) == [""] and list(rows[""]) == ["MADE", "VAE"]
    largest = [rows[""][name].max() for name in ("MADE", "VAE")]
    assert largest == [8 / 16, 3 / 16]  # of the largest level, not of the samples
    Point = study.script.Point
    assert points == {"": [Point("MADE", 64.0, 2.0, 0.25, "exact"), Point("VAE", 2.0, 3.0, 0.5, "bound")]}


def test_a_missing_run_that_a_row_reads_is_named(study):
    three_rows(study)
    shutil.rmtree(study.runs / "first")
    assert "first has no finished run, and another row reads it" in refusal(study.measure)


def test_a_row_follows_the_run_that_it_reads(repository, monkeypatch):
    monkeypatch.chdir(repository)  # a sweep file names its configs from there
    first = Run("tokenizer", "configs/tokens.py:data=digits", listed=False)
    tokens = Run("tokens", "configs/tokens.py:stage=prior,data=digits,tokenizer={workdir}/tokenizer")
    needs = dependencies([tokens, first])
    assert {name: of for name, of in needs.items() if of} == {"tokens": {"tokenizer"}}
    assert [run.name for run in in_stages([tokens, first], needs)[1]] == ["tokens"]


def test_the_page_of_joints_can_be_measured_again(load_script, repository, monkeypatch):
    """Its table has the columns of the script, and each of its lines and of its samples is that of a row."""
    monkeypatch.chdir(repository)
    script, home = load_script("scripts/measure_sweep.py"), repository / "experiments/joints"
    head, *cells = script.measured_table(home / "README.md")
    table = Table(load_sweep(str(home / "sweep.py")), Path("runs/joints"), "sweep.py")
    lines = [dict(zip(head, line, strict=True)) for line in cells]
    kept = {run.name: line for run in script.listed(table) if (line := script.line_of(run, lines))}
    assert script.Study(home, table, "bits/dim", [], {}, kept).columns == head == HEAD
    assert list(kept.values()) == lines
    assert read_arrays(home / "samples.npz").keys() == {f"{name}{end}" for name in kept for end in ("", script.WHITE)}
