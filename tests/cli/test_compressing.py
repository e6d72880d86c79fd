"""Compressed files from the shell."""

import dataclasses
import os
import pathlib
import types

import numpy as np
import pytest
from refusals import refusal

import arjax
from arjax.api.compressing import coded, content_of, form_of, known_of, read_file, written
from arjax.api.trained_model import Fitted
from arjax.cli.compressing import size_lines
from arjax.cli.main import main
from arjax.coding import CodingOptions, Restored
from arjax.coding.classical import sizes
from arjax.core.spec import EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.text import ended_strings
from arjax.data.text_rows import WindowRows
from arjax.data.vocabulary import Vocabulary
from arjax.models import make_model
from arjax.testing.examples import random_like


@pytest.fixture(scope="module")
def compressed(finished_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("compressed") / "test.arjax"
    assert main(["--mode=compress", f"--workdir={finished_run}", f"--output={path}"]) == 0
    return path


def test_a_split_comes_back_with_its_context(finished_run, compressed, tmp_path, capsys):
    """The context, here labels, is that of the split on both sides."""
    flags = ["--mode=decompress", f"--workdir={finished_run}", f"--input={compressed}"]
    assert main([*flags, f"--output={tmp_path / 'x.npy'}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.npy'}\n"
    run = arjax.open_run(finished_run)
    test = run.dataset.splits["test"]
    assert np.array_equal(np.load(tmp_path / "x.npy"), test.arrays.x)
    bits = -run.log_prob(test.arrays.x, context=test.arrays.context).sum() / np.log(2)
    assert 0 < compressed.stat().st_size - bits / 8 < 520
    assert len(run.compress(test, verify=False)) == pytest.approx(compressed.stat().st_size, abs=64)


def test_a_decompression_that_is_killed_leaves_no_half_of_a_file(finished_run, compressed, tmp_path, monkeypatch):
    """What it has written stands under another name, which a later run removes."""
    output, write_bytes = tmp_path / "x.npy", pathlib.Path.write_bytes
    output.write_text("earlier")
    command = ["--mode=decompress", f"--workdir={finished_run}", f"--input={compressed}", f"--output={output}"]

    def killed(path, content):
        write_bytes(path, content[: len(content) // 2])
        killed.left = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_bytes", killed)
        assert main(command) == 130
    (half,) = killed.left.keys() - {"x.npy"}
    assert killed.left["x.npy"] == output.read_bytes() == b"earlier" and half.endswith(".tmp")
    write_bytes(tmp_path / half, killed.left[half])  # a kill leaves it
    os.utime(tmp_path / half, (0, 0))
    assert main(command) == 0 and [each.name for each in tmp_path.iterdir()] == ["x.npy"]
    assert len(np.load(output)) == 300


def test_files_that_cannot_be_decoded_leave_nothing_behind(finished_run, compressed, tmp_path, sentence_of):
    output = tmp_path / "x.npy"
    flags = ["--mode=decompress", f"--workdir={finished_run}", f"--output={output}"]
    damaged = tmp_path / "damaged.arjax"
    whole = compressed.read_bytes()
    for content in (whole[:-2000], whole[:2000] + bytes([whole[2000] ^ 8]) + whole[2001:]):
        damaged.write_bytes(content)
        assert "damaged" in sentence_of([*flags, f"--input={damaged}"])
    assert "has 128 streams" in sentence_of([*flags, f"--input={compressed}", "--streams=8"])
    assert "another context" in sentence_of([*flags, f"--input={compressed}", "--context=3"])
    assert "No such file" in sentence_of([*flags, f"--input={tmp_path / 'none'}"])
    assert not output.exists() and [path.name for path in tmp_path.iterdir()] == ["damaged.arjax"]


def test_an_array_comes_back_as_it_was(finished_run, tmp_path, capsys, sentence_of):
    x = np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    flags = [f"--workdir={finished_run}", "--context=3"]
    files = [f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'x.arjax'}"]
    assert main(["--mode=compress", *flags, *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'x.npy'}: 320 bytes of values -> {tmp_path / 'x.arjax'}: ")
    assert "PNG" in lines[2] and "gzip" in lines[2] and "where the training data are known" in lines[3]
    assert main(["--mode=decompress", *flags, f"--input={tmp_path / 'x.arjax'}", f"--output={tmp_path / 'y.npy'}"]) == 0
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()
    np.save(tmp_path / "x.npy", np.asfortranarray(x))
    assert "laid out otherwise" in sentence_of(["--mode=compress", *flags, *files])
    files = [f"--input={tmp_path / 'x.txt'}", f"--output={tmp_path / 'y.arjax'}"]
    (tmp_path / "x.txt").write_text("a text")
    assert "is a .npy file of examples" in sentence_of(["--mode=compress", *flags, *files])


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    finished_run, compressed, tmp_path, sentence_of, monkeypatch
):
    for name in ("coded", "restored"):
        monkeypatch.setattr(f"arjax.api.compressing.{name}", None)
    for output, reason in ((tmp_path, "Is a directory"), (tmp_path / "none" / "x", "No such file or directory")):
        for flags in (["--mode=compress"], ["--mode=decompress", f"--input={compressed}"]):
            sentence = sentence_of([*flags, f"--workdir={finished_run}", f"--output={output}"])
            assert sentence == f"arjax: cannot write {output}: {reason}\n"
    assert not list(tmp_path.iterdir())


def test_data_from_python_or_from_a_split_are_written_as_what_they_are():
    """A text as itself, and the rows of a table as a csv file where the path says so."""
    table, x = types.SimpleNamespace(dataset=types.SimpleNamespace(to_cells=list)), np.zeros((2, 3))
    pixels = types.SimpleNamespace(dataset=types.SimpleNamespace(to_cells=None))
    assert form_of(table, Restored(b"text", {}), "x.npy") == "text"
    for about in ({}, {"form": "array", "split": "test"}):
        assert form_of(table, Restored(x, about), "x.csv") == "table"
        assert form_of(table, Restored(x, about), "x.npy") == form_of(pixels, Restored(x, about), "x.csv") == "array"
    assert form_of(table, Restored(x, {"form": "array"}), "x.csv") == "array"  # of x.npy, whose bytes come back
    assert form_of(table, Restored(x, {"form": "table"}), "x") == "table"
    assert form_of(pixels, Restored(x, {"form": "table"}), "x") == "array"  # forged


def test_known_data_leave_no_sizes_below_zero():
    assert min(sizes(b"", b"abc" * 400).values()) == 0
    monkeys = b"3 monkeys saw 10 bananas" * 3
    assert all(sizes(monkeys[:n], monkeys)[name] >= 0 for n in range(0, 30, 7) for name in ("bz2", "xz"))


ROWS = "colour,grade\nred,3\ngreen,5\nred,4\nblue,5\ngreen,4\nred,3\nblue,4\ngreen,5\nblue,3\nred,5\n"


def test_a_table_without_reals_comes_back_as_its_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(ROWS * 1)
    dataset = make_dataset("table", path=str(path), mixed=True)
    model = make_model(dataset.event, "made", hidden_sizes=(4,))
    run = Fitted(model, random_like(model.param_shapes), dataset)
    x, form = read_file(run, path.read_bytes(), str(path))
    data = run.compress(x)
    assert written(run, run.decompress(data), form) == path.read_bytes()
    path.write_text(ROWS.replace(",3", ", 3"))
    assert "laid out otherwise" in refusal(read_file, run, path.read_bytes(), str(path))


def test_strings_are_counted_up_to_their_ends():
    """In bytes, in bits per character and for other compressors; the unit is that of their scores."""
    dataset = ended_strings("names", {"train": ["ab", "bbba", "a"], "validation": ["b"], "test": ["b", "aba"]})
    model = make_model(dataset.event, "made", hidden_sizes=(4,))
    run, test = Fitted(model, random_like(model.param_shapes), dataset), dataset.splits["test"]
    found = coded(run, test, CodingOptions(verify=False))
    lines, size = size_lines(run, test, found, "test", "x"), len(found.data)
    assert lines[0] == f"test: 6 bytes of values -> x: {size} bytes, {8 * size / 6:.4f} bits per character"
    bits = -run.log_prob(["b", "aba"]).sum() / np.log(2)
    assert float(lines[1].rpartition(" ")[2]) == pytest.approx(bits / 6, abs=1e-4)
    assert content_of(run, test)[0] == bytes([1, 2, 0, 1, 0, 2])
    assert known_of(run) == bytes([0, 1, 2, 1, 1, 1, 0, 2, 0, 2])
    other = np.array([[1, 2, 0, 0, 0]])  # something stands behind an end, and is coded
    assert content_of(run, other)[2:] == (5, "dimension") and coded(run, other).num_values == 5


def test_windows_of_a_text_are_an_array_or_a_split_of_tokens():
    """A file of windows, of a run on texts; and a split whose windows have no masks, as those drawn from a run."""
    rows = WindowRows(Vocabulary(("a", "b", "c")), 4, 4)
    x = np.random.default_rng(0).integers(0, 3, (5, 4))
    dataset = from_arrays(EventSpec((4,), kind="tokens", num_levels=3), train=x, validation=x, test=x)
    dataset = dataclasses.replace(dataset, vocabulary=rows.vocabulary, rows=rows)
    model = make_model(dataset.event, "made", hidden_sizes=(4,))
    run = Fitted(model, random_like(model.param_shapes), dataset)
    found = coded(run, x, CodingOptions(verify=False))
    lines = size_lines(run, x, found, "x.npy", "y")
    assert lines[0].startswith("x.npy: 20 bytes of values -> y") and "bits per dimension" in lines[0]
    text = content_of(run, dataset.splits["test"])[0].decode()
    assert text == "".join("abc"[token] for token in x.ravel())


def test_a_path_of_strings_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "names.txt").write_text("ab\nb\n")
    rows = ended_strings("names", {"train": ["ab", "b"], "validation": ["b"], "test": ["b"]}).rows
    assert rows.read("~/names.txt").arrays["x"].shape == (2, 3)
