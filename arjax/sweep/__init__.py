"""Runs many `arjax` jobs and makes the table of their results. Knows the command line of `arjax` and its folders."""

from arjax.sweep.derived import Mean, Mixture
from arjax.sweep.runs import Run

__all__ = ["Mean", "Mixture", "Run"]
