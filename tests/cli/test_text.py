"""Texts on the command line: a run on a file, prompts, suggestions, contexts, and a file that changes."""

import io
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from refusals import refusal

from arjax.api.run import open_run
from arjax.cli.main import main
from arjax.config.files import load_config_file, load_workdir_config
from arjax.reporting.writers import read_metrics


@pytest.fixture(scope="module")
def book(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    shutil.copy(repository / "configs" / "hamlet.txt", folder / "book.txt")
    config = f"--config={repository / 'configs' / 'text.py'}:file={folder / 'book.txt'},smoke,network=gru,length=12"
    assert main([config, f"--workdir={folder / 'run'}"]) == 0
    return config, folder


def test_a_run_reports_characters_and_begins_samples_with_a_prompt(book, capsys):
    _, folder = book
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["dataset"] == "text/book" and results["bits_per_char"] == pytest.approx(results["bits_per_dim"])
    flags = ["--mode=sample", f"--workdir={folder / 'run'}", "--config.sample.num=3"]
    assert main([*flags, "--prompt=To be,"]) == 0
    drawn = (folder / "run" / "samples-1" / "samples.txt").read_text().split("--- sample ")[1:]
    assert len(drawn) == 3 and all("---\nTo be," in text for text in drawn)
    options = json.loads((folder / "run" / "samples-1" / "options.json").read_text())
    assert options["prompt"] == "To be," and "context" not in options
    assert len(np.unique(np.load(folder / "run" / "samples-1" / "samples.npy"), axis=0)) > 1


@pytest.mark.slow
def test_a_text_of_any_length_is_printed_as_it_is_drawn(book, capsys):
    """The first sample; `run.stream` gives it, too, and its prompt may be longer than the windows of the training."""
    _, folder = book
    prompt, flags = "To be, or not to be, ", ["--mode=sample", f"--workdir={folder / 'run'}"]
    capsys.readouterr()
    assert main([*flags, f"--prompt={prompt}", "--config.sample.num=2", "--config.sample.length=70"]) == 0
    out = capsys.readouterr().out
    written = pathlib.Path(out.splitlines()[-1]).parent
    text = (written / "samples.txt").read_text().split("--- sample ")[1].partition("---\n")[2][:70]
    assert text.startswith(prompt) and out.startswith(text + "\n")
    assert np.load(written / "samples.npy").shape == (2, 70)
    options = json.loads((written / "options.json").read_text())
    assert (options["length"], options["prompt"]) == (70, prompt)
    pieces = list(open_run(folder / "run").stream(70, prompt=prompt, temperature=options["temperature"]))
    assert len(pieces) > 1 and "".join(pieces) == text


def test_a_reader_that_has_seen_enough_ends_the_text(book, monkeypatch):
    """As in `arjax --mode=sample ... | head`: quietly, and no folder is left."""

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    _, folder = book
    before = sorted(folder.glob("run/samples-*"))
    monkeypatch.setattr(sys, "stdout", Closed())
    assert main(["--mode=sample", f"--workdir={folder / 'run'}", "--config.sample.length=70"]) == 141
    assert sorted(folder.glob("run/samples-*")) == before


def test_suggestions_are_tables(book, capsys):
    _, folder = book
    flags = ["--mode=suggest", f"--workdir={folder / 'run'}", "--config.suggest.num=3", "--config.suggest.length=2"]
    capsys.readouterr()
    assert main([*flags, "--prompt=To be, or not"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "windows of this model have 12 characters: the last 10 of the prompt are read, the first 3 are not"
    )
    assert lines[1] == "next characters after 'be, or not'"
    numbers = [float(line.split()[-1]) for line in lines if line.split() and line.split()[-1].startswith("0.")]
    assert len(numbers) == 6 and numbers[:3] == sorted(numbers[:3], reverse=True)


def test_mistakes_end_in_one_sentence(book, finished_run, sentence_of):
    _, folder = book
    text, digits = f"--workdir={folder / 'run'}", f"--workdir={finished_run}"
    for flags, sentence in (
        ((text, "--prompt=To be, or not"), "a prompt has 1 to 11 characters, as examples of 'text/book' have 12"),
        ((text, "--prompt=\u00e9"), "the prompt has the character '\u00e9', for which 'text/book' has no token"),
        ((text, "--context=3"), "this model has no context"),
        ((digits, "--config.sample.length=9"), "a draw has a length where examples are sequences"),
        ((text, "--config.sample.length=5", "--prompt=To be"), "5 characters leaves nothing to draw of a text of 5"),
        ((text, "--config.sample.length=-1"), "config.sample.length must be at least 0"),
        ((digits, "--prompt=3"), "examples of 'digits' are no text"),
        ((digits, "--context=10"), "the part 'label' of the context is a class from 0 to 9, not '10'"),
    ):
        assert sentence in sentence_of(["--mode=sample", *flags])
    assert "examples of 'digits' are no text" in sentence_of(["--mode=suggest", digits, "--prompt=3"])


def test_a_file_may_move_but_not_change(book, tmp_path, sentence_of):
    config, folder = book
    workdir, moved = shutil.copytree(folder / "run", tmp_path / "run"), tmp_path / "book.txt"
    shutil.copy(folder / "book.txt", moved)
    flags = ["--mode=suggest", f"--workdir={workdir}", f"--config.dataset.file={moved}", "--config.suggest.length=1"]
    assert main(flags) == 0
    metrics = len(read_metrics(workdir))
    moved.write_text(moved.read_text() + "\nSoft you now!")
    changed = "the data have changed since the run"
    assert changed in sentence_of(flags)
    longer = [config, f"--workdir={workdir}", "--config.train.steps=9", f"--config.dataset.file={moved}"]
    assert changed in sentence_of(longer)
    assert (workdir / "checkpoints" / "latest" / "6").exists() and len(read_metrics(workdir)) == metrics
    assert load_workdir_config(workdir).dataset.file == str(folder / "book.txt")  # and the run opens as before
    (workdir / "record.json").unlink()  # a run that does not know its file keeps to the path
    assert "dataset.file was" in sentence_of(["--mode=suggest", f"--workdir={workdir}", "--config.dataset.file=other"])


def test_the_config_takes_texts_and_strings(repository):
    path = repository / "configs" / "text.py"
    default = load_config_file(str(path)).dataset
    assert (default.name, default.min_count) == ("text", 2) and default.file.endswith("hamlet.txt")
    names = load_config_file(f"{path}:names.txt,strings,tokens=bytes").dataset
    assert (names.name, names.file, names.tokens, names.min_count) == ("strings", "names.txt", "bytes", 0)


@pytest.mark.slow
def test_a_file_of_any_bytes_is_compressed_and_comes_back(book, tmp_path, capsys):
    _, folder = book
    letter, flags = tmp_path / "letter.txt", [f"--workdir={folder / 'run'}"]
    content = "To be, or not to be;\r\nnaïve?\n".encode() + b"\xff\n" + b"that is the question\n" * 60
    letter.write_bytes(content)
    names = [f"--input={letter}", f"--output={tmp_path / 'letter.arjax'}"]
    capsys.readouterr()
    assert main(["--mode=compress", *flags, *names, "--streams=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{letter}: {len(content):,} bytes -> {tmp_path / 'letter.arjax'}: ")
    assert "by the tables of this pass" in lines[1] and lines[2].startswith("  streams: 3 side by side")
    assert lines[3].startswith("  characters without a token: ") and lines[4].startswith("  gzip ")
    assert "where the training data are known" in lines[5] and lines[6].startswith("  parameters of the model: ")
    back = tmp_path / "back.txt"
    assert main(["--mode=decompress", *flags, f"--input={tmp_path / 'letter.arjax'}", f"--output={back}"]) == 0
    assert back.read_bytes() == content
    # a split of windows is the text that they were cut from
    capsys.readouterr()
    assert main(["--mode=compress", *flags, f"--output={tmp_path / 'test.arjax'}", "--noverify"]) == 0
    assert "bits per char in results.json" in capsys.readouterr().out
    run = open_run(folder / "run")
    text = run.decompress((tmp_path / "test.arjax").read_bytes())
    assert text == (folder / "book.txt").read_bytes()[-len(text) :]
    assert "an array, a split of the data set, or bytes" in refusal(run.compress, "letter.txt")
