"""Sets that are prepared from raw files, on small generated ones: the rows are read back, split by split."""

import functools
import gzip
import wave

import numpy as np
import pytest
from scipy.io import savemat

from arjax.core.errors import UserError, say_once
from arjax.data import make_dataset
from arjax.data.prepare import prepare
from arjax.data.sound import mu_law_encode
from arjax.data.sources import read_all
from arjax.data.text import shakespeare

SPLITS = ("train", "validation", "test")


def sorted_rows(x):
    return x[np.lexsort(x.T)]


def bits(rng, *shape):
    return rng.integers(0, 2, shape, dtype=np.uint8)


def write_uci(folder, rng, name="dna", dims=180):
    arrays = {"train_data": bits(rng, 9, dims), "valid_data": bits(rng, 4, dims), "test_data": bits(rng, 5, dims)}
    np.savez(folder / f"{name}.npz", **arrays)
    return dict(zip(SPLITS, arrays.values(), strict=True))


def write_music(folder, rng, file="JSB_Chorales.mat", notes=88, sizes=((5, 9, 2), (4, 1), (12, 3))):
    arrays = {}
    for key, lengths in zip(("traindata", "validdata", "testdata"), sizes, strict=True):
        arrays[key] = np.empty((1, len(lengths)), object)
        for n, length in enumerate(lengths):
            arrays[key][0, n] = bits(rng, length, notes)
    savemat(folder / file, arrays)
    return {split: list(a[0]) for split, a in zip(SPLITS, arrays.values(), strict=True)}


def write_wav(path, audio, rate=8000):
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio.astype("<i2").tobytes())


def write_speech(folder, rng):
    clips = {}
    for index in (0, 4, 5, 9, 10, 49):
        for digit in (3, 8):
            clips[digit, index] = rng.integers(-32768, 32767, rng.integers(5, 30)).astype(np.int16)
            write_wav(folder / "recordings" / f"{digit}_ann_{index}.wav", clips[digit, index])
    return clips


def test_uci_binary(tmp_path):
    arrays = write_uci(tmp_path, np.random.default_rng(0))
    (file,) = prepare("uci_binary/dna", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    assert file == tmp_path / "out" / "uci_binary" / "dna.npz"
    dataset = make_dataset("uci_binary", set="dna", data_dir=str(tmp_path / "out"))
    assert dataset.event.shape == (180,) and dataset.event.kind == "binary"
    for split in SPLITS:
        x = read_all(dataset.splits[split]).x
        np.testing.assert_array_equal(sorted_rows(x), sorted_rows(arrays[split]))


@pytest.mark.parametrize("max_length", [0, 4])
def test_poly_music(tmp_path, max_length):
    rolls = write_music(tmp_path, np.random.default_rng(0))
    prepare("poly_music/jsb", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    dataset = make_dataset("poly_music", set="jsb", max_length=max_length, data_dir=str(tmp_path / "out"))
    assert dataset.event.grid_shape == (max_length or 12,) and dataset.event.value_shape == (88,)
    for split in SPLITS:
        batch = read_all(dataset.splits[split])
        frames = batch.x[batch.mask > 0]
        np.testing.assert_array_equal(sorted_rows(frames), sorted_rows(np.concatenate(rolls[split])))
        if not max_length:
            assert (batch.mask[:, 0] == 1).all()  # the first frame is scored
            assert len(batch.x) == len(rolls[split])


@pytest.mark.parametrize("length", [0, 8])
def test_spoken_digits(tmp_path, length, capsys):
    clips = write_speech(tmp_path, np.random.default_rng(0))
    prepare("spoken_digits", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    dataset = make_dataset("spoken_digits", length=length, context="label", data_dir=str(tmp_path / "out"))
    assert dataset.event.grid_shape == (length or max(map(len, clips.values())),)
    assert dict(dataset.context.parts)["label"].num_levels == 10
    indices = {"test": (0, 4), "validation": (5, 9), "train": (10, 49)}
    for split, wanted in indices.items():
        batch = read_all(dataset.splits[split])
        for digit in (3, 8):
            rows = batch.context["label"] == digit
            scored = batch.x[rows][batch.mask[rows] > 0]
            audio = np.concatenate([clips[digit, index] for index in wanted])
            np.testing.assert_array_equal(np.sort(scored), np.sort(mu_law_encode(audio)))
    if not length:
        say_once.cache_clear()
        cut = make_dataset("spoken_digits", length=99, data_dir=str(tmp_path / "out"))
        assert cut.event == dataset.event and not cut.context
        said = f"no recording is longer than {cut.event.num_sites} samples: the data set option length=99 is cut to it"
        assert capsys.readouterr().err == f"arjax: {said}\n"
        return
    whole = make_dataset("spoken_digits", length=length, whole=True, context="label", data_dir=str(tmp_path / "out"))
    for split, wanted in indices.items():
        batch = read_all(whole.splits[split])
        assert batch.mask is None
        for digit in (3, 8):
            levels = [mu_law_encode(clips[digit, index]) for index in wanted]
            windows = [part[i : i + length] for part in levels for i in range(0, len(part) - length + 1, length)]
            found = batch.x[batch.context["label"] == digit]
            assert sorted(map(tuple, found.tolist())) == sorted(tuple(map(int, window)) for window in windows)


def test_tiny_shakespeare(tmp_path):
    text = "".join(np.random.default_rng(0).choice(list("abcde \u00e9\n"), 215))
    (tmp_path / "input.txt").write_text(text, encoding="utf-8")
    prepare("tiny_shakespeare", str(tmp_path), str(tmp_path / "out"))
    assert shakespeare(str(tmp_path / "out")) == {"train": text[:193], "validation": text[193:204], "test": text[204:]}
    (tmp_path / "input.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"input\.txt is not a text in UTF-8"):
        prepare("tiny_shakespeare", str(tmp_path), str(tmp_path / "other"))


@pytest.mark.parametrize("public", [True, False])
def test_wine_quality(tmp_path, public):
    table = np.random.default_rng(0).normal(5, np.arange(1, 13), (50, 12)).astype(np.float32)
    delimiter = ";" if public else "\t"
    text = delimiter.join(f'"column {n}"' for n in range(12)) + "\n"
    text += "".join(delimiter.join(map(repr, row)) + "\n" for row in table.tolist())
    if public:
        (tmp_path / "winequality-red.csv").write_text(text)
    else:
        (tmp_path / "wine_quality_red.tsv.gz").write_bytes(gzip.compress(text.encode()))
    prepare("wine_quality", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    dataset = make_dataset("wine_quality", data_dir=str(tmp_path / "out"))
    z = {split: read_all(source).x for split, source in dataset.splits.items()}
    assert {split: len(rows) for split, rows in z.items()} == {"train": 40, "validation": 5, "test": 5}
    np.testing.assert_allclose(z["train"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z["train"].std(0), 1, rtol=1e-5)
    # back in data units up to the mean, the rows are those of the file
    x = np.concatenate(list(z.values())) * dataset.scale
    x += (table.mean(0) - x.mean(0)).astype(np.float32)
    np.testing.assert_allclose(x[np.argsort(x[:, 0])], table[np.argsort(table[:, 0])], atol=1e-3)


def test_preparing_again_changes_nothing(tmp_path):
    write_uci(tmp_path, np.random.default_rng(0))
    first = prepare("uci_binary/dna", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    before = make_dataset("uci_binary", data_dir=str(tmp_path / "out")).splits["test"].arrays.x
    (tmp_path / "dna.npz").unlink()
    assert prepare("uci_binary/dna", str(tmp_path), str(tmp_path / "out"), check_sizes=False) == first
    after = make_dataset("uci_binary", data_dir=str(tmp_path / "out")).splits["test"].arrays.x
    np.testing.assert_array_equal(after, before)


def test_sizes_other_than_the_published_are_refused_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))  # whatever is prepared on this machine
    monkeypatch.setenv("HOME", str(tmp_path))
    write_uci(tmp_path, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"not the published file.*\(9, 4, 5\) rows instead of \(1400, 600, 1186\)"):
        prepare("uci_binary/dna", str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"python scripts/prepare_data\.py uci_binary/dna"):
        make_dataset("uci_binary", data_dir=str(tmp_path / "out"))


def test_rows_stand_in_the_order_of_tensorflow_datasets(tmp_path):
    """As its `Hasher` sorts the keys of a split: the batches of published runs depend on it."""
    hashing = pytest.importorskip("tensorflow_datasets.core.hashing")
    rows = write_uci(tmp_path, np.random.default_rng(0))["train"]
    prepare("uci_binary/dna", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    order = sorted(range(9), key=hashing.Hasher("train").hash_key)
    assert order != sorted(order)
    dataset = make_dataset("uci_binary", data_dir=str(tmp_path / "out"))
    np.testing.assert_array_equal(read_all(dataset.splits["train"]).x, rows[order])


def test_a_damaged_file_is_told(tmp_path):
    write_music(tmp_path, np.random.default_rng(0))
    (file,) = prepare("poly_music/jsb", str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    with np.load(file) as arrays:
        intact = dict(arrays)
    damaged = [file.read_bytes()[:1000], bytes(1000)]
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged.*run: python scripts/prepare_data\.py poly_music/jsb"):
            make_dataset("poly_music", data_dir=str(tmp_path / "out"))
    changes = [
        ({"train/x:lengths": np.array([3])}, "other lengths"),
        ({"train/x:lengths": np.array([0.5])}, "other lengths"),
        ({"test/x": None}, "has no test split"),
        ({"test/x": None, "test/y": np.zeros(3)}, "has no feature .x."),
    ]
    for change, sentence in changes:
        np.savez(file, **{name: array for name, array in (intact | change).items() if array is not None})
        with pytest.raises(UserError, match=sentence):
            make_dataset("poly_music", data_dir=str(tmp_path / "out"))


def damaged_music(folder, rng):
    write_music(folder, rng)
    path = folder / "JSB_Chorales.mat"
    path.write_bytes(path.read_bytes()[:1000])


def speech_with(name, content):
    """A function that writes one more recording: bytes, or samples at a rate."""

    def write(folder, rng):
        write_speech(folder, rng)
        path = folder / "recordings" / name
        path.write_bytes(content) if isinstance(content, bytes) else write_wav(path, np.zeros(5), rate=content)

    return write


def file(name, content):
    """A function that writes a file."""
    return lambda folder, rng: (folder / name).write_bytes(content)


def uci_without_keys(folder, rng):
    np.savez(folder / "dna.npz", train_data=bits(rng, 3, 180))


def speech_without_test(folder, rng):
    write_wav(folder / "recordings" / "1_ann_20.wav", np.zeros(5))


WINES = "winequality-red.csv"


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("uci_binary/dna", file("dna.npz", b"no zip"), r"dna\.npz is not an \.npz file"),
        ("uci_binary/dna", uci_without_keys, "has no array 'valid_data'"),
        ("uci_binary/dna", functools.partial(write_uci, dims=181), "rows of 180 values 0 or 1"),
        ("poly_music/jsb", file("JSB_Chorales.mat", b"no mat"), r"JSB_Chorales\.mat is not a MATLAB file"),
        ("poly_music/jsb", damaged_music, r"JSB_Chorales\.mat is not a MATLAB file"),
        ("poly_music/jsb", functools.partial(write_music, notes=87), "rolls of 88 keys"),
        ("spoken_digits", speech_with("1_ann_20.wav", b"no wav"), r"1_ann_20\.wav is not a wav file"),
        ("spoken_digits", speech_with("1_ann_20.wav", 16000), "8000 Hz"),
        ("spoken_digits", speech_with("one.wav", 8000), "must be named digit_speaker_index"),
        ("spoken_digits", speech_without_test, "no recording of the validation split"),
        ("wine_quality", file(WINES, b"a;b\nc;d\n"), "not a table of numbers"),
        ("wine_quality", file(WINES, b""), "not a table of numbers"),
        ("wine_quality", file("wine_quality_red.tsv.gz", b"no gzip"), "not a table of numbers"),
        ("wine_quality", file(WINES, b"a;b\n" + b"1;2\n" * 20), "12 columns"),
    ],
)
def test_wrong_raw_files_are_told_in_one_sentence(tmp_path, name, write, sentence):
    write(tmp_path, np.random.default_rng(0))
    with pytest.raises(UserError, match=sentence):
        prepare(name, str(tmp_path), str(tmp_path / "out"), check_sizes=False)
    assert not list((tmp_path / "out").rglob("*.npz"))  # nothing that a run could take for the set
