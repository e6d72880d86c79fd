"""Small parts of data by themselves: standardised and grouped vectors, noise, vocabularies, columns of tables."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples_of import x_of
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.data import images, table, vectors
from arjax.data.base import from_arrays, from_splits
from arjax.data.columns import Reals, merges
from arjax.data.vectors import wine_quality
from arjax.data.vocabulary import make_vocabulary

rng = np.random.default_rng(0)
EVENT = EventSpec((6,), kind="real")
ROWS = {"train": rng.normal(3, 2, (40, 6)), "test": rng.normal(3, 2, (10, 6))}


def standardised(name, rows, event, columns=()):
    return from_splits(event, rows, name=name, standardise="sites", columns=columns)


def test_columns_are_standardised_by_the_train_rows():
    dataset = standardised("mine", ROWS, EVENT)
    mean, std = ROWS["train"].mean(0), ROWS["train"].std(0)
    assert dataset.name == "mine" and dataset.event == EVENT
    np.testing.assert_allclose(x_of(dataset, "test"), (ROWS["test"] - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([dataset.scale, dataset.shift], [std, mean], rtol=1e-12)
    np.testing.assert_array_equal(dataset.log_scale_D, np.log(std).astype(np.float32))
    constant = {"train": np.where(np.arange(6) == 4, 1.0, ROWS["train"])}
    for columns, place in (((), "site 4"), (tuple("abcdef"), "column 'e'")):
        with pytest.raises(UserError, match=f"the {place} of 'mine' holds one number"):
            standardised("mine", constant, EVENT, columns)
    for factor, taken in ((1e-29, True), (1e29, True), (1e-31, False), (1e31, False)):
        rows = {"train": np.where(np.arange(6) == 2, factor * ROWS["train"], ROWS["train"])}
        if taken:
            np.testing.assert_allclose(standardised("mine", rows, EVENT).scale[2], factor * std[2], rtol=1e-9)
        else:
            assert "the site 2 of 'mine' varies by" in refusal(standardised, "mine", rows, EVENT)


def test_only_real_columns_of_mixed_ones_are_standardised():
    real = np.array([True, False, True])
    columns = tuple(EventSpec((), (), "real") if each else EventSpec((), (), "levels", 4) for each in real)
    rows = np.where(real, ROWS["train"][:, :3], np.arange(120).reshape(40, 3) % 4)
    rows[3] = np.nan
    dataset = standardised("mine", {"train": rows}, EventSpec((3,), kind="columns", columns=columns))
    np.testing.assert_array_equal(x_of(dataset, "train")[:, ~real], rows[:, ~real])
    np.testing.assert_allclose(np.nanstd(x_of(dataset, "train"), 0)[real], 1, rtol=1e-5)
    assert (dataset.scale[~real] == 1).all() and (dataset.shift[~real] == 0).all()


@pytest.mark.parametrize("units", ["sites", "values"])
def test_arrays_in_standard_units(units):
    """By the sites that are scored, of the examples that count: the others are far off."""
    x, event = rng.normal([50, 0.1], [3, 0.01], (30, 4, 2)), EventSpec((4,), (2,), "real")
    mask, weight = np.arange(120).reshape(30, 4) % 3 > 0, np.arange(30) % 5 > 0
    seen = x.copy()
    x[~mask], x[~weight] = 1e6, -1e6
    x[2, 1], seen[2, 1] = np.nan, np.nan
    seen[~mask] = np.nan
    seen = seen[weight].reshape(-1, 2) if units == "values" else seen[weight]
    mean, std = np.nanmean(seen, 0), np.nanstd(seen, 0)
    data = from_arrays(event, train={"x": x, "mask": mask, "weight": weight}, test=x[:2], standardise=units)
    np.testing.assert_allclose(data.shift, np.broadcast_to(mean, (4, 2)))
    np.testing.assert_allclose(data.scale, np.broadcast_to(std, (4, 2)))
    np.testing.assert_allclose(data.in_data_units(x_of(data, "test")), x[:2], rtol=1e-5)
    np.testing.assert_allclose(data.log_scale_D, np.log(data.scale).sum(1), rtol=1e-6)
    assert x_of(data, "train").dtype == np.float32


def test_arrays_that_have_no_standard_units():
    real = EventSpec((2,), kind="real")
    levels = EventSpec((2,), kind="levels", num_levels=3)
    mixed = EventSpec((2,), kind="columns", columns=(EventSpec((), (), "real"), EventSpec((), (), "levels", 3)))
    x = np.stack([np.arange(5) / 4, np.ones(5)], 1)
    for event, units, words in (
        (real, "site", "must be 'sites' or 'values', not 'site', did you mean 'sites'"),
        (real, "sites", "the site 1 of 'arrays' holds one number in all train rows: leave it out, or give standard"),
        (levels, "sites", "standardise is for real values, and 'arrays' has"),
        (mixed, "values", "each column of 'arrays' has units of its own: give standardise='sites'"),
    ):
        with pytest.raises(UserError, match=words):
            from_arrays(event, train=x if event is not levels else x.astype(int), standardise=units)
    with pytest.raises(UserError, match=r"the data set 'arrays' holds one number in all train rows: leave it out$"):
        from_arrays(real, train=np.ones((5, 2)), standardise="values")
    z = rng.normal(size=(5, 2))
    for train, test, words in (
        ({"x": z, "weight": np.zeros(5)}, None, "has no value in any train row"),
        (z[:1], None, "'arrays' needs more than one train example that counts"),
        (1e-200 * z, None, "the site 0 of 'arrays' varies by less than 1e-30"),
        (0.1 * np.array([[3, z[0, 0]], [3, 1], [2.9999999999999996, 2]]), None, "the site 0 of 'arrays' holds one"),
        (1e-10 * z, np.full((2, 2), 1e30), "a value of the test examples of 'arrays' is 1e[+]40 standard deviations"),
        (1e9 + z, 1e19 + 1e3 * z, "the standardised test rows of 'arrays' hold"),
    ):
        with pytest.raises(UserError, match=words):
            from_arrays(real, train=train, test=test, standardise="sites")
    with pytest.raises(UserError, match=r"are one number in float32, .*: give standardise='sites', or leave the place"):
        from_arrays(real, train=1e9 + z)
    for wrong in (None, True, np.array(["a", "b"])):
        with pytest.raises(UserError, match="standardise must be a text, not"):
            from_arrays(real, train=z, standardise=wrong)


def test_given_places_and_discrete_columns_have_units_without_a_scored_value():
    z = rng.normal(5, 2, (20, 2))
    train = {"x": z, "mask": np.tile([0, 1], (20, 1))}
    given = from_arrays(EventSpec((2,), kind="real"), train=train, standardise="sites")
    np.testing.assert_allclose([given.shift, given.scale], [z.mean(0), z.std(0)])
    columns = EventSpec((), (), "real"), EventSpec((), (), "levels", 3)
    x = np.stack([z[:, 0], np.full(20, np.nan)], 1)
    mixed = from_arrays(EventSpec((2,), kind="columns", columns=columns), train=x, standardise="sites")
    np.testing.assert_allclose([mixed.shift, mixed.scale], [[z[:, 0].mean(), 0], [z[:, 0].std(), 1]])


def test_padding_beyond_the_longest_train_series_has_no_part_in_common_units():
    """Places that are masked in all train examples, while others are scored: the padding for longer test series."""
    x, mask = np.zeros((20, 6, 2)), np.tile(np.arange(6) < 4, (20, 1))
    x[:, :4] = rng.normal([50, 3], [2, 1], (20, 4, 2))
    data = from_arrays(EventSpec((6,), (2,), "real"), train={"x": x, "mask": mask}, standardise="values")
    scored = x[:, :4].reshape(-1, 2)
    np.testing.assert_allclose(data.shift, np.broadcast_to(scored.mean(0), (6, 2)))
    np.testing.assert_allclose(data.scale, np.broadcast_to(scored.std(0), (6, 2)))


def test_columns_in_groups_are_the_same_columns(monkeypatch):
    splits = {split: {"x": rows} for split, rows in ROWS.items()}
    monkeypatch.setattr(vectors, "read_splits", lambda name, data_dir: splits)
    dataset = wine_quality(group=1)
    assert dataset.event == EVENT
    np.testing.assert_array_equal(x_of(dataset, "test"), x_of(standardised("mine", ROWS, EVENT), "test"))
    for group in (2, 3, 6):
        grouped, shape = wine_quality(group=group), (6 // group, group)
        assert grouped.name == "wine_quality" and grouped.event == EventSpec(shape[:1], shape[1:], "real")
        np.testing.assert_array_equal(x_of(grouped, "test").reshape(10, 6), x_of(dataset, "test"))
        np.testing.assert_array_equal(grouped.scale.ravel(), dataset.scale)
        np.testing.assert_array_equal(grouped.shift.ravel(), dataset.shift)
        expected = np.log(dataset.scale).reshape(shape).sum(1)
        np.testing.assert_array_equal(grouped.log_scale_D, expected.astype(np.float32))
    for wrong in (4, 12):
        assert "'group' must divide the 6 columns of 'wine_quality'" in refusal(wine_quality, group=wrong)


def test_units_of_many_values_are_added_up_exactly():
    scale = np.random.default_rng(1).uniform(0.1, 9, (200, 300)).astype(np.float32)
    dataset = from_arrays(EventSpec((200,), (300,), "real"), train=np.zeros((1, 200, 300), np.float32))
    found = dataclasses.replace(dataset, scale=scale, shift=0 * scale).log_scale_D
    np.testing.assert_array_equal(found, np.log(scale.astype(np.float64)).sum(1).astype(np.float32))


def test_characters_that_are_seen_often_enough_have_a_token():
    assert make_vocabulary("banana").symbols == ("a", "b", "n")
    rare = make_vocabulary("banana", min_count=2)
    assert rare.symbols[:2] == ("a", "n") and rare.unknown == 2 and len(rare) == 3 and rare.end is None
    assert make_vocabulary("banana", min_count=3, end=True).symbols[0] == "a"
    assert rare.encode("nab").tolist() == [1, 0, 2]
    ended = make_vocabulary("banana", end=True)
    assert ended.end == 3 and len(ended) == 4 and ended.unknown is None
    with pytest.raises(UserError, match="seen min_count=4 times: the most frequent one is seen 3 times"):
        make_vocabulary("banana", min_count=4)
    assert "it is empty" in refusal(make_vocabulary, "")
    data = make_vocabulary("", "bytes")
    assert len(data) == 256 and data.symbols[65] == "A" and data.symbols[127] == "\x7f" and data.symbols[128] == "\\x80"
    assert data.units == "bytes" and data.num_tokens("\u00e9") == 2 and rare.num_tokens("\u00e9") == 1
    for num, dtype in ((128, np.int8), (129, np.int16), (2**15, np.int16), (2**15 + 1, np.int32)):
        assert make_vocabulary("".join(map(chr, range(num)))).dtype == dtype


def test_patches_are_pieces_of_images(monkeypatch):
    monkeypatch.setattr(images, "_GRID", (4, 6))
    levels = np.random.default_rng(0).integers(0, 256, (50, 4, 6)).astype(np.uint8)
    levels[:, 0, 0] = 7  # a pixel that does not vary

    def put_together(patches):
        return patches.swapaxes(2, 3).reshape(-1, 4, 6)

    dataset = images._in_patches("mine", {"train": {"x": levels}, "test": {"x": levels[:3]}}, 2, NO_CONTEXT)
    assert dataset.name == "mine_patches" and dataset.event == EventSpec((2, 3), (2, 2), "real")
    rows = x_of(dataset, "train")
    assert rows.shape == (50, 2, 3, 2, 2) and rows.dtype == np.float32 and abs(rows).max() < 20
    middles = dataset.in_data_units(rows)  # of the levels
    np.testing.assert_allclose(put_together(middles), levels + 0.5, atol=1e-4)
    np.testing.assert_allclose(put_together(dataset.in_data_units(x_of(dataset, "test"))), levels[:3] + 0.5, atol=1e-4)
    cut = np.floor(middles)
    np.testing.assert_array_equal(cut[:, 1, 2], levels[:, 2:, 4:])
    std = np.sqrt(levels.var(0) + 1 / 12)
    np.testing.assert_allclose(put_together(dataset.shift[None])[0], levels.mean(0) + 0.5, rtol=1e-6)
    np.testing.assert_allclose(put_together(dataset.scale[None])[0], np.maximum(std, 16), rtol=1e-6)
    assert dataset.scale[0, 0, 0, 0] == 16
    z = np.asarray(dataset.transform(jax.random.key(0), Batch(jnp.asarray(rows)), True).x)
    noise = z * dataset.scale + dataset.shift - cut
    assert -1e-3 < noise.min() < 0.02 and 0.98 < noise.max() < 1.001 and noise.mean() == pytest.approx(0.5, abs=0.03)


def test_pixels_are_drawn_from_their_intensity():
    intensity = np.repeat(np.uint8([0, 64, 255]), 20_000)
    static = images._bernoulli(np.random.default_rng(0), intensity).reshape(3, -1).mean(1)
    extra = {"intensity": jnp.asarray(intensity)[None]}
    batch = Batch(jnp.zeros((1, 60_000), jnp.int32), extra=extra)
    found = images.dynamic_binarization(jax.random.key(0), batch, True).x
    assert found.dtype == jnp.int32 and (found != images.dynamic_binarization(jax.random.key(1), batch, True).x).any()
    dynamic = np.asarray(found).reshape(3, -1).mean(1)
    for means in (static, dynamic):
        assert means[0] == 0 and means[2] == 1 and means[1] == pytest.approx(64 / 255, abs=0.01)
    assert images.dynamic_binarization(jax.random.key(0), batch, False) is batch
    plain = Batch(batch.x)
    assert images.dynamic_binarization(jax.random.key(0), plain, True) is plain


def test_the_last_examples_of_train_are_for_validation():
    for num, held_out in ((9, 4), (19_999, 9999), (20_001, 10_000)):
        x, y = np.arange(num), -np.arange(num)
        splits = images._hold_out({"train": {"x": x, "context": y}, "test": {"x": x[:2]}})
        assert list(splits) == ["train", "validation", "test"] and splits["test"]["x"].tolist() == [0, 1]
        assert len(splits["validation"]["x"]) == held_out
        for name, array in (("x", x), ("context", y)):
            whole = np.concatenate([splits["train"][name], splits["validation"][name]])
            np.testing.assert_array_equal(whole, array)


def test_patches_divide_an_image_of_grey_levels(monkeypatch):
    digits = {
        split: {"x": np.zeros((4, 28, 28), np.uint8), "context": np.zeros(4, np.int32)} for split in ("train", "test")
    }
    monkeypatch.setattr(images, "_read", lambda name, data_dir: digits)
    for patches in (3, 56):
        assert "a side that divides 28" in refusal(images._grey_images, "mine", "none", patches, "none", "")
    assert "a side that divides 28" in refusal(images._grey_images, "mine", "static", 4, "none", "")
    names = {}
    for binarize, patches in (("none", 0), ("static", 0), ("dynamic", 0), ("none", 1), ("none", 28)):
        for context in ("none", "label"):
            dataset = images._grey_images("mine", binarize, patches, context, "")
            assert bool(dataset.context) == (context == "label")
            assert (dataset.transform is not None) == (binarize == "dynamic" or patches > 0)
        names[binarize, patches] = dataset.name, dataset.event.shape
    assert names == {
        ("none", 0): ("mine", (28, 28)),
        ("static", 0): ("mine_static", (28, 28)),
        ("dynamic", 0): ("mine_dynamic", (28, 28)),
        ("none", 1): ("mine_patches", (28, 28, 1, 1)),
        ("none", 28): ("mine_patches", (1, 1, 28, 28)),
    }


def test_cells_of_real_values_have_seven_digits_of_their_spread():
    for values, shown in (
        ([1.23456789, -2], [1.234568, -2]),
        ([1e6 + 0.125, 1e6 + 3], [1000000.125, 1000003]),
        ([5.0, 5.0], [5, 5]),
        ([0.0, 0.0], [0, 0]),
    ):
        x = np.array(values)
        assert Reals("a", table._digits(x)).values(x).tolist() == shown


def test_whole_numbers_from_which_on_float64_merges():
    most = 2**53
    assert merges([str(most), str(most + 1)]) and merges([str(-most - 1), str(-most)])
    assert not merges([str(most), str(most + 2)]) and not merges([str(most - 1), str(most), "x"]) and not merges([])
    assert merges([f"1{'0' * 400}{i}" for i in range(2)])
