"""The models that answer random queries in the study of DEBD."""

import itertools

import numpy as np
import pytest


@pytest.fixture
def queries(load_script):
    return load_script("experiments/debd/queries.py")


@pytest.fixture
def products(queries):
    rng = np.random.default_rng(0)
    p_DK, w_K = rng.uniform(0.1, 0.9, (4, 3)), rng.dirichlet(np.ones(3))
    return queries.Products(np.log(w_K), np.log(np.stack([1 - p_DK, p_DK], 1)))


def test_conditionals_of_products_follow_from_all_rows(products):
    x_BD, sites = np.array(list(itertools.product((0, 1), repeat=4))), np.arange(4)
    p_B = np.exp(products.log_prob(x_BD, sites[:0], sites))
    np.testing.assert_allclose(p_B.sum(), 1)
    evidence, query = np.array([2]), np.array([3, 0])

    def mass(*kept):
        alike_BB = (x_BD[:, None, kept] == x_BD[None][..., kept]).all(-1)
        return alike_BB @ p_B

    joint_B = np.log(mass(2, 3, 0) / mass(2))
    np.testing.assert_allclose(products.log_prob(x_BD, evidence, query), joint_B)
    in_order_BQ = products.in_order(x_BD, evidence, query)
    np.testing.assert_allclose(in_order_BQ, np.log([mass(2, 3) / mass(2), mass(2, 3, 0) / mass(2, 3)]).T)
    np.testing.assert_allclose(products.given(x_BD, evidence)[:, 0], np.log(mass(2, 0) / mass(2)))


def test_averages_within_a_conditional_are_distributions(queries, products):
    p = np.array([[0.2, 0.9], [0.6, 0.5]])  # of a value, of two members
    ones, zeros = (queries.average(np.log(each), [0.25, 0.75]) for each in (p, 1 - p))
    np.testing.assert_allclose(np.exp(ones) + np.exp(zeros), 1)
    np.testing.assert_allclose(ones - zeros, [0.25, 0.75] @ np.log(p / (1 - p)))
    x_BD = np.array([[0, 1, 1, 0]])
    alone, pair = queries.Averaged([products], [1.0]), queries.Averaged([products] * 2, [0.5, 0.5])
    orders = [np.array([0, 3]), np.array([3, 0])]
    for each in (alone, pair):
        joint_B = each.joint(x_BD, np.array([1, 2]), orders)
        np.testing.assert_allclose(joint_B, products.log_prob(x_BD, np.array([1, 2]), orders[0]))


def test_the_best_weight_on_validation_is_chosen(queries, products):
    class Coin:
        """A network that knows nothing."""

        def in_order(self, x_BD, evidence, query_Q):
            return np.full((len(x_BD), len(query_Q)), np.log(0.5))

    rng = np.random.default_rng(1)
    classes = rng.choice(3, 400, p=np.exp(products.log_w))
    x_ND = (rng.random((400, 4)) < np.exp(products.log_p[:, 1, classes]).T).astype(int)
    model, part, nats = queries.chosen([Coin(), Coin()], products, x_ND)
    assert part > 0.5 and nats < 4 * np.log(2)
    assert len(model.members) == len(model.weights) and np.isclose(sum(model.weights), 1)
