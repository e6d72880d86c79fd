"""Runs many `arjax` jobs and makes the table of their results, by the command line of `arjax` and its folders."""

from arjax.sweep.rows import Mean, Mixture, grid
from arjax.sweep.runs import Run, finished_runs
from arjax.sweep.search import Search, choice, integers, log_uniform, uniform

__all__ = ["Mean", "Mixture", "Run", "Search", "choice", "finished_runs", "grid", "integers", "log_uniform", "uniform"]
