"""Temperatures at the ends of what float32 holds: the mode, or finite draws, or one sentence. Truncated sampling: which
values remain, how often they are drawn, and the families that refuse it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_family import each_family
from scipy import stats

from arjax.conditionals import CONDITIONALS, make_conditional
from arjax.conditionals.blocks import scores_blocks
from arjax.conditionals.categorical import Bernoulli, Categorical
from arjax.conditionals.numerics import check_temperature
from arjax.conditionals.restricted import Limited, Modes, truncate, untruncated
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization

EVENTS = {
    "binary": EventSpec((3,)),
    "levels": EventSpec((3,), (2,), "levels", 5),
    "tokens": EventSpec((3,), (), "tokens", 300),
    "real": EventSpec((3,), (2,), "real", 0),
}
KEY = jax.random.key(0)
_SIZES = "width=8, layers=1, features=4"
#: Heads with networks of their own, at a small size.
SMALL = {
    "diffusion": f"diffusion(steps=10, {_SIZES})",
    "flow_matching": f"flow_matching(steps=3, {_SIZES})",
    "energy": f"energy({_SIZES})",
}
#: Families that are dear, with events whose like is in the everyday suite.
OTHERS = (
    *(("mixture_of_products", event) for event in ("binary", "tokens", "real")),
    *(("nested", event) for event in ("real", "levels")),
    *(("student_t_mixture", "real"), ("gaussian_mixture", "real")),
)


def bound(family):
    """The family with parameters of its own, where it has any."""
    return family.bind(family.init(KEY))


each_small = each_family([SMALL.get(name, name) for name in CONDITIONALS.names()], EVENTS, OTHERS)
TINY = (1e-30, 1e-38, 1e-45, 1e-300)


def features_of(family, scale: float = 1.0) -> np.ndarray:
    return np.float32(scale) * np.random.default_rng(0).normal(size=(20, family.num_params)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def draw(family, features, temperature):
    """Draws at features [B, F], and the mode of every thirtieth."""
    family = bound(family)
    return family.sample(KEY, features, temperature), family.mode(features[::30])


@pytest.mark.slow
@each_small
def test_tiny_temperatures_draw_one_value_whatever_the_noise(family, event):
    features = np.repeat(features_of(family), 30, 0)
    mode = draw(family, features, 1.0)[1]
    colder = draw(family, features, 1e-12)[0]
    for temperature in TINY:
        drawn = np.asarray(draw(family, features, temperature)[0], np.float64).reshape(20, 30, -1)
        np.testing.assert_allclose(drawn, drawn[:, :1] + np.zeros_like(drawn), rtol=1e-4)
        np.testing.assert_allclose(drawn, np.reshape(colder, drawn.shape), rtol=1e-4, atol=1e-4)
    if not (
        family.joint or "mixture" in type(family).__name__.lower() or type(family).__name__ == "SplineNormal"
    ):  # these go to a value of their own
        np.testing.assert_allclose(drawn, np.reshape(mode, (20, 1, -1)) + np.zeros_like(drawn), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@each_small
def test_draws_at_the_highest_temperature_are_finite(family, event):
    features = np.concatenate([np.repeat(features_of(family, scale), 15, 0) for scale in (1.0, 100.0)])
    drawn = np.asarray(draw(family, features, 1e20)[0])
    assert np.isfinite(drawn).all() and min(len(np.unique(half)) for half in np.split(drawn, 2)) > 1
    if event.is_discrete:
        assert drawn.min() >= 0 and drawn.max() < event.num_levels


@each_small
def test_temperatures_out_of_range_are_told(family, event):
    """All of them to one family, one to each of the others."""
    wrong = (1.1e20, 1e300, 10**400, 0, -1.0, float("nan"), float("inf"), True, "1")
    for temperature in wrong if isinstance(family, Categorical) else wrong[:1]:
        with pytest.raises(UserError, match="the temperature must be a positive number up to 1e\\+20, not"):
            jax.eval_shape(lambda f, t=temperature: bound(family).sample(KEY, f, t), features_of(family))


@pytest.mark.parametrize("shape", [(), (2,)])
def test_limits_leave_the_values_between_them(shape):
    """Both of them included; features end with the lowest values of all scalars, then the highest ones."""
    limited = Limited(make_conditional("categorical", EventSpec((3,), shape, "levels", 4)))
    scalars = max(sum(shape), 1)
    assert (limited.num_params, limited.table_size) == (6 * scalars, 4)
    low, high = np.array([[1, 2], [0, 3]])[:, :scalars], np.array([[2, 2], [1, 3]])[:, :scalars]
    logits = np.random.default_rng(0).normal(size=(2, scalars, 4))
    features = np.concatenate([logits.reshape(2, -1), low, high], 1).astype(np.float32)
    sites = np.arange(4)
    kept = (low[..., None] <= sites) & (sites <= high[..., None])

    @jax.jit
    def of_family(features):
        many = jnp.tile(features[:, None], (1, 200, 1))
        hot = limited.tempered_table(features, 2.0)
        return limited.log_table(features), hot, limited.sample(KEY, many), limited.sample(KEY, many, 1e-3)

    table, hot, drawn, cold = of_family(features)
    for found, logits_of in ((table, logits), (hot, logits / 2)):
        p = np.where(kept, np.exp(logits_of), 0)
        np.testing.assert_allclose(np.exp(found).reshape(p.shape), p / p.sum(-1, keepdims=True), rtol=1e-5)
    p = np.exp(table).reshape(2, scalars, 4)
    frequencies = (np.asarray(drawn).reshape(2, 200, scalars, 1) == sites).mean(1)
    np.testing.assert_allclose(frequencies, p, atol=0.15)
    assert drawn.dtype == np.int32 and (np.asarray(cold).reshape(2, 200, -1) == p.argmax(-1)[:, None]).all()


def test_modes_of_a_joint_family_are_those_of_its_blocks():
    family = make_conditional("mixture_of_products(components=2)", EventSpec((3,), (), "levels", 3))
    assert Modes(family).joint and family.order_in_block(3).tolist() == [0, 1, 2]
    features = np.random.default_rng(0).normal(size=(2, 3, family.num_params)).astype(np.float32)
    valid, value = np.array([[True] * 3, [True, True, False]]), np.array([[0, 2, 1], [1, 0, 0]])
    given = np.array([[True, False, False], [False] * 3])
    found, expected = jax.jit(lambda *args: (Modes(family).block_sample(KEY, *args, 1e6), family.block_mode(*args)))(
        features, valid, value, given
    )
    np.testing.assert_array_equal(found, expected)


def test_lower_temperatures_than_float32_divides_by_are_the_lowest():
    assert [check_temperature(value) for value in (1e20, 1, 1e-30, 1e-31)] == [1e20, 1.0, 1e-30, 1e-30]


def test_arrays_of_temperatures_are_told():
    family = make_conditional("categorical", EVENTS["tokens"])
    features = features_of(family)
    for temperature in (jnp.ones(family.num_params), jnp.ones(3)):
        with pytest.raises(UserError, match=r"a draw has one temperature, not an array of shape \("):
            family.sample(KEY, features, temperature)
    for temperature in (-1.0, float("nan")):
        with pytest.raises(UserError, match="the temperature must be a positive number up to 1e\\+20, not"):
            family.sample(KEY, features, jnp.float32(temperature))
    assert (family.sample(KEY, features, jnp.float32(0.5)) == family.sample(KEY, features, 0.5)).all()


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "ordinal", "discretized_logistic_mixture"])
def test_tiny_parts_of_the_mass_leave_the_mode(name):
    event = EventSpec((3,), (), "levels", 5) if name != "bernoulli" else EventSpec((3,))
    call = name + ("(components=2)" if "mixture" in name else "")
    family = make_conditional(call, event)
    features = features_of(family, 3.0)

    @jax.jit
    def draws(features):
        numbers = ((1e-46, 0, 1.0), (1e-300, 0, 1e-40), (1e-300, 2, 1.0), (1e-7, 2, 1e-40))
        return family.mode(features), [truncate(family, k, p).sample(KEY, features, t) for p, k, t in numbers]

    mode, drawn = draws(features)
    for sample in drawn:
        np.testing.assert_array_equal(sample, mode)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "ordinal"])
def test_high_temperatures_leave_the_most_probable_values_what_they_are(name):
    family = make_conditional(name, EVENTS["binary"])

    @jax.jit
    def draws(features):
        hot = [truncate(family, k, p).sample(KEY, features, 1e20) for p, k in ((1e-46, 0), (1.0, 1))]
        return family.mode(features), hot, [truncate(family, k).sample(KEY, features) for k in (10**7, 2)]

    mode, hot, all_of_them = draws(features_of(family, 3.0))
    for sample in hot:
        np.testing.assert_array_equal(sample, mode)
    np.testing.assert_array_equal(*all_of_them)


def test_equally_probable_values_are_drawn_equally_often():
    family = make_conditional("categorical", EventSpec((3,), (), "levels", 4))
    drawn = np.asarray(draw(family, np.tile(np.float32([1.0, 3, 3, 0]), (1000, 1)), 1e-38)[0])
    assert set(np.unique(drawn)) == {1, 2} and abs((drawn == 1).mean() - 0.5) < 0.1


def test_values_of_no_probability_are_never_drawn():
    family = make_conditional("categorical", EventSpec((3,), (), "levels", 3))
    features = np.tile(np.float32([-np.inf, 2e9, -3.0]), (100, 1))
    for temperature in (1e-40, 1.0):
        assert (np.asarray(draw(family, features, temperature)[0]) == 1).all()


LISTED_EVENTS = {
    "binary": EventSpec((3,)),
    "levels": EventSpec((3,), (), "levels", 5),
    "tokens_vector": EventSpec((3,), (2,), "tokens", 4),
}
P = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS = np.log(P).astype(np.float32)


#: Pairs whose like is in the everyday suite: a family with another event, or an event with another family.
LIKE_OTHERS = (("categorical", "binary"), ("categorical", "levels"), ("ordinal", "binary"))


def listed(call: str, event: EventSpec):
    """A family with a table; others are refused."""
    family = make_conditional(call, event)
    return family if family.table_size else None


each_listed = each_family(CONDITIONALS.names(), LISTED_EVENTS, LIKE_OTHERS, listed)
EVEN, ONE, TWO, THREE = 0 * LOGITS, (0, 1, 0, 0, 0), (0, 4 / 7, 0, 3 / 7, 0), tuple(np.where(P >= 0.15, P / 0.85, 0))
ROOTS = tuple(np.where(P >= 0.3, P**0.5, 0) / (0.4**0.5 + 0.3**0.5))
#: top_k, top_p and min_p, the logits, the temperature, and the probabilities that remain.
CASES = [
    *((top_k, 1.0, 0.0, LOGITS, 1.0, kept) for top_k, kept in ((2, TWO), (1, ONE), (99, P))),
    (2, 1.0, 0.0, EVEN, 1.0, (0.5, 0.5, 0, 0, 0)),  # of equal values the lower ones remain
    (0, 0.55, 0.0, EVEN, 1.0, (1 / 3, 1 / 3, 1 / 3, 0, 0)),
    # the fewest with at least that mass: one remains, however little it is
    *((0, top_p, 0.0, LOGITS, 1.0, ONE) for top_p in (1e-9, 0.39)),
    *((0, top_p, 0.0, LOGITS, 1.0, TWO) for top_p in (0.41, 0.69)),
    *((0, top_p, 0.0, LOGITS, 1.0, THREE) for top_p in (0.71, 0.84)),
    (0, 0.999, 0.0, LOGITS, 1.0, P),
    (2, 0.56, 0.0, LOGITS, 1.0, ONE),  # of the mass of what top_k has left: 0.4 / 0.7 is more than 0.56
    (2, 0.58, 0.0, LOGITS, 1.0, TWO),
    *((*limits, 0.0, LOGITS, 2.0, ROOTS) for limits in ((2, 1.0), (0, 0.39))),  # the temperature comes first
    (0, 1.0, 0.12, LOGITS, 1.0, P),  # 0.05 is an eighth of 0.4
    (0, 1.0, 0.37, LOGITS, 1.0, THREE),
    *((0, 1.0, min_p, LOGITS, 1.0, TWO) for min_p in (0.38, 0.74)),
    *((0, 1.0, min_p, LOGITS, 1.0, ONE) for min_p in (0.76, 1.0)),
    (0, 1.0, 1.0, EVEN, 1.0, (0.2,) * 5),  # all are the most probable
    (3, 1.0, 0.2, LOGITS, 1.0, THREE),
    (0, 0.71, 0.8, LOGITS, 1.0, ONE),  # of what the others have left
    (0, 1.0, 0.76, LOGITS, 2.0, ROOTS),  # the root of 0.75 is 0.87
]


def test_what_remains_of_a_distribution():
    """One compiled program makes all tables."""
    tables = jax.jit(lambda: [truncate(Categorical(5), *case[:3]).log_table(*case[3:5]) for case in CASES])()
    for table, case in zip(tables, CASES, strict=True):
        np.testing.assert_allclose(np.exp(table), case[5], atol=1e-5, err_msg=str(case[:5]))


def test_no_limit_is_the_same_conditional():
    family = Categorical(5)
    assert truncate(family) is family and truncate(family, 0, 1.0, 0.0) is family
    assert truncate(family, 3) is truncate(family, 3)  # so that nothing is compiled anew
    assert untruncated(truncate(family, 3)) == untruncated(family) == family


#: Points at which a family is asked, draws at the first of them, and the cuts: a pair, and a temperature.
POINTS, DRAWS = 50, 10_000
CUTS = (((2, 1.0), 1.0), ((0, 0.8), 1.0), ((3, 0.9), 1.7))


def all_values(event: EventSpec) -> np.ndarray:
    """Every value that a site can have, int32[N, D], scalar by scalar."""
    return np.indices((event.num_levels,) * event.value_size).reshape(event.value_size, -1).T.astype(np.int32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _facts(family, cut, features, values) -> dict[str, jax.Array]:
    """The table and the scores at a few points, modes and draws of the first value; table and draws of the cut."""
    pair, temperature = cut
    key, few, many = jax.random.key(2), features[:6], jnp.broadcast_to(features[0], (DRAWS, family.num_params))
    return {
        "table": family.log_table(few),
        "scores": family.log_prob(few[:, None], jnp.broadcast_to(values, (6, *values.shape))),
        "mode": family.mode(features),
        "first": truncate(family, 1).sample(key, features, 3.0),
        "cut_table": truncate(family, *pair).log_table(features[0], temperature),
        "drawn": truncate(family, *pair).sample(key, many, temperature),
    }


@functools.cache
def facts(family, event: EventSpec, cut=CUTS[0]) -> dict[str, np.ndarray]:
    """`_facts` at random features."""
    features = np.random.default_rng(1).normal(size=(POINTS, family.num_params)).astype(np.float32)
    values = all_values(event).reshape(-1, *event.value_shape)
    return jax.tree.map(np.asarray, _facts(family, cut, features, values))


@each_listed
def test_the_table_is_that_of_the_scores(family, event):
    """The sum over the scalars of a value is its score: the table belongs to independent scalars."""
    found, scalars = facts(family, event), np.arange(event.value_size)
    table = found["table"].reshape(6, event.value_size, event.num_levels)
    expected = table[:, scalars, all_values(event)].sum(-1)
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "event", "cut"),
    [
        *((*case.values, CUTS[0]) for case in each_listed.args[1]),
        *((Categorical(4, (2,)), LISTED_EVENTS["tokens_vector"], cut) for cut in CUTS[1:]),
    ],
    ids=lambda value: type(value).__name__ if dataclasses.is_dataclass(value) else str(value),
)
def test_samples_follow_the_truncated_table(family, event, cut):
    found, (top_k, _) = facts(family, event, cut), cut[0]
    assert (found["drawn"].shape, found["drawn"].dtype) == ((DRAWS, *event.value_shape), np.int32)
    table = np.exp(found["cut_table"].astype(float)).reshape(event.value_size, event.num_levels)
    assert ((table > 0).sum(1) <= (top_k or event.num_levels)).all()
    for column, p in zip(found["drawn"].reshape(DRAWS, -1).T, table, strict=True):
        counts = np.bincount(column, minlength=event.num_levels)
        assert counts[p == 0].sum() == 0
        if (p > 0).sum() > 1:
            expected = p[p > 0] / p.sum() * DRAWS
            assert stats.chisquare(counts[p > 0], expected).pvalue > 1e-4


@each_listed
def test_one_value_is_the_mode(family, event):
    if family.value_shape == () or isinstance(family, Bernoulli | Categorical):
        found = facts(family, event)
        np.testing.assert_array_equal(found["first"], found["mode"])


@pytest.mark.parametrize(
    ("call", "event"),
    [
        ("gaussian", EventSpec((3,), (), "real", 0)),
        ("discretized_logistic_mixture", EventSpec((3,), (3,), "levels", 4)),
        ("discretized_logistic_mixture", EventSpec((3,), (), "levels", 65536)),
    ],
)
def test_families_without_a_list_of_values_refuse(call, event):
    with pytest.raises(UserError, match=rf"^top_k, top_p and min_p choose among .*, of which '{call}' has no list"):
        truncate(make_conditional(call, event), min_p=0.1)


def test_blocks_of_several_sites_are_scored_together_by_joint_families():
    joint, single = (make_conditional(call, EVENTS["levels"]) for call in ("mixture_of_products", "categorical"))
    for sizes, several in (((3,), True), ((2, 1), True), ((1, 1, 1), False)):
        factorization = make_factorization((3,), "raster", f"sizes(sizes={sizes})")
        assert (scores_blocks(joint, factorization), scores_blocks(single, factorization)) == (several, False)
