"""The part of optuna's public interface that a search uses: it draws at random from what it knows of the trials."""

import enum
import importlib.machinery
import types

import numpy as np


class Distribution:
    """Values of a field: of two bounds, or some choices."""

    def __init__(self, *values, log=False):
        self.values, self.log = values, log

    def draw(self, rng):
        low, high = self.values
        return float(np.exp(rng.uniform(np.log(low), np.log(high))) if self.log else rng.uniform(low, high))


class Whole(Distribution):
    def draw(self, rng):
        return min(int(super().draw(rng)), self.values[1])


class Choice(Distribution):
    def draw(self, rng):
        return self.values[0][rng.integers(len(self.values[0]))]


class Study:
    """Its points depend on the seed, and on the points and the ranks of the trials before."""

    def __init__(self, seed):
        self.seed, self.trials = seed, []

    def add_trial(self, trial):
        assert (trial.value is not None) == (trial.state is State.COMPLETE)
        assert trial.params.keys() == trial.distributions.keys()
        self.trials.append(trial)

    def ask(self, distributions):
        values = [trial.value for trial in self.trials if trial.state is State.COMPLETE]
        states = [trial.state.value for trial in self.trials]
        rng = np.random.default_rng([self.seed, *np.argsort(values).tolist(), *states])
        return types.SimpleNamespace(params={name: each.draw(rng) for name, each in distributions.items()})


State = enum.Enum("State", ["COMPLETE", "RUNNING", "FAIL"])


def sampler_of(seed, *, constant_liar):
    assert constant_liar
    return seed


def modules(studies):
    """The modules, by name; `studies` gets those that are made."""
    optuna, distributions = types.ModuleType("optuna"), types.ModuleType("optuna.distributions")
    optuna.__spec__ = importlib.machinery.ModuleSpec("optuna", None)
    names = {"FloatDistribution": Distribution, "IntDistribution": Whole, "CategoricalDistribution": Choice}
    vars(distributions).update(names)
    optuna.distributions = distributions
    optuna.logging = types.SimpleNamespace(WARNING=30, set_verbosity=lambda level: None)
    optuna.samplers = types.SimpleNamespace(TPESampler=sampler_of)
    optuna.trial = types.SimpleNamespace(TrialState=State, create_trial=lambda **about: types.SimpleNamespace(**about))

    def create_study(sampler):
        studies.append(Study(sampler))
        return studies[-1]

    optuna.create_study = create_study
    return {"optuna": optuna, "optuna.distributions": distributions}
