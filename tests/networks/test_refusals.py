"""What a family cannot do is said in one sentence, before anything is built. Ranges of single options are tested with
all others, in tests/core/test_every_option.py; here are the rules about several options, events and orders.
"""

import pytest

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.denoisers import make_block_denoiser
from arjax.networks.layers.local_context import check_local

LINE, GRID = EventSpec((6,), kind="tokens", num_levels=5), EventSpec((4, 4))
PIXELS, CHANNELS = EventSpec((4, 4), (3,), "levels", 4), EventSpec((4, 4, 3), kind="levels", num_levels=4)
NUMBERS, BITS, WIDE = EventSpec((6,), kind="real"), EventSpec((6,)), EventSpec((4, 6))
#: Events and choices that the networks of tables refuse, and why.
TABLES = [
    (NUMBERS, {}, "one whole number per site"),
    (EventSpec((4,), (2,)), {}, "one whole number per site"),
    (LINE, {"partition": "blocks(size=2)"}, "one site in a step"),
    (LINE, {"context": ContextSpec("label", 2)}, "no input for a context"),
    (LINE, {"orders": "uniform"}, "needs one order"),
]
#: The network, the event, the choice, and how the sentence begins.
SENTENCES = [
    *((name, event, choice, f".*{words}") for name in ("hidden_markov", "markov") for event, choice, words in TABLES),
    (
        *("hidden_markov", LINE, {"conditional": "mixture_of_products(components=1)"}),
        ".*log-probabilities of 5 values, and the conditional reads 6",
    ),
    ("transformer", BITS, {"with": 3}, "network 'transformer' has no option 'with', did you mean 'width'"),
    ("transformer", BITS, {"num_features": 3}, "network 'transformer' has no option 'num_features'"),
    ("transfomer", BITS, {}, r"unknown network 'transfomer', did you mean 'transformer'\?$"),
    (
        *("transformer", BITS, {"target_position": False, "partition": "blocks(size=2)"}),
        "steps of several sites need network.target_position",
    ),
    (
        *("transformer", BITS, {"fused_attention": True, "partition": "blocks(size=2)"}),
        "network.fused_attention needs steps of one site",
    ),
    ("pixelcnn", GRID, {"ordering": "spiral"}, r"pixelcnn needs a raster-like .*\(raster, reversed, column_major or"),
    ("pixelcnn", CHANNELS, {"ordering": "column_major"}, r"pixelcnn needs a raster-like order \(raster, reversed or a"),
    ("gated_pixelcnn", BITS, {}, r"gated_pixelcnn needs a grid of two dimensions \(rows and columns, or"),
    ("gated_pixelcnn", GRID, {"partition": "rows"}, "gated_pixelcnn generates one site per step"),
    ("lmconv", CHANNELS, {}, r"lmconv needs a grid of two dimensions, not \(4, 4, 3\)"),
    ("row_lstm", BITS, {}, r"row_lstm needs a grid of two dimensions, not \(6,\) \(networks that can: .*\)$"),
    ("diagonal_bilstm", GRID, {"ordering": "spiral"}, "diagonal_bilstm needs a raster-like order "),
    ("multiscale", GRID, {}, r"multiscale needs model.ordering=multiscale\(factor=2, levels=1\) \(networks that"),
    ("multiscale", WIDE, {"ordering": "multiscale", "levels": 2}, r"multiscale needs .*\(factor=2, levels=2\)"),
    ("delta_net", LINE, {"num_heads": 3}, "network.num_heads=3 does not divide network.hidden_size=128"),
    ("mamba2", LINE, {"num_heads": 3}, r"network.num_heads=3 does not divide network.hidden_size \* 2=256"),
    ("hybrid", LINE, {"layers": ""}, "cannot read network.layers=''"),
    ("hybrid", LINE, {"layers": "min_gru, " * 1001}, "the number of network.layers must be at most 1000, not 1001"),
    ("hybrid", LINE, {"layers": "mamba2, gru"}, ".*unknown mixer 'gru'"),
    ("hybrid", LINE, {"layers": "mamba2(3)"}, ".*cannot read 'mamba2.3.'"),
    ("hybrid", LINE, {"layers": "mamba2(width=3)"}, ".*mixer 'mamba2' has no option 'width'"),
    ("hybrid", LINE, {"layers": "gated_convolution(window=0)"}, ".*'window' of the mixer 'gated_convolution' must"),
]


@pytest.mark.parametrize(("network", "event", "choice", "sentence"), SENTENCES)
def test_one_sentence(network, event, choice, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        make_model(event, network, **choice)


def check(name, event, options, ordering="raster", partition="sites"):
    features = event.num_levels or 1
    network = NETWORKS.get(name)(event, NO_CONTEXT, features, "float32", **NETWORKS.resolve(name, options))
    network.check(make_factorization(event.grid_shape, ordering, partition))


ODD = "must be an odd number, not"
SCALING = (8.0, 1.0, 4.0, 64.0)
CHAIN = EventSpec((30,), kind="tokens", num_levels=4)
#: The network, the event, the order; options that it takes, those that it refuses beside them, and the sentence.
LIMITS = [
    ("sparse_transformer", LINE, "raster", {}, "num_heads", (2, 4), (1,), "patterns need an even number of heads"),
    ("transformer", LINE, "raster", {"width": 4}, "num_heads", (1, 2, 4), (3, 8), "num_heads=. does not divide"),
    ("transformer", LINE, "raster", {"num_heads": 4}, "num_kv_heads", (0, 1, 2, 4), (3, 8), "does not divide network"),
    ("transformer", LINE, "raster", {"rotary": True}, "head_size", (2, 0), (3,), "rotary needs heads of even size"),
    ("transformer", LINE, "raster", {"head_size": 3}, "rotary", (False,), (True,), "rotary needs heads of even size"),
    (
        *("transformer", LINE, "raster", {"rotary": True}, "rotary_scaling", ((), SCALING)),
        *(((8.0, 4.0, 4.0, 16.0), (8.0, 1.0, 4.0), (8.0, 4.0, 1.0, 16.0)), "network.rotary_scaling must be empty or"),
    ),
    ("transformer", LINE, "raster", {}, "rotary_scaling", ((),), (SCALING,), "changes nothing without network.rotary"),
    ("transformer", LINE, "raster", {}, "tie_embeddings", (True, False), (), ""),
    ("transformer", GRID, "raster", {}, "tie_embeddings", (False,), (True,), "one integer of more than two levels"),
    ("transformer", PIXELS, "raster", {}, "tie_embeddings", (False,), (True,), "one integer of more than two levels"),
    ("multiscale", GRID, "multiscale(levels=1)", {}, "shared", (False,), (True,), "needs two scales to share: "),
    ("multiscale", GRID, "multiscale(levels=2)", {"levels": 2}, "shared", (False, True), (), ""),
    ("multiscale", GRID, "multiscale(levels=2)", {}, "levels", (2,), (3,), "has too few pixels for"),
    ("row_lstm", GRID, "raster", {}, "kernel_size", (3,), (4,), ODD),
    ("multiscale", GRID, "multiscale", {"core": "row_lstm"}, "kernel_size", (3, 5), (4,), ODD),
    ("conv_nade", GRID, "raster", {}, "kernel_size", (3,), (4,), ODD),
    ("pixelcnn", GRID, "raster", {}, "hidden_size", (2, 4), (3,), "must be even and at least 2"),
    ("pixelcnn", CHANNELS, "raster", {}, "hidden_size", (6, 8), (4, 7), "must be even and at least 6"),
    ("pixelcnn", CHANNELS, "raster", {}, "out_size", (3,), (2,), "out_size=2 is too small for 3 colour channels"),
    ("pixelcnn", GRID, "raster", {}, "kernel_size", (1, 3), (2,), ODD),
    ("pixelcnn", GRID, "raster", {}, "first_kernel", (3, 5), (4,), ODD),
    ("gated_pixelcnn", CHANNELS, "raster", {}, "hidden_size", (3,), (2,), "hidden_size=2 is too small for 3 colour"),
    ("markov", CHAIN, "raster", {}, "order", (1, 12), (13,), r"needs 4\^13 rows, and a table has at most"),
]


@pytest.mark.parametrize(("name", "event", "ordering", "options", "option", "taken", "refused", "sentence"), LIMITS)
def test_limits(name, event, ordering, options, option, taken, refused, sentence):
    for value in taken:
        check(name, event, options | {option: value}, ordering)
    for value in refused:
        with pytest.raises(UserError, match=sentence):
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


@pytest.mark.parametrize("network", ["lstm", "causal_conv", "transformer"])
def test_blocks_need_positions_to_tell_their_sites_apart(network):
    with pytest.raises(UserError, match=r"^steps of several sites need network.position=learned or sinusoidal"):
        make_model(BITS, network, partition="blocks(size=2)", position="none")
    make_model(BITS, network, partition="sites", position="none")


#: Networks with an order of their own.
ORDERED = {"multiscale": (GRID, "multiscale"), "diagonal_bilstm": (GRID, "raster"), "row_lstm": (GRID, "raster")}


@pytest.mark.parametrize("name", [n for n in NETWORKS.names() if {"remat", "unroll"} <= set(NETWORKS.options(n))])
def test_recomputation_is_for_one_layer_at_a_time(name):
    event, ordering = ORDERED.get(name, (LINE, "raster"))
    for remat, unroll in ((True, 1), (False, 1), (False, 2)):
        check(name, event, {"remat": remat, "unroll": unroll}, ordering)
    with pytest.raises(UserError, match="saves memory only with"):
        check(name, event, {"remat": True, "unroll": 2}, ordering)


def test_limits_of_the_unet():
    """Each of its resolutions halves the grid."""

    def check_unet(event, **options):
        check("unet", event, options)

    for event in (GRID, CHANNELS):
        check_unet(event, multipliers=(1, 1, 1))
        with pytest.raises(UserError, match="needs 8 sites along each axis"):
            check_unet(event, multipliers=(1, 1, 1, 1))
    check_unet(LINE, multipliers=(1, 1))
    for heads in (2, 5):  # they divide what they attend to: nothing here
        check_unet(GRID, width=6, groups=3, num_heads=heads)
    for wrong in ({"groups": 4, "num_heads": 2}, {"groups": 3, "num_heads": 5, "attention": True}):
        with pytest.raises(UserError, match="does not divide"):
            check_unet(GRID, width=6, **wrong)


def local(*shape):
    return ContextSpec(map=EventSpec(shape, kind="real"), local=("map",))


def test_local_parts_fit_the_grid():
    """Of each axis one length divides the other; colours do not count."""
    for shape in ((4, 6), (2, 3), (1, 1), (8, 12), (4, 2)):
        check_local(WIDE, local(*shape))
    for shape in ((3, 6), (4, 4), (12, 8), (24,)):
        with pytest.raises(
            UserError, match=r"has the grid .*, which does not fit the grid .4, 6. of the data: of each"
        ):
            check_local(WIDE, local(*shape))
    check_local(WIDE, ContextSpec("label", 3))
    with pytest.raises(UserError, match="does not fit the grid"):
        make_block_denoiser("block_transformer", WIDE, local(3, 6), 2)
    with pytest.raises(UserError, match="masked blocks need"):
        make_block_denoiser("block_transformer", NUMBERS, NO_CONTEXT, 2)
    with pytest.raises(UserError, match="hidden_sizes of 'independent' are layers of a context without local parts"):
        make_model(WIDE, "independent", context=local(4, 6), hidden_sizes=(4,))
