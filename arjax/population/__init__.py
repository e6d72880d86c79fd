"""Many runs in one program: the same recipe under O orders and S seeds, trained side by side."""

from arjax.population.ensemble import Ensemble, make_ensemble
from arjax.population.jobs import PopulationJob
from arjax.population.train import Population, Scores, train_population

__all__ = ["Ensemble", "Population", "PopulationJob", "Scores", "make_ensemble", "train_population"]
