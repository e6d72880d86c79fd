"""Stacks of causal convolutions over the steps."""
