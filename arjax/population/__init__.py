"""Many runs in one program: the same recipe under O orders and S seeds, trained side by side."""

from arjax.population.ensemble import Ensemble, make_ensemble
from arjax.population.mixtures import mixture_of_runs
from arjax.population.policy import PolicyResult, learn_order
from arjax.population.population import Population
from arjax.population.search import SearchResult, local_search, random_search
from arjax.population.train import Scores, train_population

__all__ = [
    "Ensemble",
    "PolicyResult",
    "Population",
    "Scores",
    "SearchResult",
    "learn_order",
    "local_search",
    "make_ensemble",
    "mixture_of_runs",
    "random_search",
    "train_population",
]
