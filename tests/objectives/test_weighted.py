"""A weighted sum hands its parts what is theirs: their numbers, keys, parameters and states."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import refusal

from arjax.objectives import Loss, Mean, Metrics, ObjectiveState, Step, make_objective, weighted

KEY = jax.random.key(3)


class Part:
    """An objective whose methods note their arguments; `number` tells it from others."""

    def __init__(self, number, traits=(), params=None, frozen=(), companions=None):
        self.number, self.traits, self._params = number, frozenset(traits), params or {}
        self._frozen, self._companions, self.score_of_draws = frozen, companions or {}, number

    def companions(self):
        return self._companions

    def check_companions(self, model, companions):
        model.append((self.number, companions))

    check = check_companions

    def frozen(self, model):
        return self._frozen

    def init(self, model, key):
        return ObjectiveState(self._params, {"n": jnp.float32(self.number)} if self._params else {})

    def start(self, model, params):
        return (*params, self.number)

    def optimizer(self):
        if not self._params:
            raise NotImplementedError
        return optax.sgd(self.number)

    def report(self, aux):
        return {"same": self.number, f"of_{self.number}": sorted(aux.params), "state": sorted(aux.state)}

    def after_step(self, model, params, state):
        return (*params, self.number), {name: value + 1 for name, value in state.items()}

    def loss(self, model, params, aux, batch, step):
        mean = Mean(jnp.float32(self.number), jnp.float32(2))
        metrics = Metrics(jnp.float32(10 * self.number), *map(jnp.float32, (1, 2, 3)), {"mean": mean})
        model.append((step.key, step.progress, sorted(aux.params)))
        return Loss((mean, mean), metrics, aux.state)


@pytest.fixture
def of(monkeypatch):
    """Returns the sum of parts, with the weights 3 and 5."""

    def made(*parts):
        by_name = {str(part.number): part for part in parts}
        monkeypatch.setattr(weighted, "make_objective", by_name.get)
        return weighted.Weighted(tuple(by_name), (3.0, 5.0))

    return made


def test_parts_have_parameters_states_and_keys_of_their_own(of):
    first, second, log = Part(1, params={"a": jnp.ones(2)}), Part(2), []
    objective = of(first, second)
    aux = objective.init(None, KEY)
    assert aux.params.keys() == aux.state.keys() == {"0"}, "the second has neither"
    assert objective.start(None, ()) == (1, 2)
    assert objective.report(aux) == {
        **{"same": 1, "of_1": ["a"], "state": ["n"]},
        **{"1/same": 2, "of_2": [], "1/state": []},
    }
    params, state = objective.after_step(None, (), aux.state)
    assert params == (1, 2) and state == {"0": {"n": 2.0}}
    loss = objective.loss(log, (), aux, None, Step(KEY, 0.5))
    assert log == [(KEY, 0.5, ["a"]), (jax.random.fold_in(KEY, 1), 0.5, [])]
    assert [(float(term.total), float(term.count)) for term in loss.terms] == [(3, 2), (3, 2), (10, 2), (10, 2)]
    assert (loss.metrics.nll, loss.metrics.sites) == (10, 2) and loss.state == {"0": {"n": 1.0}}
    assert {name: float(mean.total) for name, mean in loss.metrics.means.items()} == {"0/mean": 1, "1/mean": 2}


def test_each_part_has_its_optimizer(of):
    params = {"0": {"a": jnp.ones(2)}, "1": {"a": jnp.ones(2)}}
    rule = of(Part(1, params={"a": 0}), Part(2, params={"a": 0})).optimizer()
    updates, _ = rule.update(params, rule.init(params), params)
    assert [updates[name]["a"].tolist() for name in "01"] == [[-1, -1], [-2, -2]]


def test_a_sum_has_the_needs_of_all_its_parts_and_what_all_of_them_can(of):
    first, second = Part(1, ("holes", "draws", "of_tokens"), frozen=("x",)), Part(2, ("holes", "needs_orders"))
    objective = of(first, second)
    assert objective.traits == {"holes", "draws", "of_tokens", "needs_orders"}
    assert of(second, first).traits == {"holes", "draws", "needs_orders"}, "tokens count for the first alone"
    assert of(first, Part(2)).traits == {"draws", "of_tokens"}
    assert objective.score_of_draws == 1 and objective.frozen(None) == ("x",)


def test_companions_are_those_of_the_parts(of):
    reader, log = Part(1, companions={"truth": "runs/a"}), []
    objective = of(reader, Part(2))
    assert objective.companions() == {"truth": "runs/a"}
    objective.check_companions(log, "given")
    assert log == [(1, "given"), (2, "given")]
    assert "only one of the objectives of weighted may read" in refusal(of, reader, Part(2, companions={"truth": ""}))


def test_weights_and_parts_go_together():
    for call, sentence in (
        ("weighted(of=('teacher_forcing', 'elbo'))", "as many weights as objectives, not 1 for 2"),
        ("weighted(of=())", "of"),
        ("weighted(weights=(0.0,))", "weights"),
    ):
        assert sentence in refusal(make_objective, call)
    model = types.SimpleNamespace(traits=frozenset(), named_parts={}, orders=None, score_kind="exact")
    make_objective("weighted").check(model)
    assert make_objective("weighted").weights == (1.0,) and np.ndim(KEY) == 0
