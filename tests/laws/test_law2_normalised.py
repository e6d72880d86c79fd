"""Law 2: the probabilities of all possible examples add up to one."""

import itertools

import jax
import law_cases as cases
import numpy as np
from choice import each_network
from compiled import of_family, of_model

from arjax.core.spec import EventSpec

SMALL_EVENTS = {
    "binary": EventSpec((2, 3)),
    "binary_vector": EventSpec((3,), (2,)),
    "levels": EventSpec((2, 2), (), "levels", 3),
    "tokens_vector": EventSpec((2,), (2,), "tokens", 3),
}


#: Event, conditional and partition, and of each event and conditional one.
DISCRETE = [
    (event, conditional, partition)
    for event in SMALL_EVENTS
    for conditional in cases.fitting_conditionals(SMALL_EVENTS[event])
    for partition in ("sites", "rows")
]


@each_network(["event", "conditional", "partition"], DISCRETE, thorough=DISCRETE[::7], every=16, takes=cases.is_cheap)
def test_probabilities_sum_to_one(network, event, conditional, partition):
    event = SMALL_EVENTS[event]
    model = cases.supported_model(network, event, "reversed", partition, conditional=conditional)
    if isinstance(model, str):
        return
    log_prob = cases.log_prob(model, cases.all_values(event))
    # a uniform distribution would prove nothing; the network without parameters has no other
    assert log_prob.std() > 0.01 or network == "constant"
    assert abs(np.exp(log_prob).sum() - 1) < 1e-5


#: Distances from the mode of a conditional, dense near it, and the weight of each in an integral.
T = np.linspace(-6, 6, 101)
DISTANCES, WEIGHTS = np.sinh(T), np.cosh(T) * (T[1] - T[0])


@jax.jit
def modes(model, params, x):
    return model.conditional.mode(model.features(params, x))


@each_network(["conditional"], cases.EACH_REAL, thorough=cases.EACH_REAL[::3], takes=lambda network: False)
def test_density_of_two_real_sites_integrates_to_one(network, conditional):
    """A double integral, over the second site around its mode given the first."""
    model = cases.supported_model(
        network, EventSpec((1, 2), (), "real", 0), "reversed", "sites", conditional=conditional
    )
    if isinstance(model, str):
        return
    order, num = np.asarray(model.factorization.order), len(T)
    params = cases.gentle_params_of(model)

    def mode(x, site):
        return np.asarray(modes(model, params, x[:, None]))[:, 0, site]

    x = np.zeros((num, 2), np.float32)
    x[:, order[0]] = mode(x, order[0]) + DISTANCES
    grid = np.repeat(x[:, None], num, 1)
    grid[..., order[1]] = mode(x, order[1])[:, None] + DISTANCES
    log_prob = cases.log_prob(model, grid.reshape(-1, 1, 2), params).reshape(num, num)
    assert log_prob[np.isfinite(log_prob)].std() > 0.01  # outside of bounds it is -inf
    assert abs(WEIGHTS @ np.exp(log_prob) @ WEIGHTS - 1) < 1e-3


@each_network([], [()], takes=lambda network: False)
def test_every_order_gives_a_distribution(network):
    event = EventSpec((2, 3))
    for ordering in cases.ORDERING_CALLS:
        model = cases.small_model(network, event, ordering)
        if not isinstance(model, str):
            total = np.exp(cases.log_prob(model, cases.all_values(event))).sum()
            assert abs(total - 1) < 1e-5, ordering


#: Levels of a vector, and partition.
LEVELS = list(itertools.product([5, 256], ["sites", "blocks(size=2)", "blocks(size=4)"]))


@each_network(["levels", "partition"], LEVELS, thorough=[LEVELS[-1]], takes=lambda network: False)
def test_scores_are_the_same_when_all_is_compiled_together(network, levels, partition):
    """The network and the conditional in one program: compilers have fused the two wrongly."""
    event = EventSpec((4,), (2,), "levels", levels)
    model = cases.supported_model(network, event, "raster", partition)
    if isinstance(model, str):
        return
    params, x = cases.params_of(model), cases.random_x(event, 3)
    features_BDF = cases.parallel(model.network, params, x, model.factorization)
    apart = np.asarray(of_family(model.conditional, "log_prob", np.asarray(features_BDF), x)).sum(-1)
    together = np.asarray(of_model(model, "log_prob", params, x))
    np.testing.assert_allclose(together, apart, rtol=1e-5)
