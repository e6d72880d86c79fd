"""Strings with a column of labels, and other strings for a model of them."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.sources import read_all

PAIRS = [
    ("it", "anna"),
    ("de", "hans"),
    ("it", "lu, a"),
    ("de", "otto"),
    ("fr", "an"),
    ("it", "nula"),
    ("fr", "tu"),
] * 5


@pytest.fixture
def write(write):
    def to(rows, name: str = "names.csv", header=("language", "text")) -> str:
        mark = "\t" if name.endswith(".tsv") else ","
        lines = [mark.join(f'"{cell}"' if mark in cell else cell for cell in row) for row in (header, *rows)]
        return write("\n".join(lines) + "\n", name)

    return to


def pairs_of(dataset, split: str) -> list[tuple[str, str]]:
    rows = read_all(dataset.splits[split])
    labels = np.asarray(rows.context["label"])
    return [(dataset.classes[c], dataset.decode(x)) for c, x in zip(labels, rows.x, strict=True)]


def test_labels_stay_beside_their_strings(write):
    dataset = make_dataset("strings", file=write(PAIRS), labels="language")
    assert dataset.classes == ("de", "fr", "it") and dict(dataset.context.parts)["label"].num_levels == 3
    every = [pair for split in dataset.splits for pair in pairs_of(dataset, split)]
    assert sorted(every) == sorted(PAIRS)
    plain = make_dataset("strings", file=write([("1", text) for _, text in PAIRS], "x.csv"))
    assert not plain.classes and not plain.context
    tabs = make_dataset("strings", file=write(PAIRS, "names.tsv"), labels="language")
    assert pairs_of(tabs, "test") == pairs_of(dataset, "test")
    short = make_dataset("strings", file=write(PAIRS), labels="language", max_length=4)
    every = [pair for split in short.splits for pair in pairs_of(short, split)]
    assert sorted(every) == sorted(pair for pair in PAIRS if len(pair[1]) <= 4)
    numbers = make_dataset("strings", file=write([(str(len(a) * 5), a) for _, a in PAIRS]), labels="language")
    assert numbers.classes == ("10", "20", "25")


def test_splits_of_their_own_have_the_classes_of_train(write):
    files = {"validation": write(PAIRS[:2], "v.csv"), "test": write(PAIRS[1:3], "t.csv")}
    dataset = make_dataset("strings", file=write(PAIRS), labels="language", **files)
    assert pairs_of(dataset, "test") == [("de", "hans"), ("it", "lu, a")]
    files["test"] = write([("es", "anna")], "t.csv")
    with pytest.raises(UserError, match=r"test split of .*: the label 'es' is none of the 3 classes of the training"):
        make_dataset("strings", file=write(PAIRS), labels="language", **files)


def test_mistakes_of_labels(write):
    for rows, options, sentence in (
        (PAIRS, {"labels": "langage"}, r"has no column 'langage', did you mean 'language'\?"),
        (PAIRS, {"labels": "language", "column": "name"}, "has no column 'name'; there are: language, text"),
        ([*PAIRS, ("", "otto")], {"labels": "language"}, "line 37 of .* has no label in the column 'language'"),
        ([*PAIRS, ("it",)], {"labels": "language"}, "line 37 of .* has 1 cells, but the first has 2"),
        ([("it", text) for _, text in PAIRS], {"labels": "language"}, "has one label in all rows"),
        ([(str(n), "ab") for n in range(30)], {"labels": "language"}, "has another label in each row"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_dataset("strings", file=write(rows), **options)


def test_other_strings(write, tmp_path):
    dataset = make_dataset("strings", file=write(PAIRS), labels="language")
    found = dataset.rows.read(write([("tu", "de"), ("anna", "it")], "new.csv", ("text", "language")))
    assert found.arrays["context"].tolist() == [0, 2] and found.numbers.tolist() == [2, 3]
    assert found.arrays["mask"].sum(1).tolist() == [3, 5] and dataset.rows.decode(found.arrays["x"]) == ["tu", "anna"]
    without = dataset.rows.read(write([("tu",)], "new.csv", ("text",)))
    assert "context" not in without.arrays
    np.testing.assert_array_equal(dataset.rows.read(["tu", "anna"]).arrays["x"], found.arrays["x"])
    for rows, sentence in (
        (["annaanna"], "the string of number 0 is longer than the 5 characters of the model"),
        (["xyz"], "no token stands for the character 'x'"),
        ([], "has no string"),
        ({"text": ["tu"]}, "strings are a list of texts, or the path of a file, not a dict"),
        ([{"text": "tu"}], "strings are a list of texts, or the path of a file, not a list with a dict"),
        ("tu", r"there is no text file 'tu'; strings are a list, also a single one: \['tu'\]"),
        (write([("tu", "es")], "es.csv", ("text", "language")), "the label 'es' is none of the 3 classes"),
    ):
        with pytest.raises(UserError, match=sentence):
            dataset.rows.read(rows)
    (tmp_path / "lines.txt").write_text("anna\n\ntu\n" * 9)
    lines = make_dataset("strings", file=str(tmp_path / "lines.txt"))
    (tmp_path / "new.txt").write_text("tu\n\nanna\n")
    assert lines.rows.read(tmp_path / "new.txt").numbers.tolist() == [1, 3]


def test_a_text_in_windows_is_scored_once(tmp_path):
    (tmp_path / "book.txt").write_text("to be or not to be " * 20)
    dataset = make_dataset("text", file=str(tmp_path / "book.txt"), length=8, eval_stride=4)
    (tmp_path / "new.txt").write_text("not to be or be")
    arrays = dataset.rows.read(tmp_path / "new.txt").arrays
    assert arrays["mask"].sum() == 15 and dataset.rows.decode(arrays["x"])[:2] == ["not to b", "to be or"]
    (tmp_path / "new.txt").write_text("not")
    with pytest.raises(UserError, match="has 3 characters, fewer than the 8 of a window"):
        dataset.rows.read(tmp_path / "new.txt")


def test_unknown_characters_of_new_strings_are_named(tmp_path, capsys):
    (tmp_path / "dna.txt").write_text("ACGT\nGATTACA\n" * 9)
    dataset = make_dataset("strings", file=str(tmp_path / "dna.txt"), min_count=2)
    dataset.rows.read(["ACGT"])
    assert not capsys.readouterr().err
    dataset.rows.read(["gatt", "AN"])
    assert capsys.readouterr().err.endswith("scored as the unknown token: 'N', 'a', 'g', 't'\n")
