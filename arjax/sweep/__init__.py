"""Runs many `arjax` jobs and makes the table of their results, by the command line of `arjax` and its folders."""

from arjax.sweep.rows import Mean, Mixture, grid
from arjax.sweep.runs import Run, finished_runs

__all__ = ["Mean", "Mixture", "Run", "finished_runs", "grid"]
