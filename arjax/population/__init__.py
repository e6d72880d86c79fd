"""Many runs in one program: the same recipe under O orders and S seeds, trained side by side."""

from arjax.population.population import Population
from arjax.population.search import SearchResult, local_search, random_search
from arjax.population.train import Scores, train_population

__all__ = ["Population", "Scores", "SearchResult", "local_search", "random_search", "train_population"]
