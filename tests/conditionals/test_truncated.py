"""Truncated sampling: which values remain, how often they are drawn, and the families that refuse it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_family import each_family
from scipy import stats

from arjax.conditionals import CONDITIONALS, Bernoulli, Categorical, make_conditional, truncate
from arjax.conditionals.restricted import untruncated
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


def listed(call: str, event: EventSpec):
    """A family with a table; others are refused."""
    family = make_conditional(call, event)
    return family if family.table_size else None


each_family = each_family(CONDITIONALS.names(), EVENTS, OTHERS, listed)
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
        *((*case.values, CUTS[0]) for case in each_family.args[1]),
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
