"""Many runs in one program: the same recipe under O orders and S seeds, trained side by side."""

from arjax.api.mixtures import mixture_of_runs
from arjax.evaluation.mixtures import Ensemble, make_ensemble
from arjax.population.population import Population
from arjax.population.search import PolicyResult, SearchResult, learn_order, local_search, random_search
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
