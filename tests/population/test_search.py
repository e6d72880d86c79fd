"""Searches over orders, with trainings that are written down: the candidates, the best of them, and the lines."""

import types

import numpy as np
import pytest

from arjax.population import local_search, random_search, search


class Members:
    """Two members, whose orders can be replaced; the nats of an order are the place of site 0 in it."""

    def __init__(self):
        self.trained, self.orders = [], None
        self.replace_orders([np.array([1, 0, 2, 3]), np.array([2, 1, 3, 0])])

    def replace_orders(self, orders):
        self.orders = orders
        self.members = [types.SimpleNamespace(factorization=types.SimpleNamespace(order=order)) for order in orders]


@pytest.fixture
def members(monkeypatch):
    def trained(population):
        population.trained.append([order.tolist() for order in population.orders])
        places = np.array([order.tolist().index(0) for order in population.orders])
        return types.SimpleNamespace(validation=places[:, None] + np.array([0.25, 0.75]))

    monkeypatch.setattr(search, "train_population", trained)
    return Members()


@pytest.mark.parametrize("find", [random_search, local_search])
def test_the_best_of_all_rounds_is_kept_and_the_orders_are_put_back(find, members):
    before, lines = members.orders, []
    found = find(members, 6, seed=3, log=lines.append)
    nats = [[order.index(0) + 0.5 for order in orders] for orders in members.trained]
    best = np.minimum.accumulate([min(each) for each in nats])
    assert found.best_by_round == tuple(best) and found.validation == best[-1] and found.trained == 12
    assert found.order.tolist().index(0) + 0.5 == found.validation
    assert [(a == b).all() for a, b in zip(members.orders, before, strict=True)] == [True, True]
    assert lines == [
        f"round {n}/6: {min(each):.4f} to {max(each):.4f} nats, best so far {best[n - 1]:.4f}"
        for n, each in enumerate(nats, 1)
    ]
    again = Members()
    find(again, 6, seed=3)
    assert again.trained == members.trained
    find(other := Members(), 6, seed=4)
    assert other.trained != again.trained


def test_local_search_changes_the_best_by_turns(members, monkeypatch):
    """The first round trains the given orders; a parent gives one child, two parents one each."""
    asked = []
    monkeypatch.setattr(search, "move", lambda order, rng: asked.append(order.tolist()) or rng.permutation(order))
    local_search(members, 2, parents=1)
    assert members.trained[0] == [[1, 0, 2, 3], [2, 1, 3, 0]]
    assert set(map(tuple, asked)) == {(1, 0, 2, 3)}
    asked.clear()
    local_search(Members(), 2, parents=2)
    assert set(map(tuple, asked)) == {(1, 0, 2, 3), (2, 1, 3, 0)}


def test_orders_are_not_tried_twice_while_there_are_others(members, monkeypatch):
    moved = [np.array(order) for order in ([2, 1, 3, 0], [1, 0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [3, 0, 1, 2])]
    monkeypatch.setattr(search, "move", lambda order, rng: moved.pop(0))
    local_search(members, 2)
    assert members.trained[1] == [[0, 1, 2, 3], [3, 0, 1, 2]] and not moved
    tries = []
    monkeypatch.setattr(search, "move", lambda order, rng: tries.append(order) or np.array([1, 0, 2, 3]))
    local_search(again := Members(), 2)
    assert len(tries) == 200 and again.trained[1] == [[1, 0, 2, 3]] * 2


def test_a_move_may_take_the_first_site_to_the_end():
    rng = np.random.default_rng(0)
    moved = {tuple(search.move(np.arange(4), rng).tolist()) for _ in range(200)}
    assert (1, 2, 3, 0) in moved and all(sorted(order) == [0, 1, 2, 3] for order in moved)
