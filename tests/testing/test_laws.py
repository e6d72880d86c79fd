"""`arjax.testing` catches components that break a law, names the place, and lets refusals pass."""

import ast
import dataclasses
import functools
import runpy

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from arjax.conditionals import CONDITIONALS
from arjax.conditionals.categorical import Bernoulli
from arjax.conditionals.gaussian import Gaussian
from arjax.core.errors import UserError
from arjax.factorization import ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS, Weighted
from arjax.networks import NETWORKS
from arjax.networks.dense.independent import Independent
from arjax.networks.layers.steps import ChunkedStepNetwork
from arjax.objectives import OBJECTIVES
from arjax.objectives.likelihood import TeacherForcing
from arjax.samplers import Draw, Sampler
from arjax.samplers.cached import naive_step
from arjax.testing import (
    EVENTS,
    LawBroken,
    check_conditional,
    check_ordering_laws,
    check_orders_laws,
    check_partition_laws,
    conditional,
    network,
    network_laws,
    objective,
    sampler,
)
from arjax.testing.laws import Law, NotSupported, check_laws
from arjax.testing.statistics import LEAST_P, chi_square, uniform


@pytest.fixture(autouse=True)
def own_names(scope):
    """What a test registers is there for it alone."""
    scope(CONDITIONALS, NETWORKS, OBJECTIVES, ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS)


class SumCore(nn.Module):
    """The sum of the tokens read, with a fault."""

    width: int
    fault: str

    def setup(self):
        self.scale = self.param("scale", nn.initializers.ones, (self.width,))

    def __call__(self, x_BTE, train):
        total_BTE = jnp.cumsum(x_BTE, 1)
        if self.fault == "future":
            total_BTE = total_BTE + jnp.roll(x_BTE, -1, 1)
        if self.fault == "past":  # reads the last two alone
            total_BTE = x_BTE + jnp.roll(x_BTE, 1, 1) * (jnp.arange(x_BTE.shape[1]) > 0)[:, None]
        return self.scale * jnp.tanh(total_BTE)

    def start(self, batch_size):
        return jnp.zeros((batch_size, self.width))

    def step(self, total_BE, x_BE, t):
        total_BE = total_BE + x_BE
        return total_BE, self.scale * jnp.tanh(total_BE * (1 + (self.fault == "step") * 0.01))

    def extend(self, total_BE, x_BTE, t):
        totals_BTE = jnp.concatenate([total_BE[:, None], x_BTE], 1).cumsum(1)
        return totals_BTE, self.scale * jnp.tanh(totals_BTE[:, 1:] * (1 + (self.fault == "extend") * 0.01))

    def keep(self, totals_BTE, n):
        return jnp.take(totals_BTE, n, axis=1)


@functools.cache
def faulty(fault):
    """A model of a network with this fault; one of each, so that checks share its compiled programs."""

    @NETWORKS.register("faulty")
    class Faulty(ChunkedStepNetwork):
        SMALL = {"hidden_size": 8}

        def make_core(self):
            return SumCore(self.hidden_size, fault)

    return network.supported("faulty", EVENTS["binary"], "spiral", "sites")


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        (
            "future",
            network.check_autoregressive,
            r"law 1: on 2 x 3 sites, binary with the steps \[\[0, .*of site \d read site",
        ),
        ("past", network.check_autoregressive, r"law 1: .* the features of site \d do not read site \d, but"),
        ("step", network.check_steps, r"law 3: .*features of `step` and of `__call__` differ: by"),
        ("extend", network.check_extends, r"law 3: .*`extend` from step \d on, of which \d steps were kept, differs"),
    ],
)
def test_networks_that_break_a_law(fault, check, sentence):
    model = faulty(fault)
    params = network.params_of(model)
    with pytest.raises(LawBroken, match=sentence):
        check(model, params)
    check(faulty(""), params)


def test_a_network_that_refuses_everything_or_declares_the_future():
    @NETWORKS.register("refuses")
    class Refuses(Independent):
        def check(self, factorization):
            raise UserError("this network refuses whatever it is given")

    @NETWORKS.register("declares")
    class Declares(Independent):
        def dependencies(self, factorization):
            return np.ones((factorization.num_sites, factorization.num_sites), bool)

    with pytest.raises(LawBroken, match="refuses everything: this network refuses whatever"):
        network.check_supports_something("refuses", ("binary", "real"), {})
    with pytest.raises(LawBroken, match="`dependencies` lets site 0 read site 0, not earlier"):
        network.declared(network.supported("declares", EVENTS["binary"], "raster", "sites"))
    (mark,) = network_laws("refuses", events=("binary",)).pytestmark
    with pytest.raises(pytest.skip.Exception, match="refuses whatever it is given"):
        network_laws("refuses")(mark.args[1][1].values[0])


@dataclasses.dataclass(frozen=True)
class Faulty(Bernoulli):
    fault: str = ""

    @classmethod
    def for_event(cls, event, fault: str = ""):
        return cls(Bernoulli.for_event(event).value_shape, fault)

    def log_prob(self, features, value):
        found = super().log_prob(features, value)
        return found + {"normalised": 0.01, "gradients": jnp.sqrt(features[..., 0] * 0) * 0}.get(self.fault, 0)

    def sample(self, key, features, temperature=1.0):
        return super().sample(key, features + 0.3 * (self.fault == "samples"), temperature)

    def entropy(self, features):
        return super().entropy(features) * (1 + 0.01 * (self.fault == "entropy"))

    def mode(self, features):
        found = super().mode(features)
        return {"mode": 1 - found, "shapes": found.astype(jnp.float32)}.get(self.fault, found)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("normalised", r"law 2: the probabilities of all values add up to 1\.01"),
        ("samples", r"law 4: samples do not follow the probabilities"),
        ("entropy", r"the entropy is .*, and that of the probabilities .* nats"),
        ("mode", r"`mode` is 0, where 1 is more probable|`mode` is 1, where 0 is more probable"),
        ("shapes", r"`mode` of features float32\[2, 3, 1\] is float32\[2, 3\], not int32\[2, 3\]"),
        ("gradients", r"its gradient of features of about 1 is not finite"),
    ],
)
def test_conditionals_that_break_a_law(fault, sentence):
    CONDITIONALS.register("faulty")(Faulty)
    with pytest.raises(LawBroken, match=sentence):
        getattr(conditional, f"check_{fault}")(f"faulty(fault={fault!r})", "binary", 1.0)


@pytest.mark.slow
def test_densities_that_break_a_law():
    @CONDITIONALS.register("wide")
    class Wide(Gaussian):
        def sample(self, key, features, temperature=1.0):
            return 1.2 * super().sample(key, features, temperature)

        def entropy(self, features):
            return super().entropy(features) + 0.1

    conditional.check_normalised("wide", "real", 1.0)
    for check, sentence in ((conditional.check_samples, "law 4"), (conditional.check_entropy, "the entropy is")):
        with pytest.raises(LawBroken, match=sentence):
            check("wide", "real", 1.0)
        check("gaussian", "real", 1.0)
    with pytest.raises(LawBroken, match="refuses everything"):
        check_conditional("gaussian", values=("binary",))


def test_densities_with_a_bend_are_integrated_closely_enough(repository):
    """A narrow component of Laplace distributions, far from the mode, lies between few points of the grid."""
    laplace = runpy.run_path(str(repository / "examples" / "laplace.py"))["LaplaceMixture"]

    @CONDITIONALS.register("heavy")
    @dataclasses.dataclass(frozen=True)
    class Heavy(laplace):
        NAME = "heavy"

        def log_standard(self, z):
            return -z - np.log(1.98)

    for check in (conditional.check_normalised, conditional.check_entropy):
        check("laplace_mixture(components=2)", "real", 1.0)
    with pytest.raises(LawBroken, match=r"law 2: the density integrates to 1\.010.* lower `scale`"):
        conditional.check_normalised("heavy(components=2)", "real", 1.0)


def test_orderings_and_partitions_that_break_a_law():
    ORDERINGS.register("twice")(lambda grid_shape: np.zeros(np.prod(grid_shape), int))
    unsteady = np.random.default_rng(0)
    ORDERINGS.register("unsteady")(lambda grid_shape: unsteady.permutation(np.prod(grid_shape)))
    PARTITIONS.register("short")(lambda order, grid_shape: [1] * (len(order) - 1))
    PARTITIONS.register("empty")(lambda order, grid_shape: [0, len(order)])
    with pytest.raises(LawBroken, match=r"'twice' on a grid \(7,\) is no permutation of its 7 sites"):
        check_ordering_laws("twice", grids=((7,),))
    with pytest.raises(LawBroken, match=r"'unsteady' .* is another order each time"):
        check_ordering_laws("unsteady", grids=((4, 4),))
    with pytest.raises(LawBroken, match=r"'short' on a grid \(7,\) has 6 sites in its blocks, not 7"):
        check_partition_laws("short", grids=((7,),))
    with pytest.raises(LawBroken, match=r"'empty' on a grid \(7,\) has blocks of the sizes \[0, 7\]"):
        check_partition_laws("empty", grids=((7,),))
    found = check_partition_laws("blocks(size=2)", grids=((7,), (2, 3)))
    assert found["grid-2x3"] == "kept" and "blocks of 2 do not divide 7 sites" in found["grid-7"]
    assert set(check_ordering_laws("chow_liu").values()) == {"kept"}  # it reads data
    with pytest.raises(LawBroken, match="fits no grid"):
        check_partition_laws("blocks(size=2)", grids=((7,),))


def test_distributions_over_orders_that_break_a_law():
    unsteady, sites = np.random.default_rng(0), np.arange(4)
    returned = {
        "twice": lambda grid_shape: np.zeros((2, 4), int),
        "none": lambda grid_shape: np.zeros((0, 4), int),
        "flat": lambda grid_shape: sites,
        "restless": lambda grid_shape: np.stack([unsteady.permutation(4) for _ in range(5)]),
        "heavy": lambda grid_shape: Weighted(np.stack([sites, sites[::-1]]), np.array([0.9, 0.2]), 0.0),
    }
    sentences = dict.fromkeys(("twice", "none", "flat"), "is no list of permutations of its 4 sites")
    sentences |= {"restless": "other orders each time", "heavy": r"has the probabilities \[0.9, 0.2, 0.0\] of 2 orders"}
    for name, sentence in sentences.items():
        ORDER_DISTRIBUTIONS.register(name)(returned[name])
        with pytest.raises(LawBroken, match=sentence):
            check_orders_laws(name, grids=((4,),))
    ORDER_DISTRIBUTIONS.register("by_mean")(lambda grid_shape, data: np.argsort(data.mean(0))[None])
    for call in ("uniform", "rasters", "by_mean", "weighted(of=('raster', 'uniform'), weights=(1, 3))"):
        assert set(check_orders_laws(call).values()) == {"kept"}
    assert "7 sites" not in str(check_orders_laws("pool(num=2)", grids=((1,), (7,)))["grid-7"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FaultySampler(Sampler):
    fault: str = dataclasses.field(default="", metadata={"static": True})

    def draw(self, model, params, steps, canvas, context):
        if self.fault == "keys":
            steps.keys_SB = jnp.roll(steps.keys_SB, 1, 1)
        if self.fault == "observed":
            steps.observed_D = None
        x = canvas
        for t in range(model.factorization.num_steps):
            x = naive_step(model, params, steps, x, context, jnp.int32(t))
        return Draw(x, {} if self.fault == "statistics" else {"network_calls": jnp.zeros(len(x), jnp.int32)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("keys", functools.partial(sampler._check_values, event="tokens"), "16 of 16 samples are not those of `naive`"),
        ("keys", sampler.check_own_key, "an example depends on the batch"),
        ("observed", functools.partial(sampler.check_observed, event="tokens"), "observed sites have changed"),
        ("statistics", sampler.check_distribution, "the statistics lack 'network_calls'"),
    ],
)
def test_samplers_that_break_a_law(fault, check, sentence):
    with pytest.raises(LawBroken, match=sentence):
        check(FaultySampler(fault), "independent")


@dataclasses.dataclass(frozen=True)
class FaultyObjective(TeacherForcing):
    fault: str = ""

    def loss(self, model, params, own, batch, step):
        if self.fault == "weights":
            batch = batch.replace(weight=None)
        found = super().loss(model, params, own, batch, step)
        if self.fault == "state":
            return dataclasses.replace(found, state={"baseline": jnp.zeros(())})
        sign = {"downhill": -1.0, "finite": jnp.inf}.get(self.fault, 1.0)
        if sign == 1.0:
            return found
        slope = sum(leaf.sum() for leaf in jax.tree.leaves(params))
        total = found.terms[0].total + sign * (jax.lax.stop_gradient(slope) * 2 - slope) * 1e4
        return dataclasses.replace(found, terms=(dataclasses.replace(found.terms[0], total=total),))


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("weights", objective._check_weights, "depends on examples of weight 0"),
        ("finite", objective._check_finite, "the loss .* is not finite"),
        ("state", objective._check_finite, "the state after a batch is"),
        ("downhill", objective.check_downhill, "a small step against the gradient takes the loss from"),
    ],
)
def test_objectives_that_break_a_law(fault, check, sentence):
    OBJECTIVES.register("faulty")(FaultyObjective)
    with pytest.raises(LawBroken, match=sentence):
        check(f"faulty(fault={fault!r})", "independent", "")
    check("teacher_forcing", "independent", "")


def test_nothing_checked_is_a_broken_law(capsys):
    def refuse():
        raise NotSupported("no, as a sentence")

    with pytest.raises(LawBroken, match="everything is refused: no, as a sentence"):
        check_laws([Law("a", refuse)])
    capsys.readouterr()
    laws = (Law(name, check) for name, check in (("a", refuse), ("b", lambda: None)))
    assert check_laws(laws) == {"a": "no, as a sentence", "b": "kept"}
    assert capsys.readouterr().out == "[1/2] a: no, as a sentence\n[2/2] b: kept\n"


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for size, num in ((2, 100), (6, 1000), (100, 10000)):
        p = rng.dirichlet(np.ones(size) * 5)
        for q in (p, np.roll(p, 1) * 0.1 + p * 0.9):
            counts = rng.multinomial(num, q)
            expected = stats.chisquare(counts, p * num).pvalue
            assert abs(chi_square(counts, p) - expected) < 0.02
            assert chi_square(counts, p) == pytest.approx(expected, rel=0.5, abs=1e-9)
    for values in (rng.uniform(size=500), rng.uniform(size=500) ** 1.1, rng.uniform(size=500) ** 1.3):
        assert uniform(values) == pytest.approx(stats.kstest(values, "uniform").pvalue, rel=0.1, abs=1e-9)
    assert chi_square(np.array([5, 5, 1]), np.array([0.5, 0.5, 0])) == 0  # impossible


def test_many_values_that_are_all_rare_are_told_apart():
    """Of more values than draws no value is expected five times: classes of several are compared."""
    rng, num = np.random.default_rng(0), 4096
    for p in (np.full(6561, 1 / 6561), rng.dirichlet(np.ones(2000))):
        assert chi_square(rng.multinomial(num, p), p) > 1e-3
        wrong = p * np.where(np.arange(len(p)) < len(p) / 2, 1.5, 0.5)
        assert chi_square(rng.multinomial(num, wrong / wrong.sum()), p) < LEAST_P


def test_classes_of_rare_values_are_large_enough_behind_less_rare_ones():
    """Of a thousand rare values, three among the first fifteen are no surprise; thirty times the first one are."""
    expected = np.array([980.15, 4.95, 4.9, *np.full(1000, 0.01)])
    counts = np.array([980, 5, 5, *np.zeros(1000)])
    counts[[3, 8, 15, 300, 400, 550, 600, 700, 800, 900]] = 1
    assert chi_square(counts, expected / 1000) > 0.5
    counts[3] = 30
    assert chi_square(counts, expected / 1000) < LEAST_P


def test_no_module_imports_pytest_at_its_head(repository):
    for path in (repository / "arjax" / "testing").glob("*.py"):
        heads = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("pytest" in ast.unparse(node) for node in heads), path
