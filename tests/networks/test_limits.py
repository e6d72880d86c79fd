"""The last values that options of networks take, and the first that they refuse; the events and orders that fit."""

from __future__ import annotations

import pytest

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.networks import NETWORKS
from arjax.networks.denoisers import DENOISERS
from arjax.networks.denoisers.block_transformer import BLOCK_DENOISERS, make_block_denoiser
from arjax.networks.image.pixelsnail import background
from arjax.networks.layers.local_context import check_local

LINE, GRID = EventSpec((6,), kind="tokens", num_levels=5), EventSpec((4, 4))
PIXELS, CHANNELS = EventSpec((4, 4), (3,), "levels", 4), EventSpec((4, 4, 3), kind="levels", num_levels=4)
NUMBERS = EventSpec((6,), kind="real")


def check(name, event, options, ordering="raster", partition="sites"):
    factorization = make_factorization(event.grid_shape, ordering, partition)
    NETWORKS.get(name).check(event, factorization, NETWORKS.resolve(name, options))


TILES = "tiles(height=2, width=2)"
#: The network, the event, the order, options that it takes, and those that it refuses beside them.
OPTIONS = [
    ("image_transformer", LINE, "raster", {"memory": (1,)}, "query_block", ((1,), (9,)), ((0,), (1, 1), (), (1.5,))),
    ("image_transformer", LINE, "raster", {"query_block": (1,)}, "memory", ((0,), (9,)), ((-1,), (1, 1), ())),
    ("image_transformer", GRID, TILES, {"memory": (0, 0)}, "query_block", ((2, 2),), ((2, 1), (3, 2), (1, 1, 1))),
    ("image_transformer", GRID, TILES, {"query_block": (2, 2)}, "memory", ((0, 1),), ((0, -1), (1,))),
    ("transformer", LINE, "raster", {}, "norm_epsilon", (1e-9,), (0.0, -1e-6)),
    ("transformer", LINE, "raster", {"width": 4}, "num_heads", (1, 2, 4), (3, 8)),
    ("transformer", LINE, "raster", {"num_heads": 4}, "num_kv_heads", (0, 1, 2, 4), (3, 8)),
    ("transformer", LINE, "raster", {"rotary": True}, "head_size", (2, 0), (3,)),
    ("transformer", LINE, "raster", {"rotary": True}, "rotary_base", (1.1,), (1.0, 0.5)),
    ("transformer", LINE, "raster", {"head_size": 3}, "rotary", (False,), (True,)),
    (
        "transformer",
        LINE,
        "raster",
        {"rotary": True},
        "rotary_scaling",
        ((), (8.0, 1.0, 4.0, 16.0)),
        ((8.0, 4.0, 4.0, 16.0), (8.0, 1.0, 4.0), (0.0, 1.0, 4.0, 16.0), (8.0, 1.0, 4.0, 0.0), (8.0, 4.0, 1.0, 16.0)),
    ),
    ("transformer", LINE, "raster", {"rotary_scaling": (8.0, 1.0, 4.0, 16.0)}, "rotary", (True,), (False,)),
    ("transformer", LINE, "raster", {"unroll": 1}, "remat", (True, False), ()),
    ("transformer", LINE, "raster", {"unroll": 2}, "remat", (False,), (True,)),
    ("transformer", LINE, "raster", {}, "tie_embeddings", (True, False), ()),
    ("transformer", GRID, "raster", {}, "tie_embeddings", (False,), (True,)),
    ("transformer", PIXELS, "raster", {}, "tie_embeddings", (False,), (True,)),
    ("rg_lru", LINE, "raster", {"num_heads": 4}, "recurrent_size", (0, 4, 8), (2, 6)),
    ("multiscale", GRID, "multiscale", {}, "factor", (2,), (1,)),
    ("multiscale", GRID, "multiscale(levels=1)", {"levels": 1}, "shared", (False,), (True,)),
    ("multiscale", GRID, "multiscale(levels=2)", {"levels": 2}, "shared", (False, True), ()),
    ("multiscale", GRID, "multiscale(levels=2)", {}, "levels", (2,), (3,)),
    ("pixelcnn", GRID, "raster", {}, "hidden_size", (2, 4), (3,)),
    ("pixelcnn", CHANNELS, "raster", {}, "hidden_size", (6, 8), (4, 7)),
    ("pixelcnn", CHANNELS, "raster", {"hidden_size": 6}, "out_size", (3,), (2,)),
    ("pixelcnn", GRID, "raster", {}, "kernel_size", (1, 3), (2,)),
    ("pixelcnn", GRID, "raster", {}, "first_kernel", (3, 5), (1, 4)),
    ("lmconv", GRID, "hilbert", {}, "kernel_size", (3,), (1, 4)),
    ("fvsbn", LINE, "raster", {}, "num_linear", (0, 1), ()),
    ("fvsbn", PIXELS, "raster", {}, "num_linear", (0,), (1,)),
    ("markov", EventSpec((30,), kind="tokens", num_levels=4), "raster", {}, "order", (1, 12), (13,)),
]


@pytest.mark.parametrize(("name", "event", "ordering", "options", "option", "taken", "refused"), OPTIONS)
def test_limits(name, event, ordering, options, option, taken, refused):
    for value in taken:
        check(name, event, options | {option: value}, ordering)
    for value in refused:
        with pytest.raises(UserError):
            check(name, event, options | {option: value}, ordering)


ONE, TWO = ("raster", "sites"), ("raster", "blocks(size=2)")
#: The network, its options, and the events, orders and partitions that fit and that do not.
FITS = [
    ("lmconv", {}, [(GRID, *ONE), (PIXELS, "hilbert", "sites")], [(LINE, *ONE), (GRID, *TWO)]),
    (
        "pixelcnn",
        {"hidden_size": 6},
        [(GRID, *ONE), (PIXELS, *ONE), (CHANNELS, *ONE), (GRID, "column_major", "sites")],
        [(LINE, *ONE), (GRID, *TWO), (GRID, "hilbert", "sites")],
    ),
    ("multiscale", {}, [(GRID, "multiscale", "sites")], [(GRID, *ONE), (LINE, *ONE), (GRID, "multiscale", TWO[1])]),
    ("markov", {}, [(LINE, *ONE), (GRID, *ONE)], [(LINE, *TWO), (PIXELS, *ONE), (NUMBERS, *ONE)]),
    ("transformer", {"target_position": False}, [(LINE, *ONE)], [(LINE, *TWO)]),
    ("transformer", {}, [(LINE, *TWO), (NUMBERS, *ONE)], []),
]


@pytest.mark.parametrize(("name", "options", "fits", "others"), FITS, ids=[name for name, *_ in FITS])
def test_events_and_orders_that_fit(name, options, fits, others):
    for event, ordering, partition in fits:
        check(name, event, options, ordering, partition)
    for event, ordering, partition in others:
        with pytest.raises(UserError):
            check(name, event, options, ordering, partition)


def test_limits_of_the_unet():
    """Each of its resolutions halves the grid."""
    family = DENOISERS.get("unet")

    def check_unet(event, **options):
        family.check(event, DENOISERS.resolve("unet", options))

    for event in (GRID, CHANNELS):
        check_unet(event, multipliers=(1, 1, 1))
        with pytest.raises(UserError, match="needs 8 sites along each axis"):
            check_unet(event, multipliers=(1, 1, 1, 1))
    check_unet(LINE, multipliers=(1, 1))
    with pytest.raises(UserError, match="multipliers"):
        check_unet(GRID, multipliers=())
    check_unet(GRID, width=6, groups=3, num_heads=2)
    for wrong in ({"groups": 4, "num_heads": 2}, {"groups": 3, "num_heads": 5, "attention": True}):
        with pytest.raises(UserError, match="does not divide"):
            check_unet(GRID, width=6, **wrong)


#: Networks with an order of their own.
ORDERED = {"multiscale": (GRID, "multiscale"), "diagonal_bilstm": (GRID, "raster"), "row_lstm": (GRID, "raster")}


@pytest.mark.parametrize("name", [n for n in NETWORKS.names() if {"remat", "unroll"} <= set(NETWORKS.options(n))])
def test_recomputation_is_for_one_layer_at_a_time(name):
    event, ordering = ORDERED.get(name, (LINE, "raster"))
    for remat, unroll in ((True, 1), (False, 1), (False, 2)):
        check(name, event, {"remat": remat, "unroll": unroll}, ordering)
    with pytest.raises(UserError, match="saves memory only with"):
        check(name, event, {"remat": True, "unroll": 2}, ordering)


def test_local_parts_fit_the_grid():
    """Of each axis one length divides the other; colours do not count."""

    def local(*shape):
        return ContextSpec(map=EventSpec(shape, kind="real"), local=("map",))

    image = EventSpec((4, 6))
    for shape in ((4, 6), (2, 3), (1, 1), (8, 12), (4, 2)):
        check_local(image, local(*shape))
    for shape in ((3, 6), (4, 4), (12, 8)):
        with pytest.raises(UserError, match="does not fit the grid"):
            check_local(image, local(*shape))
    check_local(image, ContextSpec("label", 3))
    block_family = BLOCK_DENOISERS.names()[0]
    with pytest.raises(UserError, match="does not fit the grid"):
        make_block_denoiser(block_family, image, local(3, 6), 2)
    with pytest.raises(UserError, match="masked blocks need"):
        make_block_denoiser(block_family, NUMBERS, NO_CONTEXT, 2)


def test_the_places_of_pixels_are_from_minus_to_plus_one_half():
    found = background((4, 2))
    assert found.shape == (4, 2, 2) and found.dtype == "float32"
    assert found[:, 0, 0].tolist() == [-0.5, -0.25, 0, 0.25] and found[0, :, 1].tolist() == [-0.5, 0]
