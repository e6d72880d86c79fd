"""Config files of a run that hold other types, that cannot be parsed, or lie where no file can be."""

import json

import jax
import pytest

from arjax.cli.command_line import tell_mistakes

# Fields of a config.json and what somebody has made of them; a piece of the sentence.
EDITED = [
    ({"seed": None}, "config.seed must be an integer, not None"),
    ({"seed": 10**30}, "config.seed must be at most"),
    ({"seed": {}}, "seed"),
    ({"train.steps": "12"}, "config.train.steps must be an integer, not '12'"),
    ({"train.epochs": float("nan")}, "config.train.epochs must be a finite number"),
    ({"train.data_on_device": 1}, "config.train.data_on_device must be true or false, not 1"),
    ({"model.ordering": ["raster"]}, "config.model.ordering must be a text, not ('raster',)"),
    ({"network.hidden_sizes": [8, None]}, "config.network.hidden_sizes must be a tuple"),
    ({"network.name": 3}, "config.network.name must be a text, not 3"),
    ({"dataset.name": None}, "config.dataset.name must be a text, not None"),
    ({"__class__": 1}, "it is not the JSON of a config"),
]


@pytest.mark.parametrize(("changes", "piece"), EDITED, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_a_config_json_with_other_types(changes, piece, config_file, finished_run, tmp_path, sentence_of):
    config = json.loads((finished_run / "config.json").read_text())
    for name, value in changes.items():
        section, _, field = name.rpartition(".")
        (config[section] if section else config)[field] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert piece in sentence_of(["--mode=evaluate", f"--workdir={tmp_path}"])
    assert sentence_of([f"--config={config_file}:smoke,context=label", f"--workdir={tmp_path}"])


DEEP = ["[" * 100_000, '{"a":' * 100_000, "[" * 200 + "]" * 200, '{"seed": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("text", DEEP, ids=lambda text: text[:5])
def test_a_config_json_that_cannot_be_parsed(text, tmp_path, sentence_of):
    (tmp_path / "config.json").write_text(text)
    assert "is damaged" in sentence_of(["--mode=sample", f"--workdir={tmp_path}"])


@pytest.mark.parametrize("path", ["~no_such_user/x", "a\0b", "x" * 300, "x/" * 3000])
def test_what_no_path_can_be(path, config_file, tmp_path, sentence_of):
    for arguments in (
        [f"--config={path}", f"--workdir={tmp_path / 'run'}"],
        [f"--config={config_file}:smoke", f"--workdir={path}"],
        ["--mode=sample", f"--workdir={path}"],
        ["--config=wine_quality:smoke", f"--workdir={tmp_path / 'run'}", f"--config.dataset.data_dir={path}"],
        [f"--config=wine_quality:smoke,table={path}/t.csv", f"--workdir={tmp_path / 'run'}"],
    ):
        sentence = sentence_of(arguments)
        assert "is no path" in sentence or "cannot use the path" in sentence
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_user_without_a_home(tmp_path, sentence_of, monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", lambda path: no_home(path) if str(path)[0] == "~" else path)
    command = ["--config=wine_quality:smoke", f"--workdir={tmp_path / 'run'}"]
    assert "this user has no home folder" in sentence_of(command)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert f"is not in {tmp_path}; get it with" in sentence_of(command)


def test_too_little_memory_is_told(sentence_of):
    """That of the machine, and that of devices in a draw; other errors of devices are no mistakes of the user."""
    of_device = jax.errors.JaxRuntimeError("INTERNAL: Error dispatching:\nOut of memory allocating 20 bytes.")
    for error in (MemoryError("Unable to allocate 90.9 TiB"), of_device):

        def main(error=error) -> int:
            raise error

        sentence = sentence_of(lambda main=main: tell_mistakes("arjax", main))
        assert "too little memory: " in sentence and ("90.9 TiB" in sentence or "allocating 20 bytes." in sentence)

    def broken() -> int:
        raise jax.errors.JaxRuntimeError("INTERNAL: a device is lost")

    with pytest.raises(jax.errors.JaxRuntimeError, match="a device is lost"):
        tell_mistakes("arjax", broken)
