"""The measured table of a study: finished rows are measured, others keep the line and the samples that they have."""

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sweep_cases import REPORT

import arjax
from arjax.config.files import to_json
from arjax.core.errors import UserError
from arjax.core.files import read_arrays
from arjax.core.spec import EventSpec
from arjax.sweep import Run
from arjax.sweep.dependencies import dependencies, in_stages
from arjax.sweep.rows import load_sweep
from arjax.sweep.runs import config_of
from arjax.sweep.table import Table

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
    with pytest.raises(UserError, match=r"first has no finished run, and another row reads it"):
        study.measure()


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
