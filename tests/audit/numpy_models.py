"""Models in numpy whose likelihoods are right, for the audit."""

import numpy as np

from arjax import EventSpec

LEVELS, LENGTH = 4, 5
EVENT = EventSpec((LENGTH,), (), "tokens", LEVELS)


class Chain:
    """A Markov chain of tokens; with `end`, strings that stop at this token."""

    def __init__(self, seed=0, length=LENGTH, levels=LEVELS, end=None, temperature=1.0):
        self.length, self.levels, self.end, self.temperature = length, levels, end, temperature
        self.event = EventSpec((length,), (), "tokens", levels)
        self.rows = np.random.default_rng(seed).dirichlet(np.ones(levels), size=levels + 1)  # the last one begins

    def conditionals(self, x, t):
        return self.rows[x[:, t - 1] if t else np.full(len(x), self.levels)]

    def per_step(self, x):
        each = [np.log(self.conditionals(x, t)[np.arange(len(x)), x[:, t]]) for t in range(x.shape[1])]
        goes_on = np.cumprod(np.concatenate([np.ones((len(x), 1)), x[:, :-1] != self.end], 1), 1)
        return np.stack(each, 1) * goes_on

    def log_prob(self, x):
        return self.per_step(x).sum(1)

    def sample(self, num, seed):
        rng, x = np.random.default_rng(seed), np.zeros((num, self.length), int)
        for t in range(self.length):
            p = self.conditionals(x, t) ** (1 / self.temperature)
            p = p.cumsum(1) / p.sum(1, keepdims=True)
            x[:, t] = np.minimum((rng.random(num)[:, None] > p).sum(1), self.levels - 1)
            if self.end is not None and t:
                x[:, t] = np.where(x[:, t - 1] == self.end, self.end, x[:, t])
        return x


class Joint:
    """A table of all probabilities of three tokens: every conditional query is answered exactly."""

    event = EventSpec((3,), (), "tokens", 3)

    def __init__(self, seed=1):
        self.p = np.random.default_rng(seed).dirichlet(np.ones(27)).reshape(3, 3, 3)

    def log_prob(self, x):
        return np.log(self.p[tuple(x.T)])

    def conditional_log_prob(self, x, query, given):
        def marginal(row, sites):
            index = tuple(row[site] if sites[site] else slice(None) for site in range(3))
            return self.p[index].sum()

        pairs = zip(x, query, given, strict=True)
        return np.array([np.log(marginal(row, q | g) / marginal(row, g)) for row, q, g in pairs])
