"""Sets in files: the same examples as the arrays, checked row by row, and never more of them in memory than needed."""

import os
import pathlib
import subprocess
import sys

import jax
import large_run
import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError, say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import array_files, from_arrays, make_dataset
from arjax.data.batches import eval_batches
from arjax.parallel.sharding import make_mesh
from arjax.training import feed
from arjax.training.feed import GatherSource, ResidentFeed, compact_form


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return str(path)


def folder(path, **arrays):
    for name, array in arrays.items():
        save(path / f"{name}.npy", array)
    return str(path)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "x": rng.integers(0, 5, (40, 3, 2)).astype(np.uint8),
        "context": rng.normal(size=(40, 4)),
        "mask": rng.integers(0, 2, (40, 3)).astype(bool),
        "weight": rng.integers(0, 2, 40),
    }


def test_they_are_the_arrays_that_they_hold(arrays, tmp_path):
    files = make_dataset(
        "array_files",
        train=folder(tmp_path / "mine", **arrays),
        test=folder(tmp_path / "test", **{name: array[:7] for name, array in arrays.items()}),
        **{"kind": "levels", "num_levels": 5, "value_dims": 1, "context": "vector"},
    )
    event, context = EventSpec((3,), (2,), "levels", 5), ContextSpec("vector", 4)
    given = from_arrays(event, train=arrays, context=context)
    assert (files.name, files.event, files.context) == ("array_files/mine", event, context)
    assert list(files.splits) == ["train", "test"]
    left, right = files.splits["train"], given.splits["train"]
    assert isinstance(left, GatherSource) and left.arrays.x.dtype == np.uint8
    for rows in (np.arange(40), np.array([3, 3, 39, 0]), np.zeros(0, int)):
        a, b = left.__getitems__(rows), right.__getitems__(rows)
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(compact_form(left)[1](left.arrays, np.arange(3)).x, arrays["x"][:3])
    assert sum(len(batch) for batch in eval_batches(files.splits["test"], 4)) == 8


@pytest.mark.parametrize(
    ("context", "array", "spec"),
    [
        ("label", np.arange(6), ContextSpec("label", 6)),
        ("sequence", np.array([[1, -1], [0, 2]] * 3), ContextSpec("sequence", 6, 2)),
        ("frames", np.ones((6, 3, 2), np.float16), ContextSpec("frames", 2, 3)),
        ("vector", np.ones((6, 3), np.int8), ContextSpec("vector", 3)),
        ("image", np.ones((6, 4), np.uint8), ContextSpec(image=EventSpec((4,), (), "levels", 6), local=("image",))),
    ],
)
def test_contexts(context, array, spec, tmp_path, capsys):
    say_once.cache_clear()
    split = folder(tmp_path / "train", x=np.zeros((6, 2)), context=array)
    classes = {"num_classes": 6} if context in ("label", "sequence", "image") else {}
    classes |= {"local": True} if spec.local else {}
    dataset = make_dataset("array_files", train=split, kind="real", context=context, **classes)
    (part,) = dataset.splits["train"].__getitems__(np.arange(6)).context.values()
    assert dataset.context == spec and part.dtype == dict(spec.parts)[context].dtype
    np.testing.assert_array_equal(part, array)
    assert not capsys.readouterr().err
    assert not make_dataset("array_files", train=split, kind="real").context
    assert "context.npy is not read, as the option context of the data set is none" in capsys.readouterr().err
    unused = context in ("vector", "frames")
    make_dataset("array_files", train=split, kind="real", context=context, num_classes=6, local=bool(spec.local))
    said = "num_classes=6 has no effect: it is of a context of the kind label, sequence or image"
    assert (said in capsys.readouterr().err) == unused


def test_rows_are_checked_when_they_are_read_and_all_of_them_for_a_device(tmp_path, monkeypatch):
    x = np.zeros((1000, 4), np.uint8)
    x[700, 2] = 9
    dataset = make_dataset("array_files", train=save(tmp_path / "x.npy", x), num_levels=9)
    monkeypatch.setattr(array_files, "MOST_MAPPED", 2**23)  # about 100 rows at once
    source = dataset.splits["train"]
    wanted = r"row 700 of '.*x\.npy': the train examples of tokens data must be 0 to 8, not 0 to 9"
    assert source.__getitems__(np.arange(700)).x.max() == 0
    for read in (lambda: source.__getitems__(np.array([3, 700])), source.check_all, lambda: compact_form(source)):
        with pytest.raises(UserError, match=wanted):
            read()


def test_a_few_rows_do_not_tell_that_float32_would_merge_values(tmp_path):
    x = np.random.default_rng(0).normal(1000, 1, (1000, 2))
    x[3] = x[700] + 1e-6
    source = make_dataset("array_files", train=save(tmp_path / "x.npy", x), kind="real").splits["train"]
    source.check_all()
    assert len(source.__getitems__(np.array([3, 9, 700]))) == 3
    for num in (5, 1000):  # however few rows are read at once
        seconds = save(tmp_path / f"{num}.npy", 1.7e9 + np.arange(2.0 * num).reshape(num, 2))
        assert "are one number in float32" in refusal(make_dataset, "array_files", train=seconds, kind="real")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "needs train examples: give config.dataset.train=x.npy"),
        ({"train": "none.npy"}, "cannot read the array 'none.npy': No such file"),
        ({"train": "text.npy"}, "cannot read the array 'text.npy'"),
        ({"train": "cut.npy"}, "cannot read the array 'cut.npy'"),
        ({"train": "empty.npy"}, "cannot read the array 'empty.npy'"),
        ({"train": "number.npy"}, "holds a single number"),
        *[({"train": f"header_{k}.npy"}, f"cannot read the array 'header_{k}.npy'") for k in range(3)],
        ({"train": "objects.npy"}, "cannot read the array 'objects.npy'"),
        ({"train": "many.npz"}, "holds several arrays"),
        ({"train": "x.npy", "test": "wide.npy"}, r"the test examples must have shape \(N, 4\), not \(5, 6\)"),
        ({"train": "real.npy"}, "must be integers, not float64"),
        ({"train": "swapped.npy", "kind": "real"}, "has the byte order of other machines"),
        ({"train": "x.npy", "value_dims": 1}, "value_dims of 'x.npy' must be 0 to 0, not 1"),
        ({"train": "x.npy", "context": "label"}, "is a folder with x.npy and context.npy"),
        ({"train": "x.npy", "context": "labels"}, "did you mean 'label'"),
        ({"train": "plain", "context": "label", "num_classes": 3}, "cannot read the array 'plain/context.npy'"),
        ({"train": "labels", "context": "label"}, "needs config.dataset.num_classes"),
        ({"train": "labels", "context": "label", "num_classes": 5, "local": True}, "local=True needs a context"),
        ({"train": "labels", "context": "image"}, r"an image context must have the shape \[N, \*grid\], not \(5,\)"),
        ({"train": "labels", "context": "vector"}, r"must have 2 dimensions, not the shape \(5,\)"),
        ({"train": "misspelled"}, "nothing reads 'misspelled/masks.npy', did you mean 'mask'"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.zeros((5, 4), np.uint8)
    for name, array in {"x": x, "wide": x[:, [0] * 6], "real": x * 1.0}.items():
        np.save(f"{name}.npy", array)
    np.save("swapped.npy", np.ones((5, 4), ">f8"))
    np.save("objects.npy", np.array([None, 1]), allow_pickle=True)
    np.save("number.npy", np.uint8(3))
    header = pathlib.Path("x.npy").read_bytes()
    forged = [(b"}", b"("), (b"'descr'", b"b'escr'"), (b"(5, 4), }" + b" " * 40, b"(%d, 4), }" % 10**40)]
    for k, (old, new) in enumerate(forged):
        assert old in header
        pathlib.Path(f"header_{k}.npy").write_bytes(header.replace(old, new))
    np.savez("many.npz", a=x, b=x)
    pathlib.Path("text.npy").write_text("1, 2, 3")
    pathlib.Path("empty.npy").write_bytes(b"")
    pathlib.Path("cut.npy").write_bytes(pathlib.Path("x.npy").read_bytes()[:-1])
    folder(tmp_path / "plain", x=x)
    folder(tmp_path / "labels", x=x, context=np.zeros(5, int))
    folder(tmp_path / "misspelled", x=x, masks=x)
    with pytest.raises(UserError, match=sentence):
        make_dataset("array_files", **options)


def test_the_system_is_told_how_rows_are_read(tmp_path, monkeypatch):
    """Files at random, rows that follow one another ahead; and what was read goes out of memory above a limit."""
    said = []
    monkeypatch.setattr(array_files, "_advise", lambda array, *advice: said.append(advice))
    source = make_dataset("array_files", train=save(tmp_path / "x.npy", np.zeros((50, 4096), np.uint8))).splits["train"]
    assert said == [("MADV_RANDOM",)]
    for rows, begin, length in (([3, 4, 5], 12288, 4 * 4096 - 3968), ([7], None, 0), ([2, 4, 6], None, 0)):
        said.clear()
        source.__getitems__(np.array(rows))
        assert said == ([("MADV_WILLNEED", begin, length)] if begin else []), said
    monkeypatch.setattr(array_files, "MOST_MAPPED", 9 * (4096 + 2**16))  # nine rows
    for reads, dropped in ((np.arange(0, 4, 2), False), (np.arange(0, 16, 2), True), (np.arange(0, 4, 2), True)):
        said.clear()
        source.__getitems__(reads)
        assert (("MADV_DONTNEED",) in said) == dropped


def test_a_file_that_shrinks_is_told_of(tmp_path):
    path = tmp_path / "x.npy"
    source = make_dataset("array_files", train=save(path, np.zeros((5000, 4), np.uint8))).splits["train"]
    os.truncate(path, 300)
    assert "was made shorter while it was read" in refusal(source.__getitems__, np.array([4000]))


@pytest.fixture
def twenty_gb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large_run.sparse(tmp_path / "train.npy", 20_000_000)
    large_run.sparse(tmp_path / "validation.npy", 24)
    large_run.sparse(tmp_path / "test.npy", 16)
    assert (tmp_path / "train.npy").stat().st_size > 20e9
    return tmp_path / "train.npy"


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="the system does not say which pages are mapped")
def test_twenty_gigabytes_are_read_without_keeping_them(twenty_gb, monkeypatch):
    def mapped():
        lines = iter(pathlib.Path("/proc/self/smaps").read_text().splitlines())
        resident = (next(x for x in lines if x[:4] == "Rss:") for line in lines if str(twenty_gb) in line)
        return sum(int(line.split()[1]) for line in resident)

    monkeypatch.setattr(array_files, "MOST_MAPPED", 2**22)
    dataset = make_dataset("array_files", train=str(twenty_gb), num_levels=256)
    source = dataset.splits["train"]
    assert len(source) == 20_000_000 and mapped() < 1024
    with feed.HostFeed(source, make_mesh(), 0, 64, 4) as host:
        for step in range(0, 40, 4):
            assert host.chunk(step, 4).stacked.x.shape == (4, 64, 1024)
    assert 0 < mapped() < 2**22 / 1024, "2,560 rows stand on 10 MB of pages, and 160 MB with those around"
    assert dataset.some_examples("train", most=2500).shape == (2500, 1024)
    assert 0 < mapped() < 2**22 / 1024, "what is read at once is read in pieces"
    monkeypatch.setattr("arjax.data.base.MOST_VALUES", 2**15)
    assert dataset.some_examples("train").shape == (32, 1024), "long examples are fewer"
    with pytest.raises(UserError, match=r"takes 20\.5 GB on a device, where .* train\.data_on_device=false"):
        monkeypatch.setattr(feed, "free_bytes", lambda: 10**10)
        ResidentFeed(source, make_mesh(), seed=0, batch_size=8, max_steps=1)


def run(*arguments):
    path = os.pathsep.join([str(pathlib.Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, large_run.__file__, *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.rpartition("peak: ")[2]) / 1e9


@pytest.mark.slow
def test_a_run_on_twenty_gigabytes_stays_below_two(twenty_gb):
    pathlib.Path("large.py").write_text(large_run.CONFIG)
    assert run("--mode=plan") < 2
    assert run() < 2
    assert pathlib.Path("run/results.json").exists() and pathlib.Path("run/samples/samples.npy").exists()
