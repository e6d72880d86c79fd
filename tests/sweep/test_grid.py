"""Grids of runs, the means over their seeds, and what `--dry_run` prints of them."""

import pytest
from sweep_cases import rows, sweep, write_sweep

from arjax.core.errors import UserError
from arjax.sweep import Mean, Run, grid
from arjax.sweep.rows import common_name, mean_over_seeds


def test_a_grid_has_every_combination_with_safe_and_unique_names():
    values = {"network": ["made", "lstm"], "model.ordering": ["raster", "random(seed=3)"], "seed": range(2)}
    runs = grid("c.py:network={network}", values, overrides={"train.steps": 5, "seed": 9}, model="{network} {ordering}")
    assert len({run.name for run in runs}) == len(runs) == 8
    assert [run.name for run in runs[2:5]] == ["made-random-seed=3-0", "made-random-seed=3-1", "lstm-raster-0"]
    expected = {"train.steps": "5", "seed": "1", "model.ordering": "random(seed=3)"}
    assert dict(runs[3].override_texts()) == expected
    assert (runs[3].config, runs[3].model) == ("c.py:network=made", "made random(seed=3)")
    named = grid("c.py", {"model.ordering": ["raster"], "seed": [7]}, name="{model.ordering}/seed{seed}", metric="m")
    assert (named[0].name, named[0].metric) == ("raster/seed7", "m")
    odd = [-1, 1, (64, 64), "a(b", "a-b", "x" * 300, "-", 1e-3, True]
    names = [run.name for run in grid("c.py", {"a.b": odd})]
    assert len(set(names)) == len(odd) and max(map(len, names)) < 100
    assert names[:2] == ["minus1", "1"] and (names[2], names[7], names[8]) == ("64-64", "0.001", "true")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"values": {"seed": "012"}}, "field 'seed' of the grid needs a list of values, not '012'"),
        ({"values": {"seed": []}}, "field 'seed' of the grid has no values"),
        ({"values": {"seed": [1, "1"]}}, "has the same value twice: 1, 1"),
        ({"values": {"seed": [1, 2]}, "name": "made"}, "two runs of the grid are named 'made': put more of seed"),
        ({"values": {"seed": [1]}, "name": "{sed}"}, "names the field 'sed', did you mean 'seed'?, not in the grid"),
        ({"values": {"seed": [1]}, "config": "c.py:{n}"}, "names the field 'n', not in the grid"),
    ],
    ids=lambda _: "",
)
def test_mistakes_in_a_grid_are_one_sentence(arguments, sentence):
    with pytest.raises(UserError) as error:
        grid(**{"config": "c.py"} | arguments)
    assert sentence in str(error.value)


def test_runs_that_differ_in_their_seed_only_become_a_mean():
    runs = [Run(f"a-{seed}", "c.py", {"seed": seed, "x.y": 1}, model="A", published=3.0) for seed in range(3)]
    others = [
        Run("a-mean", "c.py", {"x.y": 2, "seed": 0}),  # another field, and the name that the mean would have
        Run("b", "c.py", {"x.y": 1, "seed": 4}, model="A", published=3.0, metric="bits_per_dim"),
        Run("c", "c.py", {"x.y": 1, "seed": 5}, model="A", published=3.0, listed=False),
        Mean("d", ["c"]),
    ]
    found = mean_over_seeds([*runs, *others])
    assert [row.name for row in found] == ["a-0", "a-1", "a-2", "a-mean-2", "a-mean", "b", "c", "d"]
    assert [run.listed for run in found[:3]] == [False] * 3 and found[4:] == others
    mean = found[3]
    assert (mean.of, mean.model, mean.published) == (["a-0", "a-1", "a-2"], "A", 3.0)
    assert common_name([Run("r/s_10", "c"), Run("r/s_11", "c")]) == "r/s_mean"
    assert common_name([Run("x", "c"), Run("y-1", "c")]) == "x-mean"


def test_a_sweep_tells_means_over_seeds_and_the_kind_of_their_error(folder, capsys):
    write_sweep(
        folder, *(f"Run('made-{seed}', 'good.py', {{'seed': {seed}}})" for seed in range(3)), "Run('b', 'good.py')"
    )
    assert sweep("--seeds=mean", "--only=made-mean") == 0
    (row,) = rows()
    assert (row["value"], row["value_stderr"], row["stderr_over"]) == ("80.8123", "0.577", "seeds")
    assert row["command"] == "arjax-sweep --sweep=sweep.py --workdir=runs/out --seeds=mean --only=made-mean"
    assert "80.81 ± 0.58 over seeds" in capsys.readouterr().out
    assert sweep() == 0 and [row["stderr_over"] for row in rows()] == ["examples"] * 4
    assert (folder / "out/made-0/starts").read_text() == "x"


def test_a_dry_run_tells_all_and_writes_nothing(folder, capsys):
    assert sweep("--dry_run") == 0 and not (folder / "out").exists()
    out = capsys.readouterr().out
    assert "4 runs, 0 of them already finished\n" in out
    assert out.count("arjax --config=") == 1, "one command is enough to see how they look"
    sweep()
    text = (folder / "sweep.py").read_text().replace("good.py:dna", "good.py:adult").replace("range(2)", "range(3)")
    (folder / "sweep.py").write_text(text)
    (folder / "out/broken/config.json").write_text("{}")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capsys.readouterr()
    assert sweep("--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line.split() for line in lines if line.startswith("  ")]
    assert ["made/seed-1", "changed", "?", "good.py:adult", "1"] in table
    assert ["made/seed-2", "new", "?", "good.py:adult", "2"] in table
    assert ["plain", "finished", "1.5", "good.py"] in table and ["broken", "started", "?", "bad.py"] in table
    assert "the first one: arjax --config=good.py:adult --workdir=out/made/seed-0 --config.seed=0" in lines
    assert lines[-1] == "5 runs, 1 of them already finished"
    assert sweep("--dry_run=commands") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[2] == "arjax --config=good.py:adult --workdir=out/made/seed-2 --config.seed=2"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sweep("--dry_run", "--only=plane") == 2


def test_runs_like_a_finished_one_take_as_long(folder, capsys):
    """Alike are those that differ in seed, order and options of the optimizer; others may take any time."""
    fields = ({"seed": 0}, {"seed": 1, "optimizer.b1": 0.5}, {"model.ordering": "spiral"}, {"train.steps": 9})
    write_sweep(folder, *(f"Run('r{i}', 'good.py', {each})" for i, each in enumerate(fields)))
    assert sweep("--only=r0") == 0
    capsys.readouterr()
    assert sweep("--dry_run") == 0
    out = capsys.readouterr().out
    minutes = [line.split()[2] for line in out.splitlines() if line.startswith("  r")]
    assert minutes[1:] == ["1.5", "~1.5", "~1.5", "?"]
    assert out.endswith("1 of them already finished; 2 of the others take about 3m00s, one after another\n")
