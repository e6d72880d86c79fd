"""Truncated sampling: which values remain, how often they are drawn, and the families that refuse it."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from arjax.conditionals import CONDITIONALS, Bernoulli, Categorical, make_conditional, truncate
from arjax.conditionals.restricted import Truncated, untruncated
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

EVENTS = {
    "binary": EventSpec((3,)),
    "levels": EventSpec((3,), (), "levels", 5),
    "tokens_vector": EventSpec((3,), (2,), "tokens", 4),
}
P = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS = np.log(P).astype(np.float32)


#: Pairs whose like is in the everyday suite: a family with another event, or an event with another family.
OTHERS = (("categorical", "binary"), ("categorical", "levels"), ("ordinal", "binary"))


def families() -> list:
    """Every family of single values with every event of which it has a table."""
    fitting = []
    for name, event in itertools.product(CONDITIONALS.names(), EVENTS):
        try:
            family = make_conditional(name, EVENTS[event])
            truncated = truncate(family, 1)
        except UserError:
            continue
        if isinstance(truncated, Truncated):  # and not a model around one
            marks = pytest.mark.slow if (name, event) in OTHERS else ()
            fitting.append(pytest.param(family, EVENTS[event], id=f"{name}-{event}", marks=marks))
    return fitting


each_family = pytest.mark.parametrize(("family", "event"), families())
#: Limits, top_k, top_p and min_p, whose tables one compiled program makes.
PAIRS = ((2, 1.0), (1, 1.0), (3, 1.0), (99, 1.0), (2, 0.56), (2, 0.58))
PAIRS += tuple((0, top_p) for top_p in (1e-9, 0.39, 0.41, 0.55, 0.69, 0.71, 0.84, 0.999))
LIMITS = tuple((*pair, 0.0) for pair in PAIRS)
LIMITS += (*((0, 1.0, min_p) for min_p in (0.12, 0.37, 0.38, 0.74, 0.76, 1.0)), (3, 1.0, 0.2), (0, 0.71, 0.8))


@jax.jit
def tables(logits: jax.Array, temperature: float) -> list[jax.Array]:
    return [truncate(Categorical(5), *limits).log_table(logits, temperature) for limits in LIMITS]


def kept(
    top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, logits: np.ndarray = LOGITS, temperature: float = 1.0
) -> list[float]:
    """Probabilities after truncation."""
    table = tables(logits, temperature)[LIMITS.index((top_k, top_p, min_p))]
    return np.exp(np.asarray(table)).round(5).tolist()


def test_top_k_keeps_the_k_most_probable():
    assert kept(top_k=2) == pytest.approx([0, 4 / 7, 0, 3 / 7, 0], abs=1e-5)
    assert kept(top_k=1) == [0, 1, 0, 0, 0]
    assert kept(top_k=99) == pytest.approx(P, abs=1e-5)


def test_of_equal_values_the_lower_remain():
    assert kept(top_k=2, logits=0 * LOGITS) == [0.5, 0.5, 0, 0, 0]
    assert kept(top_p=0.55, logits=0 * LOGITS) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0], abs=1e-5)


def test_top_p_keeps_the_fewest_with_at_least_that_mass():
    assert kept(top_p=0.39) == [0, 1, 0, 0, 0]
    assert kept(top_p=0.41) == kept(top_p=0.69) == kept(top_k=2)
    assert kept(top_p=0.71) == kept(top_p=0.84) == kept(top_k=3)
    assert kept(top_p=0.999) == pytest.approx(P, abs=1e-5)
    assert kept(top_p=1e-9) == kept(top_k=1)  # one remains, however little is asked for


def test_top_p_counts_the_mass_of_what_top_k_has_left():
    assert kept(top_k=2, top_p=0.56) == [0, 1, 0, 0, 0]  # 0.4 / 0.7 is more than 0.56
    assert kept(top_k=2, top_p=0.58) == kept(top_k=2)


def test_temperature_comes_first():
    hot = P**0.5 / (P**0.5).sum()
    assert kept(top_k=2, temperature=2.0) == pytest.approx([0, 0.53590, 0, 0.46410, 0], abs=1e-4)
    assert hot.max() < 0.4 and kept(top_p=0.39, temperature=2.0) == kept(top_k=2, temperature=2.0)


def test_min_p_keeps_what_has_that_part_of_the_highest_probability():
    assert kept(min_p=0.12) == pytest.approx(P, abs=1e-5)  # 0.05 is an eighth of 0.4
    assert kept(min_p=0.37) == pytest.approx(np.where(P >= 0.15, P / 0.85, 0), abs=1e-5)
    assert kept(min_p=0.38) == kept(min_p=0.74) == kept(top_k=2)
    assert kept(min_p=0.76) == kept(min_p=1.0) == kept(top_k=1)
    assert kept(min_p=1.0, logits=0 * LOGITS) == pytest.approx([0.2] * 5, abs=1e-5)  # all are the most probable


def test_min_p_restricts_what_the_others_have_left_and_comes_after_the_temperature():
    assert kept(top_k=3, min_p=0.2) == kept(top_k=3)
    assert kept(top_p=0.71, min_p=0.8) == kept(top_k=1)
    assert kept(min_p=0.76, temperature=2.0) == kept(top_k=2, temperature=2.0)  # the root of 0.75 is 0.87


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


@each_family
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
        *((*case.values, CUTS[0]) for case in families()),
        *((Categorical(4, (2,)), EVENTS["tokens_vector"], cut) for cut in CUTS[1:]),
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


@each_family
def test_one_value_is_the_mode(family, event):
    if family.value_shape == () or isinstance(family, Bernoulli | Categorical):
        found = facts(family, event)
        np.testing.assert_array_equal(found["first"], found["mode"])


@pytest.mark.parametrize(
    ("call", "event"),
    [
        ("gaussian", EventSpec((3,), (), "real", 0)),
        ("beta", EventSpec((3,), (), "real", 0)),
        ("discretized_logistic_mixture", EventSpec((3,), (3,), "levels", 4)),
        ("discretized_logistic_mixture", EventSpec((3,), (), "levels", 65536)),
    ],
)
def test_families_without_a_list_of_values_refuse(call, event):
    with pytest.raises(UserError, match=rf"^top_k, top_p and min_p choose among .*, of which '{call}' has no list"):
        truncate(make_conditional(call, event), min_p=0.1)
