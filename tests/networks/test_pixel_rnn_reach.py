"""What the two-dimensional recurrences see: a triangle, everything, and everything of the coarse picture."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from families import slow

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.image.multiscale import Multiscale
from arjax.networks.image.pixel_rnn import DiagonalBiLSTMCore
from arjax.testing.network import check_steps

SIZES, SLOW = {"hidden_size": 8, "readout_size": 16}, pytest.mark.slow


def build(network, grid, **choice):
    return make_model(EventSpec(grid), network, **(SIZES | choice))


def features_of(model, params, x):
    """[B, D, F], compiled as one program."""
    return np.asarray(cases.parallel(model.network, params, x, model.factorization))


def depends(model):
    """By changing each pixel; exactly what the network declares."""
    network, params = model.network, cases.params_of(model)
    actual = cases.dependence(network, params, model.factorization)
    np.testing.assert_array_equal(actual, network.dependencies(model.factorization))
    return actual


@pytest.mark.parametrize(("grid", "layers"), [slow((5, 5), 1), ((4, 6), 2), slow((6, 6), 1), slow((3, 9), 1)])
def test_diagonal_bilstm_sees_the_whole_past(grid, layers):
    model = build("diagonal_bilstm", grid, num_layers=layers)
    np.testing.assert_array_equal(depends(model), model.factorization.mask())


def test_without_a_margin_the_end_of_a_row_would_be_missed():
    """The states from the right come from the row above, whose maps do not know its last value."""

    class NoMargin(DiagonalBiLSTMCore):
        MARGIN = 0

    reads = NoMargin(**build("diagonal_bilstm", (6, 6)).network.core_fields(), parent=None).reach()
    missed = np.tri(36, k=-1, dtype=bool) & ~reads
    assert [(i, j) for i, j in np.argwhere(missed) if i < 12] == [(6, 5), (7, 5)]


@pytest.mark.slow
def test_row_lstm_sees_a_triangle():
    """One column further to a side for each row up, besides the window of the first layer and of the masked rows."""
    model = build("row_lstm", (7, 12), num_layers=1)
    seen = depends(model)[5 * 12 + 6].reshape(7, 12)
    expected = np.zeros((7, 12), bool)
    expected[5, 2:6] = True  # 3 columns of mask A, 1 of mask B
    for up in range(1, 6):  # mask A reaches 3 columns to the right of a position one row above it
        expected[5 - up, max(0, 6 - 4 - up) : 6 + 3 + (up - 1) + 1] = True
    np.testing.assert_array_equal(seen, expected)


@SLOW
def test_row_lstm_has_blind_spots():
    model = build("row_lstm", (4, 14), num_layers=2)
    assert (np.asarray(model.factorization.mask()) & ~depends(model)).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "grid", "factor", "levels", "layers", "shared"),
    [
        ("diagonal_bilstm", (5, 6), 2, 1, 1, False),
        ("diagonal_bilstm", (5, 4), 2, 2, 1, False),
        ("row_lstm", (4, 7), 3, 1, 1, False),
        ("row_lstm", (5, 5), 2, 2, 1, True),
    ],
)
def test_multiscale_keeps_its_order_in_both_forms(core, grid, factor, levels, layers, shared):
    order = f"multiscale(factor={factor}, levels={levels})"
    scale = {"factor": factor, "levels": levels, "upsample_layers": 2, "shared": shared}
    model = build("multiscale", grid, ordering=order, core=core, num_layers=layers, **scale)
    seen, mask = depends(model), np.asarray(model.factorization.mask())
    assert not (seen & ~mask).any()
    if core == "diagonal_bilstm":  # of each scale all is seen; of the coarse picture, what the upsampler reaches
        coarse = np.zeros(grid, bool)
        coarse[::factor, ::factor] = True
        fine = np.argwhere(~coarse.ravel()).ravel()
        np.testing.assert_array_equal(seen[np.ix_(fine, fine)], np.tri(len(fine), k=-1, dtype=bool))
    check_steps(model, cases.params_of(model))


@pytest.mark.slow
def test_the_coarse_picture_comes_from_a_network_of_its_own():
    """Its features are those of an unconditional PixelRNN on the coarse picture."""
    model = build("multiscale", (6, 5), ordering="multiscale", num_layers=1)
    alone = build("diagonal_bilstm", (3, 3), num_layers=1)
    params, x = cases.params_of(model), cases.random_x(model.event, 4)
    features = features_of(model, params, x).reshape(4, 6, 5, -1)[:, ::2, ::2]
    expected = features_of(alone, {"core": params["scale_1"]}, x[:, ::2, ::2])
    np.testing.assert_allclose(features, expected.reshape(features.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_scales_that_share_are_one_network_on_pictures_of_two_sizes():
    """All scales but the coarsest: the same weights, whatever the size of the picture."""
    choice = {"ordering": "multiscale(levels=2)", "levels": 2, "num_layers": 1, "upsample_layers": 1}
    together = build("multiscale", (7, 6), shared=True, **choice)
    apart = build("multiscale", (7, 6), shared=False, **choice)
    params, x = cases.params_of(together), cases.random_x(together.event, 4)
    assert set(params) == {"scale_0", "scale_2", "upsample_0"}
    copied = params | {"scale_1": params["scale_0"], "upsample_1": params["upsample_0"]}
    one, two = features_of(together, params, x), features_of(apart, copied, x)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_scales_that_share_draw_one_key_of_dropout_each(monkeypatch):
    """An upsampler has no dropout: it draws no key, which would give the cores other masks."""
    choice = {"ordering": "multiscale(levels=2)", "levels": 2, "num_layers": 1, "upsample_layers": 1, "dropout": 0.5}
    model, drawn = build("multiscale", (7, 6), shared=True, **choice), []
    make_rng = Multiscale.make_rng

    def counted(network, name):
        drawn.append(name)
        return make_rng(network, name)

    x, params = cases.random_x(model.event, 2), cases.params_of(model)
    monkeypatch.setattr(Multiscale, "make_rng", counted)
    jax.eval_shape(
        lambda key: model.network.apply({"params": params}, x, model.factorization, train=True, rngs={"dropout": key}),
        jax.random.key(0),
    )
    assert drawn == ["dropout"]  # that of scale 1, which has the parameters of scale 0
