"""The command `arjax-table`, in one process: every command, and one sentence for each mistake."""

import csv
import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from example_table import AGE, COLUMNS, SEX, table_of, untrained

from arjax.tables import fitting
from arjax.tables.columns import make_numbers
from arjax.tables.main import main
from arjax.tables.table import TableModel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    table = table_of(untrained(COLUMNS), {"id": "it names the rows"})
    return str(table.save(tmp_path_factory.mktemp("table") / "t.safetensors"))


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("work,sex,age,note\na,f,12,x\nb,,?,y\nf,m,900000,z\n")
    return str(path)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_show_and_sample(model, tmp_path, capsys):
    assert main(["show", model]) == 0
    shown = capsys.readouterr().out
    assert "sex: 2 words, such as m, f" in shown and "model: a network for all orders of the columns" in shown
    assert main(["sample", model, "20", str(tmp_path / "s.csv"), "--given", "sex=f", "age=10..20"]) == 0
    drawn = read(tmp_path / "s.csv")
    assert len(drawn) == 20 and all(row["sex"] == "f" and 10 <= int(row["age"]) <= 20 for row in drawn)


def test_impute(model, rows, tmp_path):
    assert main(["impute", model, rows, str(tmp_path / "full.csv")]) == 0
    full = read(tmp_path / "full.csv")
    assert full[0] == {"work": "a", "sex": "f", "age": "12", "note": "x"}
    assert full[1]["sex"] in SEX.words and 0 <= int(full[1]["age"]) <= 30 and full[1]["note"] == "y"
    assert main(["impute", model, rows, str(tmp_path / "full.csv"), "--num=2"]) == 0
    assert (tmp_path / "full-1.csv").is_file() and (tmp_path / "full-2.csv").is_file()
    assert main(["impute", model, rows, str(tmp_path / "full.csv.gz"), "--num=1"]) == 0
    with gzip.open(tmp_path / "full-1.csv.gz", "rt") as file:
        assert next(csv.DictReader(file))["work"] == "a"


def test_a_dash_prints_the_rows(model, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", model, "20", "-", "--given", "sex=f"]) == 0
    drawn = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(drawn) == 20 and all(row["sex"] == "f" for row in drawn)
    assert main(["impute", model, rows, "-"]) == 0
    full = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert full[1]["sex"] in SEX.words and full[1]["note"] == "y"
    assert not (tmp_path / "-").exists()


def test_outliers_score_and_query(model, rows, capsys):
    for num, lines in (("1", 1), ("0", 3)):
        assert main(["outliers", model, rows, f"--num={num}"]) == 0
        out = capsys.readouterr().out
        assert "900000" in out and out.count("sex") + out.count("age") + out.count("work") >= lines
    assert main(["score", model, rows]) == 0
    assert "nats per row (3 rows)" in capsys.readouterr().out
    assert main(["query", model, "age=..9", "work=a|b", "--given", "sex=f"]) == 0
    low = float(capsys.readouterr().out.split()[0])
    assert main(["query", model, "age=10..", "work=a|b", "--given", "sex=f"]) == 0
    high = float(capsys.readouterr().out.split()[0])
    assert main(["query", model, "work=a|b", "--given", "sex=f", f"age=..{AGE.high[-1]}"]) == 0
    assert 0 < low + high < 1


def test_a_fraction_of_whole_numbers_has_infinitely_many_nats(tmp_path, capsys):
    table_of(untrained((make_numbers("v", np.arange(20.0), 50, is_int=True),))).save(tmp_path / "t.safetensors")
    (tmp_path / "rows.csv").write_text("v\n3\n3.5\n")
    assert main(["score", str(tmp_path / "t.safetensors"), str(tmp_path / "rows.csv")]) == 0
    out, err = capsys.readouterr()
    assert out == "inf ± nan nats per row (2 rows)\n"
    assert "row 3" in err and "holds 3.5 in the column 'v', which has whole numbers: its probability is 0" in err


def test_questions(model, tmp_path, capsys):
    assert main(["expectation", model, "age", "--given", "sex=f"]) == 0
    mean = capsys.readouterr().out
    assert mean.endswith(" (exact under this model)\n") and 0 < float(mean.split()[0]) < 30
    assert main(["expectation", model, "age", "--given", "sex=f|m", "--stderr=0.1"]) == 0
    value, _, error, kind = capsys.readouterr().out.split()
    assert kind == "(estimate)"
    assert 0 < float(value) < 30 and 0.02 < float(error) <= 0.1
    assert main(["quantile", model, "age", "0.5", "--given", "sex=f"]) == 0
    assert 0 <= int(capsys.readouterr().out.split()[0]) <= 30
    assert main(["next", model, "work", "--given", "sex=f"]) == 0
    assert re.fullmatch(r"age: [\d.e-]+ \(exact under this model\)\n", capsys.readouterr().out)
    assert main(["sample", model, "5", str(tmp_path / "s.csv"), "--gaps"]) == 0
    assert len(read(tmp_path / "s.csv")) == 5


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["shwo", "m"], "command cannot be 'shwo', did you mean 'show'"),
        (["fit", "new.csv"], r"these arguments are missing: model \(--help lists all\)"),
        (["fit", "new.csv", "m", "--minutes=soon"], "--minutes must be a number, not 'soon'"),
        (["sample", "MODEL", "some", "out.csv"], "num must be an integer, not 'some'"),
        (["query", "MODEL", "age=3", "--given"], "--given needs a value"),
        (["outliers", "MODEL", "new.csv", "--num=-1"], "num must be a whole number, at least 0, not -1"),
        (["show", "nowhere.safetensors"], "there is no file 'nowhere.safetensors'"),
        (["query", "MODEL", "age"], "a condition is written as age=30..40, not 'age'"),
        (
            ["sample", "MODEL", "3", "-", "--given", "age=3", "--given", "sex=f"],
            "twice: write all .* after one --given",
        ),
        (["query", "MODEL", "aeg=3"], "the table has no column 'aeg'.*'age'"),
        (["query", "MODEL", "age=x..3"], "a condition on the column 'age' is a number.*not 'x'"),
        (["expectation", "MODEL", "aeg"], "the table has no column 'aeg', did you mean 'age'"),
        (["quantile", "MODEL", "age", "1.5"], "q must be above 0 and below 1, not 1.5"),
        (["quantile", "MODEL", "age", "half"], "q must be a number, not 'half'"),
        (["next", "MODEL", "sex", "--given", "sex=f"], "the target 'sex' is already known"),
        (["query", "MODEL", "sex=g"], "never has 'g'|training never saw"),
        (["query", "MODEL", "sex=f", "sex=m"], "the column 'sex' has two conditions"),
        (["score", "MODEL", "nowhere.csv"], "cannot read the table 'nowhere.csv'"),
        (["fit", "nowhere.csv", "m.safetensors"], "cannot read the table 'nowhere.csv'"),
        (["sample", "MODEL", "0", "out.csv"], "num"),
        (["impute", "MODEL", "new.csv", "-", "--num=2"], "each completion is a file of its own"),
        (["impute", "MODEL", "new.csv", ".", "--num=2"], "'.' is a folder, and the result is a file"),
        (["fit", "new.csv", "m", "--kinds", "a=words", "a=numbers"], "the column 'a' has two kinds"),
        (["fit", "rows.csv", "MODEL", "--mintes=3"], "unknown flag '--mintes', did you mean '--minutes'"),
    ],
)
def test_mistakes(model, argv, sentence, capsys):
    assert main([model if arg == "MODEL" else arg for arg in argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(sentence, error), error


@pytest.mark.parametrize(
    "argv",
    [
        ["fit", "ROWS", "ROWS"],
        ["fit", "ROWS", "v.csv", "--validation=v.csv"],
        ["sample", "MODEL", "3", "MODEL"],
        ["impute", "MODEL", "ROWS", "ROWS"],
        ["impute", "MODEL", "ROWS", "MODEL"],
        ["impute", "MODEL", "n-2.csv", "n.csv", "--num=3"],
    ],
)
def test_a_result_does_not_replace_a_file_that_is_read(model, rows, argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for copy in ("v.csv", "n-2.csv"):
        shutil.copy(rows, copy)
    before = {path: path.read_bytes() for path in (Path(model), *tmp_path.iterdir())}
    assert main([{"MODEL": model, "ROWS": rows}.get(arg, arg) for arg in argv]) == 2
    assert "would be lost" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (Path(model), *tmp_path.iterdir())} == before


@pytest.mark.parametrize("argv", [["fit", "ROWS"], ["sample", "MODEL", "3"], ["impute", "MODEL", "ROWS"]])
def test_a_result_that_cannot_be_written_is_told_before_the_work(model, rows, argv, tmp_path, monkeypatch, capsys):
    for module, name in ((fitting, "read_frame"), (TableModel, "sample"), (TableModel, "impute")):
        monkeypatch.setattr(module, name, lambda *args, **options: pytest.fail("the work has begun"))
    assert main([*({"MODEL": model, "ROWS": rows}.get(arg, arg) for arg in argv), str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"arjax-table: cannot write {tmp_path}: Is a directory\n"
