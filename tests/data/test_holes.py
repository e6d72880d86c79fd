"""Data with missing values: NaN in the examples, masks of batches that are 0 there, and tables with empty cells."""

import json

import jax
import numpy as np
import pytest

from arjax.core.arrays import filled, is_present
from arjax.core.errors import UserError, say_once
from arjax.core.spec import EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.columns import Words, column_as_json, column_from_json
from arjax.data.sources import read_all
from arjax.data.vectors import with_noise

REAL = EventSpec((3,), kind="real")
VECTORS = EventSpec((2,), (2,), "real")
NAN = np.nan
X = np.array([[1.0, 2.0, NAN], [NAN, 4.0, 0.5], [5.0, 6.0, 7.0], [NAN, NAN, NAN]], np.float32)
PRESENT = ~np.isnan(X)


def test_a_value_is_missing_where_any_of_its_scalars_is():
    x = np.array([[[1, NAN], [3, 4]], [[NAN, NAN], [NAN, 8]]], np.float32)
    values, present = filled(x, 1)
    np.testing.assert_array_equal(present, [[False, True], [False, False]])
    np.testing.assert_array_equal(values, [[[0, 0], [3, 4]], [[0, 0], [0, 0]]])
    inside = jax.jit(lambda x: filled(x, 1))(x)
    jax.tree.map(np.testing.assert_array_equal, inside, (values, present))
    assert is_present(np.zeros((2, 3), np.int32), 0).all() and is_present(np.zeros((2, 3), bool), 1).shape == (2,)


def test_masks_of_batches_are_0_where_values_are_missing():
    mask = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]])
    data = from_arrays(REAL, train={"x": X, "mask": mask}, validation=X, test=X[2:3])
    train, validation, test = (data.splits[split] for split in ("train", "validation", "test"))
    assert data.has_holes and train.has_holes and not test.has_holes
    rows = np.array([3, 0, 1])
    np.testing.assert_array_equal(train.__getitems__(rows).mask, (PRESENT * mask)[rows])
    np.testing.assert_array_equal(validation.__getitems__(rows).mask, PRESENT[rows])
    np.testing.assert_array_equal(validation.__getitems__(rows).x, X[rows])
    assert test.__getitems__([0]).mask is None
    inside = jax.jit(validation.gather)(validation.arrays, rows)  # as on a device
    jax.tree.map(np.testing.assert_array_equal, inside, validation.__getitems__(rows))
    assert data.thinned(2).has_holes and not from_arrays(REAL, train=X[2:3]).has_holes
    x = np.array([[[1, NAN], [3, 4]]], np.float32)
    np.testing.assert_array_equal(from_arrays(VECTORS, train=x).splits["train"].__getitems__([0]).mask, [[0, 1]])


def test_what_reads_the_values_of_a_set_reads_those_that_are_there(capsys):
    np.testing.assert_array_equal(from_arrays(REAL, train=X).some_examples("train"), X[2:3])
    with pytest.raises(UserError, match="no order can be read off 'arrays': every example has sites that are not sc"):
        from_arrays(REAL, train=X[:2]).some_examples("train")
    say_once.cache_clear()
    from_arrays(REAL, train=X, test=X.copy())
    assert "the test examples are the train examples" in capsys.readouterr().err
    noisy = with_noise(from_arrays(REAL, train=X), 0.1)
    batch = noisy.transform(jax.random.key(0), noisy.splits["train"].__getitems__(np.arange(4)), True)
    np.testing.assert_array_equal(np.isnan(batch.x), ~PRESENT)
    with pytest.raises(UserError, match=r"hold 1700000000.0 and 1700000001.0 at place 1"):
        seconds = 1.7e9 + np.arange(30.0)
        from_arrays(REAL, train=np.stack([np.where(seconds > 1.70000001e9, NAN, 1), seconds, seconds * NAN], 1))
    with pytest.raises(UserError, match=r"must be finite as float32, not inf$"):
        from_arrays(REAL, train=np.where(PRESENT, X, np.inf))
    columns = (EventSpec((), (), "tokens", 3), EventSpec((), (), "real"))
    event = EventSpec((2,), kind="columns", columns=columns)
    assert from_arrays(event, train=np.array([[NAN, 0.5], [2, NAN]])).has_holes
    with pytest.raises(UserError, match="column 0 must be whole numbers from 0 to 2, not 3"):
        from_arrays(event, train=np.array([[NAN, 0.5], [3, NAN]]))


def test_arrays_in_files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    choice = {"train": str(tmp_path / "x.npy"), "kind": "real"}
    data = make_dataset("array_files", **choice, holes=True)
    source = data.splits["train"]
    np.testing.assert_array_equal(source.__getitems__(np.array([1, 0])).mask, PRESENT[[1, 0]])
    np.testing.assert_array_equal(source.gather(source.arrays, np.arange(4)).mask, PRESENT)
    assert data.has_holes
    with pytest.raises(UserError, match="must be finite as float32, not nan: with holes=True it says that"):
        make_dataset("array_files", **choice).splits["train"].__getitems__(np.arange(4))
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.uint8))
    with pytest.raises(UserError, match="holes=True needs real values, in which NaN marks a missing one, not binary"):
        make_dataset("array_files", **choice | {"kind": "binary"}, holes=True)


def table_of(path, rows, **options):
    path.write_text("colour,grade,smokes,weight\n" + "".join(",".join(row) + "\n" for row in rows))
    return make_dataset("table", path=str(path), **{"mixed": True, "missing": "hole"} | options)


ROWS = [
    [("red", "green", "blue")[i % 3], str(i % 7), ("no", "yes")[i % 2], f"{50 + i * 1.7 % 5:.3f}"] for i in range(60)
]


def every(dataset):
    """The values and masks of all splits."""
    batches = list(map(read_all, dataset.splits.values()))
    masks = [np.ones_like(batch.x) if batch.mask is None else batch.mask for batch in batches]
    return np.concatenate([batch.x for batch in batches]), np.concatenate(masks)


def test_empty_cells_of_a_table_are_missing_values(tmp_path):
    rows = [list(row) for row in ROWS]
    for row in range(0, 60, 4):  # in each split
        rows[row][row // 4 % 4] = ("?", "", "NA")[row % 3]
    data = table_of(tmp_path / "a.csv", rows)
    kinds = [(column.kind, column.num_levels) for column in data.event.columns]
    assert kinds == [("tokens", 3), ("levels", 7), ("binary", 2), ("real", 0)]
    x, mask = every(data)
    np.testing.assert_array_equal(mask, ~np.isnan(x))
    assert (mask == 0).sum(0).tolist() == [4, 4, 4, 3]
    weights = np.array([float(row[3]) for row in rows if row[3] not in ("?", "", "NA")])
    assert weights.min() <= data.shift[3] <= weights.max()
    train = read_all(data.splits["train"]).x
    np.testing.assert_allclose([np.nanmean(train[:, 3]), np.nanstd(train[:, 3])], [0, 1], atol=1e-5)
    cells = data.to_cells(data.in_data_units(x))[1:]
    known = [["" if cell in ("?", "NA") else cell for cell in row] for row in rows]
    assert sorted(row[:3] for row in cells) == sorted(row[:3] for row in known)
    assert [row[3] == "" for row in cells] == (mask[:, 3] == 0).tolist()


def test_tables_of_levels_and_of_real_values_have_holes_too(tmp_path):
    rows = [list(row) for row in ROWS]
    rows[5][1], rows[6][3] = "", ""
    columns = {"columns": ("grade", "weight"), "mixed": False}
    levels = table_of(tmp_path / "b.csv", rows, **columns, levels=50)
    assert [column.num_levels for column in levels.event.columns] == [50, 50]
    x, mask = every(levels)
    assert np.isnan(x).sum(0).tolist() == (mask == 0).sum(0).tolist() == [1, 1]
    assert set(x[mask > 0]) == set(range(50))
    assert sum(cell == "" for row in levels.to_cells(x) for cell in row) == 2
    real = table_of(tmp_path / "b.csv", rows, **columns)
    assert real.event.kind == "real" and (every(real)[1] == 0).sum(0).tolist() == [1, 1]
    assert table_of(tmp_path / "c.csv", ROWS, **columns, levels=50).event.kind == "levels"  # nothing is missing
    gone = [[row[0], row[1], row[2], ""] for row in ROWS]
    with pytest.raises(UserError, match="'weight' of 'table/d' has no value in any train row: leave it out"):
        table_of(tmp_path / "d.csv", gone, **columns)
    empty = table_of(tmp_path / "d.csv", gone, **columns, levels=50).rows.columns[1]
    assert column_from_json([Words], json.loads(json.dumps(column_as_json(empty))), "it") == empty
    rows[3][3] = "NA"
    with pytest.raises(UserError, match=r"real and has no level for it: fill it in, .* missing='hole', which leaves"):
        table_of(tmp_path / "b.csv", rows, missing="level")
    with pytest.raises(UserError, match=r"row 5 of .* has no value in the column 'weight': .* missing='hole'"):
        table_of(tmp_path / "b.csv", rows, **columns | {"columns": ("weight",)}, missing="refuse")


def test_masked_entries_of_numpy_arrays_are_missing_values():
    masked = np.ma.array(np.where(PRESENT, X, -99), mask=~PRESENT)
    source = from_arrays(REAL, train=masked).splits["train"]
    np.testing.assert_array_equal(source.arrays.x, X)
    assert source.has_holes and not from_arrays(REAL, train=masked[2:3]).has_holes
    np.testing.assert_array_equal(from_arrays(REAL, train=list(masked)).splits["train"].arrays.x, X)
    codes = np.ma.array([[1, 0, 2], [0, 1, 1]], mask=[[0, 1, 0], [0, 0, 0]])
    with pytest.raises(UserError, match=r"has masked entries, which are missing values .*, and numbers of type int64"):
        from_arrays(EventSpec((3,), kind="tokens", num_levels=3), train=codes)
